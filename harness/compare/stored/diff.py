"""The difference between two stored comparisons: which findings are new, fixed or unchanged, and what became slower.

Pure. A finding of the later comparison is looked up in the earlier one by scenario, side (baseline or candidate), run
(face and observer) and checker. It is new if that run of the earlier comparison did not have it, and an earlier finding
is fixed only if the same run passed the same checker later: what was not judged again is undecided, not fixed.

Timings are compared by the ratio of candidate and baseline, so that a machine that is slower for both pools cancels
out. The half widths of both 95 % intervals add up in quadrature on the log scale, as in `poolproof baseline check`.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

import msgspec

from poolproof.harness.bench.statistics.claims import Claim
from poolproof.harness.bench.statistics.figures import Estimate
from poolproof.harness.bench.statistics.regression import Change, change_of
from poolproof.harness.compare.comparison import Comparison, RunResult, ScenarioComparison, Speed
from poolproof.harness.model.verdict import Decision, Verdict, worst

RUN = "run"
"""Stands for the checker's name if the run itself failed."""
ANSWERS = "answers"
"""Stands for the checker's name if the answers differed."""
MOVES = {Decision.SAFE: 0, Decision.INCONCLUSIVE: 1, Decision.UNSAFE: 2}


class Standing(StrEnum):
    """What became of a finding: new, fixed, still there, or not judged again in the later comparison."""

    NEW = "new"
    FIXED = "fixed"
    STILL = "still"
    UNDECIDED = "undecided"

    @property
    def words(self) -> str:
        """The words for this standing in a report."""
        return {Standing.STILL: "still there", Standing.UNDECIDED: "not judged again"}.get(self, self.value)


