"""The first screen of a report: the headline, the result in one sentence, the key figures, and what would settle it.

Pure.
"""

from __future__ import annotations

from poolproof.harness.compare.comparison import Comparison
from poolproof.harness.model.verdict import Decision, Verdict
from poolproof.reports.charts import series
from poolproof.reports.charts.drawing import Drawing
from poolproof.reports.sections.section import Tone
from poolproof.reports.view.model import Tile


def headline(comparison: Comparison) -> str:
    """The decision as a sentence."""
    one, other = comparison.baseline, comparison.candidate
    match comparison.decision:
        case Decision.SAFE:
            return f"{other} may replace {one}."
        case Decision.UNSAFE:
            return f"{other} may not replace {one}."
        case Decision.INCONCLUSIVE:
            return f"Whether {other} may replace {one} could not be decided."


def lead(comparison: Comparison) -> str:
    """The reason for the decision in one sentence; for UNSAFE and INCONCLUSIVE the most important one."""
    one, other = comparison.baseline, comparison.candidate
    verdicts = [verdict for _, verdict in _verdicts(comparison, other)]
    parts = [f"{other} passes {verdicts.count(Verdict.PASS)} of {len(verdicts)} scenarios"]
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


def hero(comparison: Comparison, sides: tuple[str, str]) -> Drawing | None:
    """The timeline of the timed scenario, or else of the scenario with the most workers at work; None without data."""
    timed = {speed.scenario for speed in comparison.speeds}
    shown = [row for row in comparison.scenarios if row.name in timed] or sorted(
        comparison.scenarios, key=lambda row: -(row.candidate.metrics.overlap_max or 0)
    )
    return series.occupancy(shown[0], sides) if shown else None


def tiles(comparison: Comparison) -> tuple[Tile, ...]:
    """The key figures of the comparison."""
    one, other = comparison.baseline, comparison.candidate
    found = [
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
        found.append(
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
        if all(d.reason for d in row.differences if d.kind == "finding" and d.pool == one)
    }
    for pool in (other, one):
        verdicts = _verdicts(comparison, pool)
        passed, failed, unknown = (
            [name for name, verdict in verdicts if verdict is wanted]
            for wanted in (Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN)
        )
        declared = len(excused & set(failed)) if pool == one else 0
        told = [f"{len(failed)} failed" + (f", {declared} of them as declared" if declared else "")] if failed else []
        told += [f"{len(unknown)} could not be decided"] if unknown else []
        found.append(
            Tile(
                label=f"scenarios that {pool} passes",
                figure=f"{len(passed)} of {len(verdicts)}",
                note=", ".join(told) or "no scenario failed, and none is undecided",
                tone=Tone.GOOD if len(passed) == len(verdicts) else Tone.DECLARED if pool == one else Tone.BAD,
            )
        )
    return tuple(found)


def _verdicts(comparison: Comparison, pool: str) -> list[tuple[str, Verdict]]:
    # The scenarios that the pool ran, each with the worst verdict of its runs: a pool passes only what no run fails.
    found = []
    for row in comparison.scenarios:
        runs = [run for main, more in row.runs for run in (main, *more) if run.pool == pool and not run.skipped]
        verdicts = {Verdict.UNKNOWN if run.trouble and run.verdict is Verdict.PASS else run.verdict for run in runs}
        if verdicts:
            worst = next(each for each in (Verdict.FAIL, Verdict.UNKNOWN, Verdict.PASS) if each in verdicts)
            found.append((row.name, worst))
    return found


def what_settles(comparison: Comparison) -> tuple[str, ...]:
    """What a user can do so that an open decision becomes SAFE; empty if it is SAFE."""
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


def _overlaps(comparison: Comparison) -> tuple[int | None, int | None]:
    most = [
        max((m.overlap_max for m in metrics if m.overlap_max is not None), default=None)
        for metrics in (
            [row.baseline.metrics for row in comparison.scenarios],
            [row.candidate.metrics for row in comparison.scenarios],
        )
    ]
    return most[0], most[1]
