"""The charts of one scenario: their data, each with a text alternative for readers who cannot see it.

Pure. The kinds are those of reports/charts/specifications.py. Nothing is left out silently: too many bars become shares
of time, and the caption says so.
"""

from __future__ import annotations

from typing import Any

from poolproof.harness.compare.comparison import Metrics, RunResult, ScenarioComparison
from poolproof.harness.history.chart_data import OTHERS
from poolproof.reports.charts.drawing import Drawing, Table, pairs, time_in
from poolproof.reports.charts.units import Unit, settings, unit_of, unit_of_span

MOST_BARS = 400
"""A bar's minimum length is the axis divided by this number; with more bars, shares of time are drawn instead."""
BYTES_A_MB = 1e6
ENDS: dict[bool | None, str] = {True: "answered", False: "with an error", None: "cut off"}


STRUCK_FIELDS = ("side", "fault", "told", "start", "end", "took")


def _struck(side: str, result: RunResult, unit: Unit) -> list[tuple[Any, ...]]:
    return [
        (
            side,
            one.kind,
            (one.detail or "landed") if one.landed else f"never landed: {one.detail}".rstrip(": "),
            unit.of(one.at_s),
            unit.of(one.until_s if one.until_s is not None else one.at_s),
            None if one.until_s is None else unit.of(one.until_s - one.at_s),
        )
        for one in result.picture.struck
    ]


def occupancy(row: ScenarioComparison, sides: tuple[str, str]) -> Drawing | None:
    """The times at which each worker was at work; None if nothing was recorded."""
    fields = (
        "title",
        "side",
        "lane",
        "what",
        "ended",
        "start",
        "end",
        "busy",
        "calls",
        "fault",
        "told",
        "took",
    )
    rows: list[tuple[Any, ...]] = []
    words, left = [], []
    span_s = _span_s(row)
    unit = unit_of_span(span_s)
    for side, result in pairs(row, sides):
        metrics, picture = result.metrics, result.picture
        if not metrics.timeline:
            continue
        title = f"{side}: at most {metrics.overlap_max} workers at work at the same time"
        words.append(title)
        if picture.shares:
            left.append(f"the chart of {side} shows all {picture.stretches} stretches of work as shares of time")
            for share in picture.shares:
                lane = "all other workers" if share.worker == OTHERS else f"worker {share.worker}"
                at = (unit.of(share.start_s), unit.of(share.end_s), round(share.share, 3), share.calls)
                rows.append((title, side, lane, None, None, *at, None, None, None))
        else:
            rows += _stretches(title, side, result, unit, span_s / MOST_BARS)
        rows += [
            (title, side, None, None, None, start, end, None, None, fault, told, took)
            for _, fault, told, start, end, took in _struck(side, result, unit)
        ]
    if not rows:
        return None
    return Drawing(
        kind="occupancy",
        tables={"bars": Table(fields, tuple(rows))},
        caption=". ".join(
            (
                "Which worker was at work at which time, by the workers' own journals. A bar is one call; it is paler "
                "if the call failed",
                *left,
            )
        )
        + ".",
        words="; ".join(words),
        settings=settings(unit) | {"clock": unit.name},
    )


def _span_s(row: ScenarioComparison) -> float:
    # From the first to the last moment at which a worker was at work, in either run.
    starts, ends = [0.0], [0.0]
    for result in (row.baseline, row.candidate):
        offset, picture = result.picture.offset_s, result.picture
        starts += [share.start_s for share in picture.shares]
        starts += [offset + stretch.start_ms / 1e3 for stretch in result.metrics.timeline]
        ends += [share.end_s for share in picture.shares]
        ends += [offset + stretch.end_ms / 1e3 for stretch in result.metrics.timeline]
    return max(ends) - min(starts[1:], default=0.0)


def _stretches(title: str, side: str, result: RunResult, unit: Unit, least_s: float) -> list[tuple[Any, ...]]:
    # A bar is at least `least_s` long, so that it can be seen; `took` has the true time.
    stretches = result.metrics.timeline
    lanes = {worker: n + 1 for n, worker in enumerate(sorted({stretch.worker for stretch in stretches}))}
    offset = result.picture.offset_s
    return [
        (
            title,
            side,
            f"worker {lanes[stretch.worker]}",
            stretch.command,
            ENDS[stretch.ok],
            unit.of(offset + stretch.start_ms / 1e3),
            unit.of(offset + max(stretch.end_ms / 1e3, stretch.start_ms / 1e3 + least_s)),
            None,
            None,
            None,
            None,
            unit.of((stretch.end_ms - stretch.start_ms) / 1e3),
        )
        for stretch in sorted(stretches, key=lambda one: (lanes[one.worker], one.start_ms))
    ]


