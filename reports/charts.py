"""The report's charts as Vega-Lite specifications, made with Altair.

Pure: a view in, plain JSON values out. Colours and fonts are the page's business, so that they follow its theme.
"""

from __future__ import annotations

from typing import Any

import altair as alt

from harness.comparison import Comparison, Speed
from reports.view import Row

Spec = dict[str, Any]
POOL_COLOURS = ("#b45309", "#0f766e")
"""Baseline, candidate; both readable on light and on dark."""
WIDTH_PX = 640
ROW_PX = 20


def occupancy(row: Row, *, workers: int) -> Spec | None:
    """When which worker was at work, both pools above each other on one time axis; None if nothing was recorded."""
    parts = []
    for cell, colour, result in zip(row.cells, POOL_COLOURS, (row.source.baseline, row.source.candidate), strict=True):
        stretches = result.metrics.timeline
        if not stretches:
            continue
        lanes = {worker: lane + 1 for lane, worker in enumerate(sorted({stretch.worker for stretch in stretches}))}
        values = [
            {
                "lane": f"worker {lanes[stretch.worker]}",
                "start": round(stretch.start_ms, 2),
                "end": round(stretch.end_ms, 2),
                "command": stretch.command,
                "ended": {True: "answered", False: "with an error", None: "cut off"}[stretch.ok],
            }
            for stretch in stretches
        ]
        title = f"{cell.pool}: at most {result.metrics.overlap_max} at work at the same time"
        chart = (
            alt.Chart(alt.InlineData(values=values), title=title)
            .mark_bar(height={"band": 0.8}, color=colour, stroke="white", strokeWidth=0.5)
            .encode(
                x=alt.X("start:Q", title="milliseconds since the first call was served"),
                x2="end:Q",
                y=alt.Y("lane:N", title=None, sort=[f"worker {lane}" for lane in lanes.values()]),
                opacity=alt.Opacity(
                    "ended:O",
                    scale=alt.Scale(domain=["answered", "with an error", "cut off"], range=[1, 0.6, 0.35]),
                    legend=None,
                ),
                tooltip=[
                    alt.Tooltip("lane:N", title="who"),
                    alt.Tooltip("command:N"),
                    alt.Tooltip("start:Q", title="from, ms"),
                    alt.Tooltip("end:Q", title="to, ms"),
                    alt.Tooltip("ended:N"),
                ],
            )
            .properties(width=WIDTH_PX, height=ROW_PX * max(len(lanes), min(workers, 2)))
        )
        parts.append(chart)
    return alt.vconcat(*parts).resolve_scale(x="shared").to_dict() if parts else None


def forest(speeds: tuple[Speed, ...]) -> Spec | None:
    """The speed ratios with their intervals, against 1; None if nothing was timed."""
    if not speeds:
        return None
    values = [{"scenario": s.scenario, "ratio": s.ratio, "low": s.low, "high": s.high} for s in speeds]
    top = max(*(s.high for s in speeds), 1.0) * 1.1
    base = alt.Chart(alt.InlineData(values=values)).encode(y=alt.Y("scenario:N", title=None))
    tooltip = [alt.Tooltip(f"{name}:Q", format=".3f") for name in ("ratio", "low", "high")]
    interval = base.mark_rule(strokeWidth=3, color=POOL_COLOURS[1]).encode(
        x=alt.X("low:Q", title="throughput, candidate over baseline", scale=alt.Scale(domain=[0, top])),
        x2="high:Q",
        tooltip=tooltip,
    )
    point = base.mark_point(filled=True, size=90, color=POOL_COLOURS[1]).encode(x="ratio:Q", tooltip=tooltip)
    one = alt.Chart(alt.InlineData(values=[{"one": 1}]))
    equal = one.mark_rule(strokeDash=[4, 4], color="#888888").encode(x="one:Q")
    layers = alt.layer(equal, interval, point).properties(width=WIDTH_PX, height=34 * len(speeds) + 10)
    return layers.to_dict()


def response_times(comparison: Comparison) -> Spec | None:
    """Response times of both pools in every scenario: a line from p50 to p99, a point at p50."""
    values = []
    for row in comparison.scenarios:
        for result in (row.baseline, row.candidate):
            found = result.metrics.response
            if found is not None:
                values.append(
                    {
                        "scenario": row.name,
                        "pool": result.pool,
                        "p50": round(max(found.p50_ms, 0.001), 3),
                        "p90": round(max(found.p90_ms, 0.001), 3),
                        "p99": round(max(found.p99_ms, 0.001), 3),
                        "calls": found.count,
                    }
                )
    if not values:
        return None
    tooltip = ["scenario:N", "pool:N", *(f"{name}:Q" for name in ("p50", "p90", "p99", "calls"))]
    base = alt.Chart(alt.InlineData(values=values)).encode(
        y=alt.Y("scenario:N", title=None),
        yOffset=alt.YOffset("pool:N", sort=[comparison.baseline, comparison.candidate]),
        color=_pool_colour(comparison),
        tooltip=tooltip,
    )
    scale = alt.Scale(type="log")
    line = base.mark_rule(strokeWidth=2).encode(
        x=alt.X("p50:Q", title="response time in ms, log scale: point p50, bar p90, line to p99", scale=scale),
        x2="p99:Q",
    )
    bar = base.mark_tick(thickness=2, size=9).encode(x=alt.X("p90:Q", scale=scale))
    point = base.mark_point(filled=True, size=45).encode(x=alt.X("p50:Q", scale=scale))
    return alt.layer(line, bar, point).properties(width=WIDTH_PX, height={"step": 13}).to_dict()


def overlaps(comparison: Comparison) -> Spec | None:
    """The largest number of workers at work at the same time, both pools, every scenario."""
    return _bars(comparison, "overlap_max", "workers at work at the same time, at most", integers=True)


def throughputs(comparison: Comparison) -> Spec | None:
    """Results per second of both pools in every scenario, faults and all."""
    return _bars(
        comparison, "throughput_per_s", "results per second, as run (with faults and pauses), log scale", log=True
    )


def _bars(comparison: Comparison, field: str, title: str, *, log: bool = False, integers: bool = False) -> Spec | None:
    values = [
        {"scenario": row.name, "pool": result.pool, "value": round(found, 3)}
        for row in comparison.scenarios
        for result in (row.baseline, row.candidate)
        if (found := getattr(result.metrics, field)) is not None and found > 0
    ]
    if not values:
        return None
    axis = alt.Axis(format="d", tickMinStep=1) if integers else alt.Axis()
    x = alt.X("value:Q", title=title, axis=axis, scale=alt.Scale(type="log" if log else "linear"))
    base = alt.Chart(alt.InlineData(values=values))
    chart = base.mark_point(filled=True, size=60) if log else base.mark_bar()
    spec: Spec = (
        chart.encode(
            x=x,
            y=alt.Y("scenario:N", title=None),
            yOffset=alt.YOffset("pool:N", sort=[comparison.baseline, comparison.candidate]),
            color=_pool_colour(comparison),
            tooltip=["scenario:N", "pool:N", alt.Tooltip("value:Q", title=title)],
        )
        .properties(width=WIDTH_PX, height={"step": 11})
        .to_dict()
    )
    return spec


def _pool_colour(comparison: Comparison) -> alt.Color:
    domain = list(dict.fromkeys((comparison.baseline, comparison.candidate)))
    scale = alt.Scale(domain=domain, range=list(POOL_COLOURS)[: len(domain)])
    return alt.Color("pool:N", title="pool", scale=scale, legend=alt.Legend(orient="top"))
