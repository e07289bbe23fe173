"""A comparison prepared for readers: rows, cells and sentences; renderers decide nothing.

Pure. Contains no HTML and no Markdown; every text is plain, and may contain untrusted output of a worker.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import msgspec

from poolproof.harness.compare.comparison import Comparison, Metrics, RunResult, ScenarioComparison, Speed
from poolproof.harness.compare.glossary import MEANINGS, TERMS
from poolproof.harness.model.checker import Finding
from poolproof.harness.model.verdict import Decision, Verdict
from poolproof.reports import series
from poolproof.reports.calls import noted_grid, recovery_grid, runs_grid
from poolproof.reports.section import Grid, Mark, Section, Tone
from poolproof.reports.series import Drawing


class Tile(msgspec.Struct, frozen=True, kw_only=True):
    """One key figure: its label, its value, and a note on its meaning."""

    label: str
    figure: str
    note: str
    tone: Tone = Tone.MUTED


class FindingView(msgspec.Struct, frozen=True, kw_only=True):
    """One checker's finding; `reason` says why a failure was declared."""

    checker: str
    tone: Tone
    word: str
    claim: str
    guarantees: str
    reason: str = ""
    examples: tuple[str, ...] = ()


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One pool in one scenario. `figures` are (name, value) in the order of `FIGURES`."""

    pool: str
    tone: Tone
    word: str
    note: str
    findings: tuple[FindingView, ...]
    figures: tuple[tuple[str, str], ...]
    replay: str
    folder: str = ""
    noted: Grid | None = None


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One scenario on both pools. `state` is the worst tone of its runs, for filtering."""

    name: str
    summary: str
    tags: tuple[str, ...]
    baseline: Cell
    candidate: Cell
    answers: str
    state: Tone = Tone.MUTED
    drawings: tuple[Drawing, ...] = ()
    recovery: Grid | None = None
    runs: Grid | None = None
    source: ScenarioComparison

    @property
    def cells(self) -> tuple[Cell, Cell]:
        """The baseline's cell, then the candidate's."""
        return self.baseline, self.candidate


class View(msgspec.Struct, frozen=True, kw_only=True):
    """The whole report. `lead` is the result in one sentence, `hero` the timeline chart that shows it.

    `settles` says what would change the decision. `sections` are present only if there are data for them. `terms` and
    `numbers` (such as G1) are the glossary, each with its meaning.
    """

    title: str
    decision: str
    tone: Tone
    headline: str
    lead: str
    hero: Drawing | None
    tiles: tuple[Tile, ...]
    reasons: tuple[str, ...]
    case: tuple[str, ...]
    warnings: tuple[str, ...]
    not_asked: tuple[str, ...]
    settles: tuple[str, ...]
    rows: tuple[Row, ...]
    speeds: tuple[Speed, ...]
    overview: tuple[Drawing, ...]
    ledger: Grid | None
    sections: tuple[Section, ...]
    terms: tuple[tuple[str, str], ...]
    numbers: tuple[tuple[str, str], ...]
    facts: tuple[tuple[str, str], ...]
    source: Comparison


FIGURES = (
    "calls",
    "outcomes",
    "throughput",
    "response p50 / p90 / p99",
    "workers at work at the same time",
    "duration",
)

_TONES = {Decision.SAFE: Tone.GOOD, Decision.INCONCLUSIVE: Tone.DOUBT, Decision.UNSAFE: Tone.BAD}


_ORDER = (Tone.BAD, Tone.DOUBT, Tone.DECLARED, Tone.MUTED, Tone.GOOD)


def build_view(comparison: Comparison, sections: Sequence[Section] = ()) -> View:
    """The whole report, in the order in which it is shown; `sections` are the optional ones."""
    sides = series.side_names(comparison.baseline, comparison.candidate)
    case = tuple(
        dict.fromkeys(
            f"{row.name}: {difference.reason}"
            for row in comparison.scenarios
            for difference in row.differences
            if difference.reason and difference.pool == comparison.baseline
        )
    )
    told = {
        f"{d.pool} fails {row.name}, as declared beforehand: {d.reason}"
        for row in comparison.scenarios
        for d in row.differences
    }
    return View(
        title=f"{comparison.candidate} replacing {comparison.baseline}",
        decision=comparison.decision.value,
        tone=_TONES[comparison.decision],
        headline=_headline(comparison),
        lead=_lead(comparison),
        hero=_hero(comparison, sides),
        tiles=_tiles(comparison),
        reasons=tuple(reason for reason in comparison.reasons if reason not in told),
        case=case,
        warnings=comparison.warnings,
        not_asked=comparison.not_asked,
        settles=_what_settles(comparison),
        rows=tuple(_row(row, comparison) for row in comparison.scenarios),
        speeds=comparison.speeds,
        overview=_present(
            series.forest(comparison.speeds),
            series.overlap(comparison, sides),
            series.response(comparison, sides),
            series.throughput(comparison, sides),
        ),
        ledger=_ledger(comparison),
        sections=tuple(sections),
        terms=tuple(TERMS.items()),
        numbers=_numbers(comparison),
        facts=_facts(comparison),
        source=comparison,
    )