def ecdf(row: ScenarioComparison, sides: tuple[str, str]) -> Drawing | None:
    """The distribution of response times of both pools; None if no call was timed."""
    unit = unit_of(step.ms / 1e3 for _, result in pairs(row, sides) for step in result.picture.steps)
    steps: list[tuple[Any, ...]] = []
    marks: list[tuple[Any, ...]] = []
    words = []
    for side, result in pairs(row, sides):
        steps += [(side, time_in(step.ms, unit), step.share) for step in result.picture.steps]
        found = result.metrics.response
        if found is not None:
            of = (("p50", found.p50_ms, 0.5), ("p90", found.p90_ms, 0.9), ("p99", found.p99_ms, 0.99))
            marks += [(side, name, time_in(ms, unit), share) for name, ms, share in of]
            words.append(f"{side}: " + ", ".join(f"{name} {unit.of(ms / 1e3):.4g} {unit.name}" for name, ms, _ in of))
    if not steps:
        return None
    return Drawing(
        kind="ecdf",
        tables={
            "steps": Table(("side", "time", "share"), tuple(steps)),
            "quantiles": Table(("side", "name", "time", "share"), tuple(marks)),
        },
        caption="The share of calls that took at most the given time. The points are p50, p90 and p99.",
        words="; ".join(words),
        settings=settings(unit, [time for _, time, _ in steps]),
    )


def flow(row: ScenarioComparison, sides: tuple[str, str]) -> Drawing | None:
    """Results per second and response times of both pools over the run; None if nothing was recorded."""
    unit = unit_of(
        (one.p50_ms or 0.0) / 1e3 for _, result in pairs(row, sides) for one in result.picture.flow if one.results
    )
    clock = unit_of_span(max((one.end_s for _, result in pairs(row, sides) for one in result.picture.flow), default=0))
    rows: list[tuple[Any, ...]] = []
    struck: list[tuple[Any, ...]] = []
    words = []
    for side, result in pairs(row, sides):
        for one in result.picture.flow:
            width = one.end_s - one.start_s
            rate = round(one.results / width, 2) if width > 0 else 0.0
            p50, most = (None if ms is None else time_in(ms, unit) for ms in (one.p50_ms, one.max_ms))
            rows.append((side, clock.of(one.start_s), rate, one.results, one.others, p50, most))
        struck += _struck(side, result, clock)
        faults = sorted({one.kind for one in result.picture.struck})
        words.append(f"{side}: {_rate(result.metrics)}" + (f", faults: {', '.join(faults)}" if faults else ""))
        if result.picture.struck_total > len(result.picture.struck):
            words.append(f"the first {len(result.picture.struck)} of {result.picture.struck_total} faults are drawn")
    if not rows:
        return None
    return Drawing(
        kind="flow",
        tables={
            "flow": Table(("side", "start", "rate", "results", "others", "p50", "max"), tuple(rows)),
            "struck": Table(STRUCK_FIELDS, tuple(struck)),
        },
        caption="Throughput and response times over the run"
        + (
            ". A dashed line marks a fault; the shaded time after it lasts until the pool had recovered."
            if struck
            else ". The scenario injects no fault from outside."
        ),
        words="; ".join(words),
        settings=settings(unit, [time for row in rows for time in row[5:] if time]) | {"clock": clock.name},
    )


def _rate(metrics: Metrics) -> str:
    return "no throughput" if metrics.throughput_per_s is None else f"{metrics.throughput_per_s:.1f} results per second"


def levels(row: ScenarioComparison, sides: tuple[str, str]) -> Drawing | None:
    """Memory, descriptors, threads and children of the run's process over time; None without samples."""
    clock = unit_of_span(max((one.at_s for _, result in pairs(row, sides) for one in result.picture.levels), default=0))
    rows: list[tuple[Any, ...]] = []
    words = []
    thinned = False
    for side, result in pairs(row, sides):
        found = result.picture.levels
        thinned = thinned or result.picture.levels_total > len(found)
        for one in found:
            memory = round(one.memory_bytes / BYTES_A_MB, 2)
            rows.append((side, clock.of(one.at_s), memory, one.descriptors, one.threads, one.children))
        if found:
            words.append(
                f"{side}: at most {max(one.memory_bytes for one in found) / BYTES_A_MB:.1f} MB, "
                f"{max(one.descriptors for one in found)} descriptors, {max(one.threads for one in found)} threads"
            )
    if not rows:
        return None
    more = "; of each group of samples, the sample with the most memory is shown" if thinned else ""
    return Drawing(
        kind="levels",
        tables={"levels": Table(("side", "at", "memory, MB", "descriptors", "threads", "children"), tuple(rows))},
        caption=f"Memory, file descriptors, threads and child processes of the process that owns the pool{more}.",
        words="; ".join(words),
        settings=settings(clock),
    )
