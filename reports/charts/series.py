"""The data of each chart: named tables of plain values, with a text alternative for readers who cannot see it.

Pure. The kinds are those of reports/charts/specifications.py. Nothing is left out silently: too many bars become shares
of time, and the caption says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from poolproof.harness.compare.comparison import MARGIN, Comparison, Metrics, RunResult, ScenarioComparison, Speed
from poolproof.harness.history.chart_data import OTHERS

LEAST_MS = 0.001
BYTES_A_MB = 1e6
ENDS: dict[bool | None, str] = {True: "answered", False: "with an error", None: "cut off"}


class Table(msgspec.Struct, frozen=True):
    """A table of chart data: field names, and rows of values in the same order."""

    fields: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def columns(self) -> dict[str, list[Any] | dict[str, list[Any]]]:
        """The values by column, without empty columns. A text column has distinct texts in `of`, indices in `at`."""
        found: dict[str, list[Any] | dict[str, list[Any]]] = {}
        for place, field in enumerate(self.fields):
            values = [row[place] for row in self.rows]
            if all(value is None for value in values):
                continue
            if any(isinstance(value, str) for value in values):
                known = {value: number for number, value in enumerate(dict.fromkeys(values))}
                found[field] = {"of": list(known), "at": [known[value] for value in values]}
            else:
                found[field] = values
        return found


class Drawing(msgspec.Struct, frozen=True, kw_only=True):
    """One chart: its kind, its tables by name, its caption, and its text alternative in `words`."""

    kind: str
    tables: dict[str, Table]
    caption: str
    words: str


def side_names(baseline: str, candidate: str) -> tuple[str, str]:
    """The names of the baseline and the candidate where both are shown; equal names get the role as a suffix."""
    if baseline != candidate:
        return baseline, candidate
    return f"{baseline} (baseline)", f"{candidate} (candidate)"


def present(*drawings: Drawing | None) -> tuple[Drawing, ...]:
    """The given charts without those that have no data."""
    return tuple(drawing for drawing in drawings if drawing is not None)


def _pairs(row: ScenarioComparison, sides: tuple[str, str]) -> list[tuple[str, RunResult]]:
    return list(zip(sides, (row.baseline, row.candidate), strict=True))


def _ms(value: float) -> float:
    return round(max(value, LEAST_MS), 3)


STRUCK_FIELDS = ("side", "fault", "told", "start", "end", "took")


def _struck(side: str, result: RunResult) -> list[tuple[Any, ...]]:
    return [
        (
            side,
            one.kind,
            (one.detail or "landed") if one.landed else f"never landed: {one.detail}".rstrip(": "),
            one.at_s,
            one.until_s if one.until_s is not None else one.at_s,
            None if one.until_s is None else round(one.until_s - one.at_s, 4),
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
    for side, result in _pairs(row, sides):
        metrics, picture = result.metrics, result.picture
        if not metrics.timeline:
            continue
        title = f"{side}: at most {metrics.overlap_max} workers at work at the same time"
        words.append(title)
        if picture.shares:
            left.append(f"the chart of {side} shows all {picture.stretches} stretches of work as shares of time")
            for share in picture.shares:
                lane = "all other workers" if share.worker == OTHERS else f"worker {share.worker}"
                at = (round(share.start_s, 4), round(share.end_s, 4), round(share.share, 3), share.calls)
                rows.append((title, side, lane, None, None, *at, None, None, None))
        else:
            rows += _stretches(title, side, result)
        rows += [
            (title, side, None, None, None, start, end, None, None, fault, told, took)
            for _, fault, told, start, end, took in _struck(side, result)
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
    )


def _stretches(title: str, side: str, result: RunResult) -> list[tuple[Any, ...]]:
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
            round(offset + stretch.start_ms / 1e3, 5),
            round(offset + stretch.end_ms / 1e3, 5),
            None,
            None,
            None,
            None,
            None,
        )
        for stretch in sorted(stretches, key=lambda one: (lanes[one.worker], one.start_ms))
    ]


def ecdf(row: ScenarioComparison, sides: tuple[str, str]) -> Drawing | None:
    """The distribution of response times of both pools; None if no call was timed."""
    steps: list[tuple[Any, ...]] = []
    marks: list[tuple[Any, ...]] = []
    words = []
    for side, result in _pairs(row, sides):
        steps += [(side, _ms(step.ms), step.share) for step in result.picture.steps]
        found = result.metrics.response
        if found is not None:
            of = (("p50", found.p50_ms, 0.5), ("p90", found.p90_ms, 0.9), ("p99", found.p99_ms, 0.99))
            marks += [(side, name, _ms(ms), share) for name, ms, share in of]
            words.append(f"{side}: " + ", ".join(f"{name} {ms:.1f} ms" for name, ms, _ in of))
    if not steps:
        return None
    return Drawing(
        kind="ecdf",
        tables={
            "steps": Table(("side", "ms", "share"), tuple(steps)),
            "quantiles": Table(("side", "name", "ms", "share"), tuple(marks)),
        },
        caption="The share of calls that took at most the given time. The points are p50, p90 and p99.",
        words="; ".join(words),
    )


def flow(row: ScenarioComparison, sides: tuple[str, str]) -> Drawing | None:
    """Results per second and response times of both pools over the run; None if nothing was recorded."""
    rows: list[tuple[Any, ...]] = []
    struck: list[tuple[Any, ...]] = []
    words = []
    for side, result in _pairs(row, sides):
        for one in result.picture.flow:
            width = one.end_s - one.start_s
            rate = round(one.results / width, 2) if width > 0 else 0.0
            p50, most = (None if ms is None else _ms(ms) for ms in (one.p50_ms, one.max_ms))
            rows.append((side, one.start_s, rate, one.results, one.others, p50, most))
        struck += _struck(side, result)
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
    )


def _rate(metrics: Metrics) -> str:
    return "no throughput" if metrics.throughput_per_s is None else f"{metrics.throughput_per_s:.1f} results per second"


def levels(row: ScenarioComparison, sides: tuple[str, str]) -> Drawing | None:
    """Memory, descriptors, threads and children of the run's process over time; None without samples."""
    rows: list[tuple[Any, ...]] = []
    words = []
    thinned = False
    for side, result in _pairs(row, sides):
        found = result.picture.levels
        thinned = thinned or result.picture.levels_total > len(found)
        for one in found:
            memory = round(one.memory_bytes / BYTES_A_MB, 2)
            rows.append((side, one.at_s, memory, one.descriptors, one.threads, one.children))
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
    )


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
    rows = [
        (row.name, side, _ms(found.p50_ms), _ms(found.p90_ms), _ms(found.p99_ms), found.count)
        for row in comparison.scenarios
        for side, result in _pairs(row, sides)
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
        for side, result in _pairs(row, sides)
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
    )