def _numbers(comparison: Comparison) -> tuple[tuple[str, str], ...]:
    # The guarantees and failures that the scenarios and findings mention.
    mentioned = {number for row in comparison.scenarios for number in (*row.failures, *row.guarantees)}
    results = (result for row in comparison.scenarios for result in row.all_runs)
    mentioned.update(number for result in results for found in result.findings for number in found.guarantees)
    return tuple((number, meaning) for number, meaning in MEANINGS.items() if number in mentioned)


def _headline(comparison: Comparison) -> str:
    one, other = comparison.baseline, comparison.candidate
    match comparison.decision:
        case Decision.SAFE:
            return f"{other} may replace {one}."
        case Decision.UNSAFE:
            return f"{other} may not replace {one}."
        case Decision.INCONCLUSIVE:
            return f"Whether {other} may replace {one} could not be decided."


def _present(*drawings: Drawing | None) -> tuple[Drawing, ...]:
    return tuple(drawing for drawing in drawings if drawing is not None)


def _hero(comparison: Comparison, sides: tuple[str, str]) -> Drawing | None:
    timed = {speed.scenario for speed in comparison.speeds}
    shown = [row for row in comparison.scenarios if row.name in timed] or sorted(
        comparison.scenarios, key=lambda row: -(row.candidate.metrics.overlap_max or 0)
    )
    return series.occupancy(shown[0], sides) if shown else None


def _overlaps(comparison: Comparison) -> tuple[int | None, int | None]:
    most = [
        max((m.overlap_max for m in metrics if m.overlap_max is not None), default=None)
        for metrics in (
            [row.baseline.metrics for row in comparison.scenarios],
            [row.candidate.metrics for row in comparison.scenarios],
        )
    ]
    return most[0], most[1]


def _lead(comparison: Comparison) -> str:
    one, other = comparison.baseline, comparison.candidate
    ran = [row.candidate for row in comparison.scenarios if not row.candidate.skipped]
    passed = sum(result.verdict is Verdict.PASS and not result.trouble for result in ran)
    parts = [f"{other} passes {passed} of {len(ran)} scenarios"]
    if comparison.speeds:
        speed = comparison.speeds[0]
        parts.append(
            f"has {speed.ratio:.2f} times the throughput of {one} (95 % interval {speed.low:.2f} to {speed.high:.2f})"
        )
    before, after = _overlaps(comparison)
    if before is not None and after is not None:
        serial = (
            (f"{one} is serial: it never works on more than one call")
            if before == 1
            else f"{one} works on up to {before} calls"
        )
        parts.append(f"works on up to {after} calls at the same time ({serial})")
    told = (", and ".join((", ".join(parts[:-1]), parts[-1])) if len(parts) > 1 else parts[0]) + "."
    match comparison.decision:
        case Decision.SAFE:
            return told
        case Decision.UNSAFE:
            return (
                "The most important reason against it: "
                f"{comparison.reasons[0] if comparison.reasons else 'no reason was kept'}. {told}"
            )
        case Decision.INCONCLUSIVE:
            return (
                "The most important open question: "
                f"{comparison.reasons[0] if comparison.reasons else 'no reason was kept'}. {told}"
            )


def _ledger(comparison: Comparison) -> Grid | None:
    rows: list[tuple[str | Mark, ...]] = []
    for row in comparison.scenarios:
        for found in row.differences:
            status = Mark("declared", Tone.DECLARED) if found.reason else Mark("undeclared", Tone.BAD)
            if found.ran_out:
                status = Mark("declaration has run out", Tone.BAD)
            what = "answers" if found.kind == "answers" else found.checker
            rows.append(
                (row.name, found.made_in or found.pool, what, found.text, status, found.reason or found.ran_out or "–")
            )
        rows += [(row.name, "–", "–", told, Mark("declared, not seen", Tone.DOUBT), "–") for told in row.not_seen]
    if not rows:
        return None
    return Grid(
        caption="All differences between the pools, declared or not, and declared differences that did not occur.",
        columns=("scenario", "pool", "in", "difference", "status", "reason"),
        rows=tuple(rows),
    )


