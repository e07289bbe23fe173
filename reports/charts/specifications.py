"""The kinds of charts as Vega-Lite specifications, built with Altair; series.py gives their data, by name.

Pure: pool names in, plain JSON values out. A page has one specification for each kind, however many charts of that
kind it shows. Colours are CSS variables of the page, so charts follow its theme and its print style without being drawn
again. The page fills {unit}, {clock} and {log}, and sets the scale, by the settings of each chart. It leaves out a
layer named only_FIELD_… if no row has that field: Vega warns of layers without data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import altair as alt

Spec = dict[str, Any]
Sides = tuple[str, str]
"""The names of the baseline and the candidate in charts; never equal."""
Drawn = Any
"""Any Altair chart; composing charts changes their class."""

SIDE_COLOURS = ("var(--baseline)", "var(--candidate)")
FAULT_COLOUR = "var(--fault)"
WIDTH_PX = 640
LANE_PX = 17
WEIGHT = "isValid(datum.busy) ? datum.busy : datum.ended == 'answered' ? 1 : datum.ended == 'cut off' ? 0.35 : 0.6"
"""The opacity of a bar: the share of time at work, or a fixed value for each way in which a call can end."""
FEW = alt.Axis(tickCount=5)
"""Few ticks: a log axis would otherwise draw a line at every digit."""
FORMATS = {"ratio": ".2f", "low": ".2f", "high": ".2f", "share": ".1%", "busy": ".0%"}
PLOT_PX = 170
LEVELS = ("memory, MB", "descriptors", "threads", "children")


def build_specs(kinds: Iterable[str], sides: Sides) -> dict[str, Spec]:
    """The specification of each of the given kinds, by kind."""
    return {kind: _build(kind, sides) for kind in dict.fromkeys(kinds)}


@cache
def _build(kind: str, sides: Sides) -> Spec:
    spec: Spec = KINDS[kind](sides).to_dict()
    return spec


def _side(sides: Sides, *, legend: bool = True) -> alt.Color:
    scale = alt.Scale(domain=list(sides), range=list(SIDE_COLOURS))
    return alt.Color("side:N", scale=scale, legend=alt.Legend(orient="top", title=None) if legend else None)


def _tips(**titles: str) -> list[alt.Tooltip]:
    # Fields without a format are shown unformatted, text and numbers alike.
    return [
        alt.Tooltip(f"{name}:Q", title=title, format=FORMATS[name])
        if name in FORMATS
        else alt.Tooltip(f"{name}:N", title=title)
        for name, title in titles.items()
    ]


def _shade(name: str, data: alt.NamedData | None = None) -> Drawn:
    # A fault is a line at the time when it landed, and a shaded area until the pool had recovered.
    tooltip = _tips(fault="fault", told="effect", start="time, {clock}", took="recovered after, {clock}")
    chart = alt.Chart(data) if data is not None else alt.Chart()
    chart = chart.transform_filter("isValid(datum.fault)")
    shade = chart.mark_rect(color=FAULT_COLOUR, opacity=0.16).encode(x="start:Q", x2="end:Q", tooltip=tooltip)
    rule = chart.mark_rule(color=FAULT_COLOUR, strokeWidth=1.5, strokeDash=[3, 2]).encode(x="start:Q", tooltip=tooltip)
    return alt.layer(shade, rule).properties(name=f"only_fault_{name}")


def occupancy(sides: Sides) -> Drawn:
    """The times at which each worker was at work: one panel for each pool, one time axis, faults shaded."""
    bars = (
        alt.Chart()
        .transform_filter("isValid(datum.lane)")
        .transform_calculate(weight=WEIGHT)
        .mark_bar(height={"band": 0.82}, stroke="var(--raised)", strokeWidth=0.5, cornerRadius=1.5)
        .encode(
            x=alt.X("start:Q", title="{unit} since the run began", scale=alt.Scale(zero=False, nice=False)),
            x2="end:Q",
            y=alt.Y("lane:N", title=None, sort=None),
            color=_side(sides, legend=False),
            opacity=alt.Opacity("weight:Q", scale=alt.Scale(domain=[0, 1], range=[0.12, 1]), legend=None),
            tooltip=_tips(
                lane="worker",
                what="command",
                ended="ended",
                busy="share of time at work",
                calls="calls started",
                start="from, {unit}",
                took="took, {unit}",
            ),
        )
    )
    layered = alt.layer(_shade("lanes"), bars).properties(width=WIDTH_PX, height={"step": LANE_PX})
    header = alt.Header(title=None, labelAnchor="start", labelFontWeight="bold", labelOrient="top", labelPadding=4)
    return layered.facet(
        facet=alt.Facet("title:N", sort=None, header=header), columns=1, data=alt.NamedData("bars"), spacing=14
    ).resolve_scale(y="independent")


def ecdf(sides: Sides) -> Drawn:
    """The cumulative distribution of response times on a log axis, with p50, p90 and p99 marked."""
    x = alt.X(
        "time:Q",
        title="response time in {unit}, waiting included{log}",
        scale=alt.Scale(type="log", nice=False),
        axis=FEW,
    )
    y = alt.Y("share:Q", title="share of calls", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1]))
    line = (
        alt.Chart(alt.NamedData("steps"))
        .mark_line(interpolate="step-after", strokeWidth=2)
        .encode(
            x=x, y=y, color=_side(sides), tooltip=_tips(side="pool", time="at most, {unit}", share="share of calls")
        )
    )
    points = (
        alt.Chart(alt.NamedData("quantiles"))
        .mark_point(filled=True, size=55)
        .encode(x=x, y=y, color=_side(sides), tooltip=_tips(side="pool", name="quantile", time="{unit}"))
    )
    return alt.layer(line, points).properties(width=WIDTH_PX, height=PLOT_PX)


def flow(sides: Sides) -> Drawn:
    """Results per second and response times over the run; faults are shaded."""
    data = alt.NamedData("flow")
    x = alt.X("start:Q", title=None)
    tooltip = _tips(
        side="pool",
        start="from, {clock}",
        results="results",
        others="calls without a result",
        p50="p50, {unit}",
        max="max, {unit}",
    )
    rate = (
        alt.Chart(data)
        .mark_line(interpolate="step-after", strokeWidth=2)
        .encode(x=x, y=alt.Y("rate:Q", title="results per second"), color=_side(sides), tooltip=tooltip)
    )
    failed = (
        alt.Chart(data)
        .transform_filter("datum.others > 0")
        .mark_point(shape="cross", size=45, filled=True, color="var(--bad)")
        .encode(x=x, y="rate:Q", tooltip=tooltip)
        .properties(name="only_others_rate")
    )
    seen = alt.Chart(data).transform_filter("isValid(datum.p50)")
    log = alt.Scale(type="log")
    time = alt.X("start:Q", title="{clock} since the run began; a cross marks calls that ended without a result")
    band = seen.mark_rule(strokeWidth=3, opacity=0.3).encode(
        x=time,
        y=alt.Y("p50:Q", title="response time in {unit}: p50 to max{log}", scale=log, axis=FEW),
        y2="max:Q",
        color=_side(sides),
        tooltip=tooltip,
    )
    middle = seen.mark_line(strokeWidth=2, point=alt.OverlayMarkDef(size=18)).encode(
        x=time, y=alt.Y("p50:Q", scale=log), color=_side(sides), tooltip=tooltip
    )
    struck = alt.NamedData("struck")
    upper = alt.layer(_shade("rate", struck), rate, failed).properties(width=WIDTH_PX, height=110)
    lower = alt.layer(_shade("times", struck), band, middle).properties(width=WIDTH_PX, height=110)
    return alt.vconcat(upper, lower, spacing=8).resolve_scale(x="shared")


def levels(sides: Sides) -> Drawn:
    """Memory, descriptors, threads and children of the run's own process over time."""
    lines = (
        alt.Chart()
        .mark_line(interpolate="step-after", strokeWidth=2)
        .encode(
            x=alt.X("at:Q", title="{unit}"),
            y=alt.Y("value:Q", title=None, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=4)),
            color=_side(sides),
            tooltip=_tips(side="pool", what="what", at="at, {unit}", value="value"),
        )
        .properties(width=130, height=80)
    )
    header = alt.Header(title=None, labelAnchor="start")
    facets = lines.facet(
        facet=alt.Facet("what:N", sort=list(LEVELS), header=header),
        columns=len(LEVELS),
        data=alt.NamedData("levels"),
        spacing=14,
    )
    return facets.resolve_scale(y="independent").transform_fold(list(LEVELS), as_=["what", "value"])


