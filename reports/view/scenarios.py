"""The scenarios of a report: a row for each scenario, and a cell for each pool in it.

Pure.
"""

from __future__ import annotations

import re
import shlex

from poolproof.harness.compare.comparison import Comparison, Metrics, RunResult, ScenarioComparison
from poolproof.harness.model.checker import Finding
from poolproof.harness.model.verdict import Verdict
from poolproof.reports.charts import series
from poolproof.reports.charts.drawing import present, side_names
from poolproof.reports.evidence.call import CallView
from poolproof.reports.sections.calls import noted_grid, recovery_grid, runs_grid
from poolproof.reports.sections.section import Tone
from poolproof.reports.view.model import FIGURES, Cell, FindingView, Row

ORDER = (Tone.BAD, Tone.DOUBT, Tone.DECLARED, Tone.MUTED, Tone.GOOD)


def build_row(row: ScenarioComparison, comparison: Comparison, calls: tuple[CallView, ...] = ()) -> Row:
    """The row of one scenario of `comparison`, with the calls that show its failures."""
    compared = f"{row.answers_compared} answers compared" if row.answers_compared else "no answers compared"
    answers = [d for d in row.differences if d.kind == "answers"]
    if answers:
        compared = "; ".join(
            f"{d.text} ({f'as declared beforehand: {d.reason}' if d.reason else d.ran_out or 'undeclared'})"
            for d in answers
        )
    elif row.answers_compared:
        compared += ", all equal"
    baseline, candidate = (_cell(result, row, comparison, calls) for result in (row.baseline, row.candidate))
    sides = side_names(comparison.baseline, comparison.candidate)
    return Row(
        name=row.name,
        summary=row.summary,
        tags=(*row.failures, *row.guarantees),
        baseline=baseline,
        candidate=candidate,
        answers=compared,
        state=min((baseline.tone, candidate.tone, *_tones_of_more(row)), key=ORDER.index),
        drawings=present(
            series.occupancy(row, sides), series.ecdf(row, sides), series.flow(row, sides), series.levels(row, sides)
        ),
        calls=calls,
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


def _cell(result: RunResult, row: ScenarioComparison, comparison: Comparison, calls: tuple[CallView, ...]) -> Cell:
    reasons = {
        d.checker: d.reason for d in row.differences if d.kind == "finding" and d.pool == result.pool and d.reason
    }
    place = f"f-{row.name}-{'candidate' if result is row.candidate else 'baseline'}"
    findings = tuple(_finding(found, reasons.get(found.checker, ""), place, result, calls) for found in result.findings)
    tone, word, note = _with_other_runs(_verdict(result, findings), result, row)
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


def _finding(found: Finding, reason: str, place: str, result: RunResult, calls: tuple[CallView, ...]) -> FindingView:
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
        key=f"{place}-{found.checker}",
        links=tuple(_call_of(example, result, calls) for example in found.examples),
    )


def _call_of(example: str, result: RunResult, calls: tuple[CallView, ...]) -> str:
    for call in calls:
        named = re.search(rf"\b(?:call|operation) {call.index}\b", example)
        if named and any(side.made_in == result.made_in for side in call.sides):
            return call.key
    return ""


def _with_other_runs(told: tuple[Tone, str, str], result: RunResult, row: ScenarioComparison) -> tuple[Tone, str, str]:
    # What the main run passes, another run of the same pool may fail: through another face, or without an observer.
    if told[0] in (Tone.BAD, Tone.MUTED):
        return told
    declared = {(d.made_in, d.checker) for d in row.differences if d.reason}
    more = row.candidate_more if result is row.candidate else row.baseline_more
    bad = [
        (one, found)
        for one in more
        for found in one.findings
        if found.verdict is Verdict.FAIL and (one.made_in, found.checker) not in declared
    ]
    runs = len({one.made_in for one, _ in bad})
    if bad:
        one, found = bad[0]
        return Tone.BAD, f"fails in {runs} of {len(more) + 1} runs", f"{one.made_in}: {found.checker}: {found.claim}"
    unsure = [one for one in more if one.verdict is Verdict.UNKNOWN or one.trouble]
    if unsure and told[0] is not Tone.DOUBT:
        why = unsure[0].trouble or "; ".join(f.claim for f in unsure[0].findings if f.verdict is Verdict.UNKNOWN)
        return Tone.DOUBT, f"unknown in {len(unsure)} of {len(more) + 1} runs", f"{unsure[0].made_in}: {why}"
    return told


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