def _tiles(comparison: Comparison) -> tuple[Tile, ...]:
    one, other = comparison.baseline, comparison.candidate
    tiles = [
        Tile(
            label=f"{speed.metric}, {speed.scenario}",
            figure=f"{speed.ratio:.2f} ×",
            note=(
                f"95 % interval {speed.low:.2f} to {speed.high:.2f}: {speed.candidate:.1f} calls/s on {other}, "
                f"{speed.baseline:.1f} on {one}"
            ),
            tone=Tone.GOOD if speed.low >= 1 else Tone.DOUBT if speed.high >= 1 else Tone.BAD,
        )
        for speed in comparison.speeds
    ]
    overlaps = _overlaps(comparison)
    if None not in overlaps:
        serial = " — it is serial" if overlaps[0] == 1 else ""
        tiles.append(
            Tile(
                label="workers at work at the same time",
                figure=f"{one}: {overlaps[0]}  {other}: {overlaps[1]}",
                note=f"of {comparison.workers} workers; {one} never had more than {overlaps[0]}{serial}",
                tone=Tone.GOOD if (overlaps[1] or 0) >= (overlaps[0] or 0) else Tone.BAD,
            )
        )
    excused = {
        row.name
        for row in comparison.scenarios
        if any(d.kind == "finding" and d.pool == one and d.reason for d in row.differences)
    }
    for pool, results in (
        (other, [row.candidate for row in comparison.scenarios]),
        (one, [row.baseline for row in comparison.scenarios]),
    ):
        ran = [result for result in results if not result.skipped]
        passed = sum(result.verdict is Verdict.PASS for result in ran)
        failed = sum(result.verdict is Verdict.FAIL for result in ran)
        unknown = len(ran) - passed - failed
        declared = sum(row.name in excused for row in comparison.scenarios) if pool == one else 0
        told = [f"{failed} failed" + (f", {declared} of them as declared" if declared else "")] if failed else []
        told += [f"{unknown} could not be decided"] if unknown else []
        tiles.append(
            Tile(
                label=f"scenarios that {pool} passes",
                figure=f"{passed} of {len(ran)}",
                note=", ".join(told) or "no scenario failed, and none is undecided",
                tone=Tone.GOOD if passed == len(ran) else Tone.DECLARED if pool == one else Tone.BAD,
            )
        )
    return tuple(tiles)


def _what_settles(comparison: Comparison) -> tuple[str, ...]:
    if comparison.decision is Decision.SAFE:
        return ()
    one, other = comparison.baseline, comparison.candidate
    advice = []
    results = [result for row in comparison.scenarios for result in row.all_runs]
    open_ends = [d for row in comparison.scenarios for d in row.differences if not d.reason]
    if any(d.pool == other and d.kind == "finding" for d in open_ends):
        advice.append(
            f"fix each failure of {other}, or show that the scenario itself is wrong; the scenario's "
            "part below has the command that runs it again"
        )
    if any(d.pool == one and d.kind == "finding" for d in open_ends):
        advice.append(
            f"explain each undeclared failure of {one}: declare it with a reason if it is a known weakness, "
            "otherwise run "
            "the scenario again on a quieter machine"
        )
    if any(d.kind == "answers" for d in open_ends):
        advice.append("declare each difference in answers with a reason, or remove it")
    if any(speed.low < 1 <= speed.high for speed in comparison.speeds):
        advice.append("measure more rounds on a quiet machine, with --profile full")
    if any(result.trouble for result in results):
        advice.append("fix the cause of each run that broke, which the run names, and run it again")
    if any(f.checker == "fault_landed" and f.verdict is Verdict.UNKNOWN for r in results for f in r.findings):
        advice.append("use another seed or a quieter machine, so that the fault hits a call")
    if any(bool(row.baseline.skipped) != bool(row.candidate.skipped) for row in comparison.scenarios):
        advice.append("choose only scenarios that both pools can run")
    return tuple(advice) or ("decide each open point above by a run that records what the checker needs",)


def _row(row: ScenarioComparison, comparison: Comparison) -> Row:
    compared = f"{row.answers_compared} answers compared" if row.answers_compared else "no answers compared"
    answers = [d for d in row.differences if d.kind == "answers"]
    if answers:
        compared = "; ".join(
            f"{d.text} ({f'as declared beforehand: {d.reason}' if d.reason else d.ran_out or 'undeclared'})"
            for d in answers
        )
    elif row.answers_compared:
        compared += ", all equal"
    baseline, candidate = (_cell(result, row, comparison) for result in (row.baseline, row.candidate))
    sides = series.side_names(comparison.baseline, comparison.candidate)
    return Row(
        name=row.name,
        summary=row.summary,
        tags=(*row.failures, *row.guarantees),
        baseline=baseline,
        candidate=candidate,
        answers=compared,
        state=min((baseline.tone, candidate.tone, *_tones_of_more(row)), key=_ORDER.index),
        drawings=_present(
            series.occupancy(row, sides), series.ecdf(row, sides), series.flow(row, sides), series.levels(row, sides)
        ),
        recovery=recovery_grid(row, sides),
        runs=runs_grid(row),
        source=row,
    )


