"""The checklist before a migration: evidence decides each line, and a line without evidence is not passed.

Pure. The evidence is one comparison, one soak of each pool, the plan, and an examination of documents if asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from poolproof.harness.compare.comparison import Comparison, RunResult, ScenarioComparison
from poolproof.harness.history.growth import find_growth
from poolproof.harness.model.verdict import Verdict, worst

MOST_ERROR_RATE = 0.001
"""How much the candidate's share of failed calls may exceed the baseline's."""
LEAST_CALLS = 500
LEAST_SAMPLES = 20
LEAST_GROWTH_BYTES = 8 << 20
MOST_NAMED = 3
SESSION_GUARANTEES = frozenset({"G17", "G18", "G19"})
LOAD_SCENARIOS = frozenset({"bursts", "skewed_sessions", "short_threads", "large_frames"})
NOT_RUN = "not run"


class Soak(msgspec.Struct, frozen=True, kw_only=True):
    """A steady load on one pool for `seconds`. `samples` are (seconds, resident bytes of the pool's workers).

    `wrong` describes answers to other requests. `looks` counts the checks of status and health; `alarms` describes
    those that failed, or whose figures did not add up.
    """

    pool: str
    seconds: float
    outcomes: dict[str, int]
    wrong: tuple[str, ...] = ()
    looks: int = 0
    alarms: tuple[str, ...] = ()
    samples: tuple[tuple[float, float], ...] = ()

    @property
    def calls(self) -> int:
        """The number of calls that ended."""
        return sum(self.outcomes.values())

    @property
    def failed(self) -> int:
        """The number of calls that ended without a result."""
        return self.calls - self.outcomes.get("result", 0)


class Documents(msgspec.Struct, frozen=True, kw_only=True):
    """An examination of the documents: how many names and links were looked up; `problems` are sentences."""

    pages: int
    looked_for: int
    problems: tuple[str, ...] = ()


class Preparation(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of the project's own plan: its facts, what makes it fail, and what leaves it undecided."""

    facts: tuple[str, ...]
    problems: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One line. A line that was not run is UNKNOWN, and its `ran` is False."""

    name: str
    verdict: Verdict
    evidence: str
    ran: bool = True

    @property
    def word(self) -> str:
        """The line's status: pass, fail, unknown or not run."""
        return self.verdict.value if self.ran else NOT_RUN


class Checklist(msgspec.Struct, frozen=True, kw_only=True):
    """The whole checklist."""

    baseline: str
    candidate: str
    created_at: str
    command: str
    items: tuple[Item, ...]
    report: str = ""

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of its lines."""
        return worst(item.verdict for item in self.items)


def build_items(
    comparison: Comparison | None,
    soaks: Sequence[Soak],
    documents: Documents | None,
    *,
    plan: Preparation | None = None,
    why_not: str | None = "",
) -> tuple[Item, ...]:
    """The lines, in the order of the guide. `soaks` is empty, or has the baseline's soak and the candidate's.

    Without `plan` the line of the plan is not run.
    `why_not` says why there are no `documents`; None means that documents are not requested and have no line.
    """
    rows = () if comparison is None else comparison.scenarios
    one, other = (None, None) if len(soaks) < 2 else (soaks[0], soaks[1])
    return (
        _scenarios("scenarios pass on the baseline", rows, 0),
        _scenarios("scenarios pass on the candidate", rows, 1),
        _concurrency(rows),
        _performance(comparison),
        _load(rows, other),
        _scenarios(
            "sessions are isolated and survive", [row for row in rows if SESSION_GUARANTEES & set(row.guarantees)], 1
        ),
        _errors_equal(rows),
        _monitoring(other),
        _error_rate(one, other),
        _memory(other),
        _plan(plan),
        *([] if why_not is None else [_documents(documents, why_not)]),
    )


def _not_run(name: str, why: str) -> Item:
    return Item(name=name, verdict=Verdict.UNKNOWN, evidence=why, ran=False)


def _failures(row: ScenarioComparison, side: int) -> list[str]:
    # The undeclared failures of one pool. For the candidate, a failure is declared only if the baseline fails it too.
    result = (row.baseline, row.candidate)[side]
    shared = {d.checker for d in row.differences if d.kind == "finding" and d.pool == row.baseline.pool}
    return [
        f"{row.name}: {d.checker}: {d.text}"
        for d in row.differences
        if d.kind == "finding" and d.pool == result.pool and not (d.reason and (side == 0 or d.checker in shared))
    ]


def _doubts(row: ScenarioComparison, result: RunResult) -> list[str]:
    if result.trouble:
        return [f"{row.name}: {result.trouble}"]
    found = [
        f"{row.name}: the checker {f.checker} could not decide" for f in result.findings if f.verdict is Verdict.UNKNOWN
    ]
    return found or ([] if result.findings else [f"{row.name}: no checker was asked"])


def _scenarios(name: str, rows: Sequence[ScenarioComparison], side: int) -> Item:
    ran = [row for row in rows if not (row.baseline, row.candidate)[side].skipped]
    if not ran:
        return _not_run(name, "no scenario of this kind was run")
    failed = [text for row in ran for text in _failures(row, side)]
    doubts = [text for row in ran for text in _doubts(row, (row.baseline, row.candidate)[side])]
    declared = sum(
        bool(d.reason) for row in ran for d in row.differences if d.pool == (row.baseline, row.candidate)[side].pool
    )
    told = f"{len(ran)} scenarios; {declared} failures as declared beforehand" if declared else f"{len(ran)} scenarios"
    if skipped := len(rows) - len(ran):
        told += f"; {skipped} skipped"
    return _decide(name, failed, doubts, told)


def _decide(name: str, failed: Sequence[str], doubts: Sequence[str], told: str) -> Item:
    if failed:
        return Item(name=name, verdict=Verdict.FAIL, evidence=f"{told}: {_some(failed)}")
    if doubts:
        return Item(name=name, verdict=Verdict.UNKNOWN, evidence=f"{told}: {_some(doubts)}")
    return Item(name=name, verdict=Verdict.PASS, evidence=told)


def _some(texts: Sequence[str]) -> str:
    more = f" (and {len(texts) - MOST_NAMED} more)" if len(texts) > MOST_NAMED else ""
    return "; ".join(texts[:MOST_NAMED]) + more


def _concurrency(rows: Iterable[ScenarioComparison]) -> Item:
    name = "concurrency is proven"
    for row in rows:
        found = [f for f in row.candidate.findings if f.checker == "overlap"]
        if found:
            one, other = row.baseline.metrics.overlap_max, row.candidate.metrics.overlap_max
            text = (
                f"{row.name}: {other} workers of the candidate were at work at the same time, and {one} of "
                "the baseline, by the workers' own journals"
            )
            return Item(name=name, verdict=found[0].verdict, evidence=text)
    return _not_run(name, "no scenario with the checker overlap was run")


def _performance(comparison: Comparison | None) -> Item:
    name = "performance is no worse"
    if comparison is None or not (comparison.speeds or comparison.troubles):
        return _not_run(name, "no timed scenario was run")
    told = "; ".join(
        f"{s.scenario}: {s.ratio:.2f} times the {s.metric} (95 % interval {s.low:.2f} to {s.high:.2f})"
        for s in comparison.speeds
    )
    slow = [s.scenario for s in comparison.speeds if s.too_slow]
    open_ones = [*comparison.troubles, *(s.scenario for s in comparison.speeds if not (s.too_slow or s.fast_enough))]
    return _decide(name, slow, open_ones, told)


def _load(rows: Iterable[ScenarioComparison], soak: Soak | None) -> Item:
    name = "load without errors"
    ran = [row for row in rows if row.name in LOAD_SCENARIOS and not row.candidate.skipped]
    if soak is None and not ran:
        return _not_run(name, "neither a soak nor a load scenario was run")
    failed = [text for row in ran for text in _failures(row, 1)]
    doubts = [text for row in ran for text in _doubts(row, row.candidate)]
    told = ", ".join(row.name for row in ran) or "no load scenario"
    if soak is None:
        doubts.append("no soak was run")
    else:
        failed += soak.wrong
        told += (
            f"; {soak.calls} calls in {soak.seconds:.0f} s, {len(soak.wrong)} wrong answers, {soak.failed} failed calls"
        )
        if soak.failed:
            failed.append(", ".join(f"{count} × {kind}" for kind, count in soak.outcomes.items() if kind != "result"))
    return _decide(name, failed, doubts, told)


def _errors_equal(rows: Sequence[ScenarioComparison]) -> Item:
    name = "errors are handled alike, or as declared"
    compared = sum(row.answers_compared for row in rows)
    if not compared:
        return _not_run(name, "no operation was compared")
    answers = [(row, d) for row in rows for d in row.differences if d.kind == "answers"]
    failed = [f"{row.name}: {d.text}" for row, d in answers if not d.reason]
    doubts = [f"{row.name}: {text}" for row in rows for text in row.undecided]
    return _decide(name, failed, doubts, f"{compared} operations compared, {len(answers) - len(failed)} declared")


def _monitoring(soak: Soak | None) -> Item:
    name = "monitoring is stable"
    if soak is None or not soak.looks:
        return _not_run(name, "no soak was run")
    told = f"{soak.looks} checks of status and health under load, {len(soak.alarms)} of them failed"
    return _decide(name, soak.alarms, (), told)


def _error_rate(one: Soak | None, other: Soak | None) -> Item:
    name = "error rate"
    if one is None or other is None:
        return _not_run(name, "no soak was run")
    before, after = (soak.failed / max(1, soak.calls) for soak in (one, other))
    told = (
        f"{after:.2%} of {other.calls} calls of the candidate failed; {before:.2%} of {one.calls} calls of "
        "the baseline failed"
    )
    limit = f"the limit is {MOST_ERROR_RATE:.1%} above the baseline's error rate"
    failed = [limit] if after - before > MOST_ERROR_RATE else []
    few = [f"{LEAST_CALLS} calls of each pool are needed"] if min(one.calls, other.calls) < LEAST_CALLS else []
    return _decide(name, failed, few, told)


def _memory(soak: Soak | None) -> Item:
    name = "memory does not grow"
    if soak is None:
        return _not_run(name, "no soak was run")
    samples = soak.samples[len(soak.samples) // 5 :]  # growth during the warm-up is no leak
    if len(samples) < LEAST_SAMPLES:
        return _decide(name, (), [f"{LEAST_SAMPLES} samples are needed"], f"{len(samples)} samples")
    found = find_growth(*zip(*samples, strict=True), least=LEAST_GROWTH_BYTES)
    slope = found.slope.value if found.slope is not None else 0.0
    span_s = samples[-1][0] - samples[0][0]
    told = (
        f"{slope / 1024:+.0f} KiB/s over {span_s:.0f} s in {len(samples)} samples, with a memory of "
        f"{samples[-1][1] / 2**20:.0f} MiB"
    )
    limit = f"the limit is {LEAST_GROWTH_BYTES >> 20} MiB in all of that time"
    failed = [limit] if found.verdict is Verdict.FAIL else []
    return _decide(name, failed, [found.why] if found.verdict is Verdict.UNKNOWN else [], told)


def _plan(plan: Preparation | None) -> Item:
    name = "the plan is ready"
    if plan is None:
        return _not_run(name, "no plan was examined")
    return _decide(name, plan.problems, plan.doubts, "; ".join(plan.facts))


def _documents(documents: Documents | None, why_not: str) -> Item:
    name = "documents are current"
    if documents is None:
        return _not_run(name, why_not or "no documents were examined")
    told = f"{documents.pages} pages: {documents.looked_for} commands, options and links were checked"
    return _decide(name, documents.problems, (), told)