class FindingChange(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one finding. `side` is "baseline" or "candidate", `pool` its pool's name.

    `text` is the finding's sentence: the later one, or the earlier one if there is no later. `reason` is why the
    failure is declared as intended; empty if it is not. `made_in` names the runs, such as "face asyncio, observed".
    """

    standing: Standing
    scenario: str
    side: str
    pool: str
    checker: str
    text: str
    reason: str = ""
    made_in: tuple[str, ...] = ()

    @property
    def counts(self) -> bool:
        """Whether the finding speaks against the candidate: it is the candidate's, and it is not declared."""
        return self.side == "candidate" and not self.reason


class Diff(msgspec.Struct, frozen=True, kw_only=True):
    """Two comparisons side by side; `before` and `now` are the decisions, `before_at` and `now_at` their times (UTC).

    `timings` have a change above 1 if the candidate became slower relative to the baseline. `conditions` has a sentence
    for each condition that was another one, so that changes may come from it. `not_compared` has a sentence for each
    thing that could not be compared. `only_before` and `only_now` are scenarios of one comparison alone.
    """

    before: Decision
    now: Decision
    before_at: str
    now_at: str
    baseline: str
    candidate: str
    findings: tuple[FindingChange, ...] = ()
    timings: tuple[Change, ...] = ()
    conditions: tuple[str, ...] = ()
    not_compared: tuple[str, ...] = ()
    only_before: tuple[str, ...] = ()
    only_now: tuple[str, ...] = ()

    def of(self, standing: Standing) -> tuple[FindingChange, ...]:
        """Return the findings with this standing."""
        return tuple(found for found in self.findings if found.standing is standing)

    @property
    def counted(self) -> str:
        """The number of findings against the candidate that are new, fixed and so on, such as "1 new, 0 fixed"."""
        return ", ".join(
            f"{sum(change.counts for change in self.of(standing))} {standing.words}"
            for standing in (Standing.NEW, Standing.FIXED, Standing.STILL, Standing.UNDECIDED)
        )

    @property
    def verdict(self) -> Verdict:
        """FAIL if the decision is worse, a finding that counts is new, or a timing is slower.

        Else UNKNOWN if something was not compared or not decided. Else PASS.
        """
        told = [found.standing for found in self.findings if found.counts]
        claims = [change.claim for change in self.timings]
        if Standing.NEW in told or Claim.WORSE in claims or (self.worse and self.now is Decision.UNSAFE):
            return Verdict.FAIL
        open_ = self.worse or Standing.UNDECIDED in told or Claim.INCONCLUSIVE in claims
        return Verdict.UNKNOWN if open_ or self.not_compared or self.only_before else Verdict.PASS

    @property
    def worse(self) -> bool:
        """Whether the later decision is worse than the earlier one."""
        return MOVES[self.now] > MOVES[self.before]


class _Judged(msgspec.Struct, frozen=True, kw_only=True):
    """One checker's verdict in one run."""

    pool: str
    verdict: Verdict
    text: str
    reason: str = ""


_Key = tuple[str, str, str, str]
"""Scenario, side, run (face and observer), checker."""


def diff(before: Comparison, now: Comparison) -> Diff:
    """Compare two comparisons, the earlier one first."""
    names = [{row.name for row in comparison.scenarios} for comparison in (before, now)]
    timings, refused = _timings(before, now)
    return Diff(
        before=before.decision,
        now=now.decision,
        before_at=before.created_at,
        now_at=now.created_at,
        baseline=now.baseline,
        candidate=now.candidate,
        findings=_findings(before, now),
        timings=timings,
        conditions=tuple(_conditions(before, now)),
        not_compared=refused,
        only_before=tuple(sorted(names[0] - names[1])),
        only_now=tuple(sorted(names[1] - names[0])),
    )


def _conditions(before: Comparison, now: Comparison) -> Iterator[str]:
    described = {
        "baseline": "the baseline",
        "candidate": "the candidate",
        "seed": "the seed",
        "workers": "the number of workers",
        "clients": "the number of clients",
        "profile": "the profile",
        "worker_command": "the worker command",
        "tool_version": "the version of poolproof",
    }
    for name, told in described.items():
        old, new = getattr(before, name), getattr(now, name)
        if old != new:
            yield f"{told} was {old or 'the shipped one'} and is now {new or 'the shipped one'}"
    for told in _machine_changes(before, now):
        yield told


def _machine_changes(before: Comparison, now: Comparison) -> Iterator[str]:
    for name, told in {"system": "the system", "python": "Python", "cpus": "the number of processors"}.items():
        old, new = getattr(before.machine, name), getattr(now.machine, name)
        if old != new:
            yield f"{told} was {old} and is now {new}"


def _timings(before: Comparison, now: Comparison) -> tuple[tuple[Change, ...], tuple[str, ...]]:
    old = {(speed.scenario, speed.metric): speed for speed in before.speeds}
    new = {(speed.scenario, speed.metric): speed for speed in now.speeds}
    if not old and not new:
        return (), ()
    reasons = [*_machine_changes(before, now)]
    reasons += [
        f"{told} was {one} and is now {other}"
        for told, one, other in (
            ("the baseline", before.baseline, now.baseline),
            ("the number of workers", before.workers, now.workers),
            ("the number of clients", before.clients, now.clients),
        )
        if one != other
    ]
    if reasons:
        return (), (f"timings: {'; '.join(reasons)}",)
    refused = [
        f"timing {scenario}, {metric}: only the {'earlier' if (scenario, metric) in old else 'later'} comparison has it"
        for scenario, metric in sorted(old.keys() ^ new.keys())
    ]
    changes = []
    for key in sorted(old.keys() & new.keys()):
        one, other = old[key], new[key]
        if one.wrong or other.wrong or min(one.low, other.low) <= 0:
            refused.append(f"timing {key[0]}, {key[1]}: wrong answers or no figures, so there is no ratio to compare")
            continue
        margin = max(one.allowed, other.allowed)
        changes.append(change_of(*key, _estimate(one), _estimate(other), margin, sign=-1))
    return tuple(changes), tuple(refused)


def _estimate(speed: Speed) -> Estimate:
    return Estimate(speed.ratio, speed.low, speed.high)


def _findings(before: Comparison, now: Comparison) -> tuple[FindingChange, ...]:
    old, new = dict(_judged(before)), dict(_judged(now))
    merged: dict[tuple[str, str, str, Standing], FindingChange] = {}
    for key in (*new, *(key for key in old if key not in new)):
        told = _standing(old.get(key), new.get(key))
        if told is None:
            continue
        standing, judged = told
        scenario, side, run, checker = key
        place = (scenario, side, checker, standing)
        same = merged.get(place)
        merged[place] = FindingChange(
            standing=standing,
            scenario=scenario,
            side=side,
            pool=judged.pool,
            checker=checker,
            text=same.text if same else judged.text,
            reason=judged.reason if same is None else same.reason and judged.reason,
            made_in=(*(same.made_in if same else ()), run),
        )
    order = list(Standing)
    return tuple(sorted(merged.values(), key=lambda found: (not found.counts, order.index(found.standing))))


def _standing(one: _Judged | None, other: _Judged | None) -> tuple[Standing, _Judged] | None:
    # What became of a finding, and the verdict that shows it; None if neither comparison has a failure there.
    failed = one is not None and one.verdict is Verdict.FAIL
    if other is not None and other.verdict is Verdict.FAIL:
        no_longer_declared = one is not None and bool(one.reason) and not other.reason
        return (Standing.STILL if failed and not no_longer_declared else Standing.NEW), other
    if one is None or not failed:
        return None
    return (Standing.FIXED if other is not None and other.verdict is Verdict.PASS else Standing.UNDECIDED), one


def _judged(comparison: Comparison) -> Iterator[tuple[_Key, _Judged]]:
    for row in comparison.scenarios:
        reasons = {
            (difference.made_in, difference.checker): difference.reason
            for difference in row.differences
            if difference.kind == "finding"
        }
        for side, (main, others) in zip(("baseline", "candidate"), row.runs, strict=True):
            for result in (main, *others):
                yield from _judged_run(row.name, side, result, reasons)
        yield from _judged_answers(row)
    for result in comparison.explored:
        yield from _judged_run(result.scenario, "candidate", result, {})


def _judged_run(
    scenario: str, side: str, result: RunResult, reasons: dict[tuple[str, str], str]
) -> Iterator[tuple[_Key, _Judged]]:
    if result.skipped:
        return
    run = f"face {result.face}, {'observed' if result.observed else 'not observed'}"
    verdict = Verdict.FAIL if result.trouble else Verdict.PASS
    yield (scenario, side, run, RUN), _Judged(pool=result.pool, verdict=verdict, text=result.trouble)
    by_checker: dict[str, list[_Judged]] = {}
    for found in result.findings:
        reason = reasons.get((result.made_in, found.checker), "")
        told = _Judged(pool=result.pool, verdict=found.verdict, text=found.claim, reason=reason)
        by_checker.setdefault(found.checker, []).append(told)
    for checker, answers in by_checker.items():  # a scenario may have the same checker twice, with other limits
        verdict = worst(told.verdict for told in answers)
        yield (scenario, side, run, checker), next(told for told in answers if told.verdict is verdict)


def _judged_answers(row: ScenarioComparison) -> Iterator[tuple[_Key, _Judged]]:
    # Differing answers speak against the candidate, whatever pair of runs shows them, unless all are declared.
    key = (row.name, "candidate", "the answers of both pools", ANSWERS)
    pool = row.candidate.pool
    differing = sorted(
        (d for d in row.differences if d.kind == ANSWERS), key=lambda difference: bool(difference.reason)
    )
    if differing:
        first = min(differing, key=lambda difference: bool(difference.reason))  # one that is not declared, if any
        yield key, _Judged(pool=pool, verdict=Verdict.FAIL, text=first.text, reason=first.reason)
    elif row.answers_compared:
        yield key, _Judged(pool=pool, verdict=Verdict.PASS, text="")