def _tones_of_more(row: ScenarioComparison) -> list[Tone]:
    # The tones of the runs that have no cell of their own.
    declared = {(d.made_in, d.checker) for d in row.differences if d.reason}
    tones = []
    for result in (*row.baseline_more, *row.candidate_more):
        failed = {found.checker for found in result.findings if found.verdict is Verdict.FAIL}
        if any((result.made_in, checker) not in declared for checker in failed):
            tones.append(Tone.BAD)
        elif result.trouble or result.verdict is Verdict.UNKNOWN:
            tones.append(Tone.DOUBT)
        else:
            tones.append(Tone.DECLARED if failed else Tone.GOOD)
    return tones


def _cell(result: RunResult, row: ScenarioComparison, comparison: Comparison) -> Cell:
    reasons = {
        d.checker: d.reason for d in row.differences if d.kind == "finding" and d.pool == result.pool and d.reason
    }
    findings = tuple(_finding(found, reasons.get(found.checker, "")) for found in result.findings)
    tone, word, note = _verdict(result, findings)
    replay = ["poolproof", "run", row.file or row.name, "--pool", result.pool, "--seed", str(result.seed)]
    replay += ["--workers", str(comparison.workers), "--clients", str(comparison.clients)]
    if comparison.worker_command:
        replay += ["--worker-command", comparison.worker_command]
    return Cell(
        pool=result.pool,
        tone=tone,
        word=word,
        note=note,
        findings=findings,
        figures=() if result.skipped else figures(result.metrics, result.duration_s),
        replay=result.replay or shlex.join(replay),
        folder=result.folder,
        noted=noted_grid(result),
    )


def _finding(found: Finding, reason: str) -> FindingView:
    tone = {Verdict.PASS: Tone.GOOD, Verdict.UNKNOWN: Tone.DOUBT, Verdict.FAIL: Tone.BAD}[found.verdict]
    if found.verdict is Verdict.FAIL and reason:
        tone = Tone.DECLARED
    return FindingView(
        checker=found.checker,
        tone=tone,
        word=found.verdict.value,
        claim=found.claim,
        guarantees=" ".join(found.guarantees),
        reason=reason,
        examples=found.examples,
    )


def _verdict(result: RunResult, findings: tuple[FindingView, ...]) -> tuple[Tone, str, str]:
    if result.skipped:
        return Tone.MUTED, "not run", result.skipped
    bad = [found for found in findings if found.tone is Tone.BAD]
    if bad:
        return Tone.BAD, "fails", f"{bad[0].checker}: {bad[0].claim}"
    if result.trouble:
        return Tone.DOUBT, "unknown", result.trouble
    doubtful = [found for found in findings if found.tone is Tone.DOUBT]
    if doubtful:
        return Tone.DOUBT, "unknown", f"{doubtful[0].checker}: {doubtful[0].claim}"
    declared = [found for found in findings if found.tone is Tone.DECLARED]
    if declared:
        return Tone.DECLARED, "fails as declared", declared[0].reason
    if not findings:
        return Tone.DOUBT, "unknown", "no checker was asked"
    return Tone.GOOD, "passes", ""


def figures(metrics: Metrics, duration_s: float) -> tuple[tuple[str, str], ...]:
    """The figures of one run, named as in FIGURES; "–" if a figure was not recorded."""
    response = metrics.response
    quantiles = "–" if response is None else f"{response.p50_ms:.1f} / {response.p90_ms:.1f} / {response.p99_ms:.1f} ms"
    overlap = "–" if metrics.overlap_max is None else f"{metrics.overlap_max} (mean {metrics.overlap_mean:.2f})"
    throughput = "–" if metrics.throughput_per_s is None else f"{metrics.throughput_per_s:.1f} results/s"
    outcomes = ", ".join(f"{count} {name}" for name, count in metrics.outcomes.items()) or "–"
    values = (str(metrics.ops), outcomes, throughput, quantiles, overlap, f"{duration_s:.1f} s")
    return tuple(zip(FIGURES, values, strict=True))


def _facts(comparison: Comparison) -> tuple[tuple[str, str], ...]:
    machine = comparison.machine
    return (
        ("decision", f"{comparison.decision.value}: {comparison.candidate} replacing {comparison.baseline}"),
        ("made", comparison.created_at),
        ("command", comparison.command or "–"),
        ("seed", str(comparison.seed)),
        ("workers, clients", f"{comparison.workers}, {comparison.clients}"),
        ("profile", comparison.profile),
        ("worker", comparison.worker_command or "the shipped worker"),
        ("took", f"{comparison.duration_s:.1f} s"),
        ("machine", f"{machine.system}, {machine.cpus} processors"),
        ("load before, after", f"{machine.load_before:.2f}, {machine.load_after:.2f}"),
        ("Python", machine.python),
        ("poolproof", f"{comparison.tool_version}, schema {comparison.schema_version}"),
    )