def forest(_: Sides) -> Drawn:
    """Ratios with their intervals, beside lines at 1 (equally fast) and at the margin."""
    data = alt.NamedData("ratios")
    what = alt.Y("what:N", title=None, sort=None)
    colour = alt.Color("tone:N", scale=alt.Scale(domain=["good", "doubt", "bad"], range=_TONE_RANGE), legend=None)
    tooltip = _tips(what="what", ratio="ratio", low="from", high="to", told="meaning")
    scale = alt.Scale(type="log", nice=False, padding=12)
    x = alt.X(
        "low:Q",
        title="candidate divided by baseline, log scale; dashed line: equally fast, dotted line: margin",
        scale=scale,
    )
    interval = alt.Chart(data).mark_rule(strokeWidth=4).encode(x=x, x2="high:Q", y=what, color=colour, tooltip=tooltip)
    point = (
        alt.Chart(data)
        .mark_point(filled=True, size=110, opacity=1)
        .encode(x="ratio:Q", y=what, color=colour, tooltip=tooltip)
    )
    label = (
        alt.Chart(data)
        .mark_text(align="right", dy=-13, fontWeight="bold", color="var(--ink)")
        .encode(x="high:Q", y=what, text="text:N")
    )
    limits = alt.Chart(alt.NamedData("limits"))
    lines = [
        limits.transform_filter(f"datum.name == '{name}'")
        .mark_rule(color="var(--quiet)", strokeDash=dash)
        .encode(x="at:Q", tooltip=_tips(name="line", at="ratio"))
        for name, dash in (("equally fast", [5, 4]), ("margin", [1, 3]))
    ]
    return alt.layer(*lines, interval, point, label).properties(width=WIDTH_PX, height={"step": 40})


