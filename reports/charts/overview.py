"""The charts of the whole comparison: speed ratios, and each scenario beside the others.

Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from poolproof.harness.compare.comparison import MARGIN, Comparison, Speed
from poolproof.reports.charts.drawing import Drawing, Table, pairs, time_in
from poolproof.reports.charts.units import SECONDS, settings, unit_of


def speed_tone(speed: Speed) -> tuple[str, str]:
    """The tone of a speed ratio's interval, and its meaning in words."""
    if speed.low >= 1:
        return "good", "faster, or at least as fast"
    if speed.too_slow:
        return "bad", f"slower by more than {speed.margin:.0%}"
    if speed.fast_enough:
        return "good", f"no worse than by {MARGIN:.0%}"
    return "doubt", f"a loss of {MARGIN:.0%} cannot be excluded"


def forest(speeds: Sequence[Speed]) -> Drawing | None:
    """The speed ratios with their intervals and margins; None if no speed was measured."""
    if not speeds:
        return None
    rows = []
    for one in speeds:
        tone, told = speed_tone(one)
        text = f"{one.ratio:.2f} × ({one.low:.2f} to {one.high:.2f})"
        rows.append((one.scenario, one.ratio, one.low, one.high, tone, told, text))
    return Drawing(
        kind="forest",
        tables={
            "ratios": Table(("what", "ratio", "low", "high", "tone", "told", "text"), tuple(rows)),
            "limits": Table(("name", "at"), (("equally fast", 1.0), ("margin", 1 - MARGIN))),
        },
        caption="The candidate's throughput divided by the baseline's, with its 95 % interval over paired blocks. "
        f"Dashed line: equally fast; dotted line: the margin of {MARGIN:.0%}.",
        words="; ".join(f"{row[0]}: {row[6]}, {row[5]}" for row in rows),
    )


def response(comparison: Comparison, sides: tuple[str, str]) -> Drawing | None:
    """Response times of both pools in every scenario; None if no call was timed."""
    unit = unit_of(
        found.p50_ms / 1e3
        for row in comparison.scenarios
        for _, result in pairs(row, sides)
        if (found := result.metrics.response) is not None
    )
    rows = [
        (row.name, side, *(time_in(ms, unit) for ms in (found.p50_ms, found.p90_ms, found.p99_ms)), found.count)
        for row in comparison.scenarios
        for side, result in pairs(row, sides)
        if (found := result.metrics.response) is not None
    ]
    if not rows:
        return None
    return Drawing(
        kind="response",
        tables={"response": Table(("scenario", "side", "p50", "p90", "p99", "calls"), tuple(rows))},
        caption="Response times of every scenario, including the wait for a worker.",
        words=f"response times of {len({row[0] for row in rows})} scenarios; the figures are in each scenario's "
        "part below",
        settings=settings(unit, [ms for _, _, *times, _ in rows for ms in times if isinstance(ms, float)]),
    )


def overlap(comparison: Comparison, sides: tuple[str, str]) -> Drawing | None:
    """The largest number of workers at work at the same time in every scenario; None if none was recorded."""
    caption = "The largest number of workers at work at the same time, in every scenario."
    return _bars(comparison, sides, "overlap", "overlap_max", caption)


def throughput(comparison: Comparison, sides: tuple[str, str]) -> Drawing | None:
    """Results per second of both pools in every scenario; None if none was recorded."""
    return _bars(
        comparison,
        sides,
        "throughput",
        "throughput_per_s",
        "Results per second in every scenario, including the time lost to faults and pauses.",
    )


def _bars(comparison: Comparison, sides: tuple[str, str], kind: str, field: str, caption: str) -> Drawing | None:
    rows = [
        (row.name, side, round(found, 3))
        for row in comparison.scenarios
        for side, result in pairs(row, sides)
        if (found := getattr(result.metrics, field)) is not None and found > 0
    ]
    if not rows:
        return None
    most = {side: max((value for _, of, value in rows if of == side), default=0) for side in sides}
    return Drawing(
        kind=kind,
        tables={kind: Table(("scenario", "side", "value"), tuple(rows))},
        caption=caption,
        words="; ".join(f"{side}: up to {value:g}" for side, value in most.items()),
        settings=settings(SECONDS, [value for _, _, value in rows]),
    )
