"""Tables of single calls and of single faults: notable calls, and the recovery of each pool after each fault.

Pure. Rows that do not fit are counted, and the table names the file that has them.
"""

from __future__ import annotations

from poolproof.harness.compare.comparison import RunResult, ScenarioComparison
from poolproof.harness.history.chart_data import Noted
from poolproof.harness.model.verdict import Verdict
from poolproof.reports.sections.section import Grid, Mark, Tone

MOST_RECOVERIES = 30


def noted_grid(result: RunResult) -> Grid | None:
    """A table of a run's notable calls: named by a finding, without a result, or slowest. None if there are none."""
    picture = result.picture
    if not picture.noted:
        return None
    left = picture.notable - len(picture.noted)
    return Grid(
        caption=f"{len(picture.noted)} of {picture.notable} notable calls (failed, slow, or named in a finding) "
        f"of {result.metrics.ops} calls in all",
        columns=(
            "call",
            "why",
            "what",
            "client",
            "worker",
            "ended",
            "start, s",
            "waited, ms",
            "served, ms",
            "whole time, ms",
            "error",
        ),
        rows=tuple(_noted(one) for one in picture.noted),
        more=f"{left} more notable calls, and all other calls, are in {result.folder}/history.jsonl.gz" if left else "",
    )


def _noted(one: Noted) -> tuple[str | Mark, ...]:
    what = one.command + (f" in {one.session}" if one.session else "") + (f" ({one.label})" if one.label else "")
    worker = "–" if one.worker is None else f"{one.worker} (pid {one.pid})"
    named = one.why.startswith("named")
    return (
        str(one.index),
        Mark(one.why, Tone.BAD) if named else one.why,
        what,
        str(one.client),
        worker,
        Mark(one.outcome, Tone.GOOD if one.outcome == "result" else Tone.DOUBT),
        f"{one.intended_s:.3f}",
        _between(one.intended_s, one.checked_out_s),
        _between(one.sent_s, one.received_s),
        _between(one.intended_s, one.completed_s),
        one.error,
    )


def _between(start_s: float | None, end_s: float | None) -> str:
    return "–" if start_s is None or end_s is None else f"{(end_s - start_s) * 1e3:.1f}"


def recovery_grid(row: ScenarioComparison, sides: tuple[str, str]) -> Grid | None:
    """A table of each pool's recovery after each fault; None if no fault landed."""
    found = [
        (side, one)
        for side, result in zip(sides, (row.baseline, row.candidate), strict=True)
        for one in result.metrics.recoveries
    ]
    if not found:
        return None
    left = len(found) - MOST_RECOVERIES
    return Grid(
        caption="How each pool recovered after each fault: the time to its first result and to its full size, "
        "and the calls lost",
        columns=("pool", "fault", "time to first result", "time to full size", "calls lost"),
        rows=tuple(
            (side, one.kind.value, _after(one.first_ok_s), _after(one.full_size_s), str(one.lost))
            for side, one in found[:MOST_RECOVERIES]
        ),
        more=f"{left} more faults are in comparison.json" if left > 0 else "",
    )


def runs_grid(row: ScenarioComparison) -> Grid | None:
    """A table of every run of a scenario and its failures; None if there are only the two main runs."""
    if not row.baseline_more and not row.candidate_more:
        return None
    declared = {(d.made_in, d.checker) for d in row.differences if d.reason}
    return Grid(
        caption="Every run of the scenario: without an observer (as shipped), with an observer, and through the "
        "other faces",
        columns=("pool", "face", "observed", "verdict", "findings that did not pass", "command to run it again"),
        rows=tuple(_run(result, declared) for result in row.all_runs if not result.skipped),
    )


def _run(result: RunResult, declared: set[tuple[str, str]]) -> tuple[str | Mark, ...]:
    found = [one for one in result.findings if one.verdict is not Verdict.PASS]
    as_declared = bool(found) and all((result.made_in, one.checker) in declared for one in found)
    tone = {Verdict.PASS: Tone.GOOD, Verdict.UNKNOWN: Tone.DOUBT, Verdict.FAIL: Tone.BAD}[result.verdict]
    return (
        result.pool,
        result.face,
        "yes" if result.observed else "no",
        Mark(result.verdict.value, Tone.DECLARED if as_declared else tone),
        "; ".join(filter(None, (result.trouble, *(f"{one.checker}: {one.claim}" for one in found)))) or "–",
        result.replay,
    )


def _after(seconds: float | None) -> str | Mark:
    return Mark("not observed", Tone.DOUBT) if seconds is None else f"{seconds * 1e3:.0f} ms"