_TONE_RANGE = ["var(--good)", "var(--doubt)", "var(--bad)"]


def response(sides: Sides) -> Drawn:
    """Response times of both pools in every scenario: a line from p50 to p99, a point at p50, a tick at p90."""
    tooltip = _tips(
        scenario="scenario", side="pool", p50="p50, {unit}", p90="p90, {unit}", p99="p99, {unit}", calls="calls"
    )
    base = alt.Chart(alt.NamedData("response")).encode(
        y=alt.Y("scenario:N", title=None, sort=None),
        yOffset=alt.YOffset("side:N", sort=list(sides)),
        color=_side(sides),
        tooltip=tooltip,
    )
    scale = alt.Scale(type="log")
    title = "response time in {unit}{log}: a point at p50, a tick at p90, a line to p99"
    line = base.mark_rule(strokeWidth=2).encode(x=alt.X("p50:Q", title=title, scale=scale, axis=FEW), x2="p99:Q")
    tick = base.mark_tick(thickness=2, size=8).encode(x=alt.X("p90:Q", scale=scale))
    point = base.mark_point(filled=True, size=40).encode(x=alt.X("p50:Q", scale=scale))
    return alt.layer(line, tick, point).properties(width=WIDTH_PX, height={"step": 10})


def overlap(sides: Sides) -> Drawn:
    """The largest number of workers at work at the same time, for both pools in every scenario."""
    title = "largest number of workers at work at the same time"
    return _bars(alt.X("value:Q", title=title, axis=alt.Axis(format="d", tickMinStep=1)), "overlap", sides)


def throughput(sides: Sides) -> Drawn:
    """Results per second of both pools in every scenario, time lost to faults included."""
    title = "results per second during the run, faults and pauses included{log}"
    return _bars(alt.X("value:Q", title=title, scale=alt.Scale(type="log"), axis=FEW), "throughput", sides)


def _bars(x: alt.X, name: str, sides: Sides) -> Drawn:
    base = alt.Chart(alt.NamedData(name))
    mark = base.mark_bar() if name == "overlap" else base.mark_point(filled=True, size=50)
    return mark.encode(
        x=x,
        y=alt.Y("scenario:N", title=None, sort=None),
        yOffset=alt.YOffset("side:N", sort=list(sides)),
        color=_side(sides),
        tooltip=_tips(scenario="scenario", side="pool", value=str(x["title"])),
    ).properties(width=WIDTH_PX, height={"step": 10})


def curves(sides: Sides) -> Drawn:
    """Figures of a sweep against its size: one panel for each figure, one line with its interval for each pool."""
    base = alt.Chart().encode(x=alt.X("x:Q", title=None, axis=alt.Axis(tickMinStep=1)), color=_side(sides))
    tooltip = _tips(side="pool", metric="figure", x="at", y="value", low="from", high="to")
    band = base.mark_area(opacity=0.18).encode(y=alt.Y("low:Q", title=None), y2="high:Q")
    line = base.mark_line(strokeWidth=2, point=alt.OverlayMarkDef(size=40)).encode(
        y=alt.Y("y:Q", title=None), tooltip=tooltip
    )
    layered = alt.layer(band, line).properties(width=270, height=PLOT_PX)
    return layered.facet(
        facet=alt.Facet("metric:N", sort=None, header=alt.Header(title=None, labelAnchor="start")),
        columns=2,
        data=alt.NamedData("curves"),
    ).resolve_scale(x="independent", y="independent")


def trend(_: Sides) -> Drawn:
    """A ratio over many runs, with its interval, coloured by the run's decision."""
    base = alt.Chart(alt.NamedData("trend")).encode(
        x=alt.X("run:O", title="run, oldest first", sort=None, axis=alt.Axis(labelAngle=0, labelOverlap=True)),
        color=alt.Color(
            "decision:N",
            scale=alt.Scale(domain=["SAFE", "INCONCLUSIVE", "UNSAFE"], range=_TONE_RANGE),
            legend=alt.Legend(orient="top", title=None),
        ),
        tooltip=_tips(run="run", when="made", what="what", ratio="ratio", low="from", high="to", decision="decision"),
    )
    y = alt.Y("ratio:Q", title="throughput, candidate divided by baseline", scale=alt.Scale(zero=True))
    return alt.layer(
        base.mark_rule(strokeWidth=3, opacity=0.5).encode(y=alt.Y("low:Q"), y2="high:Q"),
        base.mark_point(filled=True, size=70, opacity=1).encode(y=y),
    ).properties(width=WIDTH_PX, height=PLOT_PX)


KINDS: dict[str, Callable[[Sides], Drawn]] = {
    kind.__name__: kind
    for kind in (occupancy, ecdf, flow, levels, forest, response, overlap, throughput, curves, trend)
}
