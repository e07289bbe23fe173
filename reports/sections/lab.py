"""Benches, sweeps and kill matrices as sections of the report, decoded from the few fields that a section shows.

Pure: JSON text in, sections out. Other fields are ignored, so later versions of these files may add fields.
"""

from __future__ import annotations

import msgspec

from poolproof.harness.model.verdict import Verdict
from poolproof.harness.mutation.markdown import killers_text, sentences
from poolproof.harness.mutation.matrix import KillMatrix
from poolproof.reports.charts.drawing import Drawing, Table
from poolproof.reports.sections.section import Grid, Mark, Section, Tone

TONES = {
    "better": Tone.GOOD,
    "no worse": Tone.GOOD,
    "inconclusive": Tone.DOUBT,
    "worse": Tone.BAD,
    "pass": Tone.GOOD,
    "unknown": Tone.DOUBT,
    "fail": Tone.BAD,
}


class _Estimate(msgspec.Struct):
    value: float
    low: float
    high: float


class _Test(msgspec.Struct):
    metric: str
    better: str
    claim: str
    margin: float
    ratio: _Estimate | None = None
    settle: str = ""


class _Budget(msgspec.Struct):
    text: str
    verdict: Verdict
    why: str = ""


class _Validity(msgspec.Struct):
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class _Bench(msgspec.Struct):
    work: str
    baseline: str
    candidate: str
    claim: str
    tests: tuple[_Test, ...] = ()
    budgets: tuple[_Budget, ...] = ()
    validity: _Validity = msgspec.field(default_factory=_Validity)


class _BenchReport(msgspec.Struct):
    claim: str
    benches: tuple[_Bench, ...]
    created_at: str = ""
    command: str = ""


class _Point(msgspec.Struct):
    pool: str
    workers: int
    clients: int
    throughput: float
    p50_s: float | None = None
    p99_s: float | None = None
    errors: int = 0


class _Curve(msgspec.Struct):
    pool: str
    axis: str
    text: str = ""
    knee: float | None = None
    peak: float | None = None
    contention: float | None = None
    coherency: float | None = None


class _Sweep(msgspec.Struct):
    call: str
    points: tuple[_Point, ...]
    curves: tuple[_Curve, ...] = ()
    command: str = ""


def bench_section(data: bytes) -> Section:
    """A section with the verdicts and budgets of a bench. Raises msgspec.DecodeError if `data` cannot be decoded."""
    report = msgspec.json.decode(data, type=_BenchReport)
    rows: list[tuple[str | Mark, ...]] = []
    budgets: list[tuple[str | Mark, ...]] = []
    told = [
        f"{report.claim}: the verdict over {len(report.benches)} measurements, {report.created_at}; "
        f"{report.command}".rstrip("; ")
    ]
    for bench in report.benches:
        told += [
            f"{bench.work}: invalid, so these figures must not be quoted: {problem}"
            for problem in bench.validity.problems
        ]
        told += [f"{bench.work}: {warning}" for warning in bench.validity.warnings]
        for test in bench.tests:
            ratio = test.ratio
            rows.append(
                (
                    bench.work,
                    test.metric,
                    _word(test.claim),
                    "–" if ratio is None else f"{ratio.value:.3f}",
                    "–" if ratio is None else f"{ratio.low:.3f} to {ratio.high:.3f}",
                    f"{test.margin:.1%}, {test.better} is better",
                    test.settle,
                )
            )
        budgets += [(bench.work, one.text, _word(one.verdict.value), one.why) for one in bench.budgets]
    grids = [
        Grid(
            caption="Candidate divided by baseline, each metric with its 95 % interval",
            columns=("work", "metric", "verdict", "ratio", "interval", "margin", "what would settle it"),
            rows=tuple(rows),
        )
    ]
    if budgets:
        columns = ("work", "budget", "verdict", "why")
        grids.append(Grid(caption="Budgets", columns=columns, rows=tuple(budgets)))
    drawing = _bench_forest(report)
    return Section(
        key="bench",
        title="Bench",
        sentences=tuple(told),
        drawings=() if drawing is None else (drawing,),
        grids=tuple(grids),
    )


def _word(word: str) -> Mark:
    return Mark(word, TONES.get(word, Tone.MUTED))


def _bench_forest(report: _BenchReport) -> Drawing | None:
    rows = []
    for bench in report.benches:
        for test in bench.tests:
            ratio = test.ratio
            if ratio is not None and min(ratio.low, ratio.value) > 0:
                tone = TONES.get(test.claim, Tone.DOUBT).value
                text = f"{ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"
                what = f"{bench.work}: {test.metric}"
                rows.append((what, ratio.value, ratio.low, ratio.high, tone, test.claim, text))
    if not rows:
        return None
    limits = Table(("name", "at"), (("equally fast", 1.0),))
    return Drawing(
        kind="forest",
        tables={
            "ratios": Table(("what", "ratio", "low", "high", "tone", "told", "text"), tuple(rows)),
            "limits": limits,
        },
        caption="The ratio of each metric with its 95 % interval. The table below says which direction is "
        "better, and the margin.",
        words="; ".join(f"{row[0]} {row[6]}: {row[5]}" for row in rows),
    )


def sweep_section(data: bytes, sides: tuple[str, str]) -> Section:
    """A section with the curves and points of a sweep. Raises msgspec.DecodeError if `data` cannot be decoded."""
    sweep = msgspec.json.decode(data, type=_Sweep)
    rows: list[tuple[object, ...]] = []
    for axis in ("clients", "workers"):
        # An axis shows the points that have the most common value of the other axis.
        other = "workers" if axis == "clients" else "clients"
        fixed = [getattr(point, other) for point in sweep.points]
        if not fixed:
            continue
        usual = max(set(fixed), key=lambda size: (fixed.count(size), size))
        mine = [point for point in sweep.points if getattr(point, other) == usual]
        if len({getattr(point, axis) for point in mine}) < 2:
            continue
        for point in sorted(mine, key=lambda point: (point.pool, getattr(point, axis))):
            at = getattr(point, axis)
            for metric, value in (
                (f"calls per second by {axis} ({usual} {other})", point.throughput),
                (f"p50, ms, by {axis} ({usual} {other})", None if point.p50_s is None else point.p50_s * 1e3),
            ):
                if value is not None:
                    rows.append((point.pool, metric, at, round(value, 3), round(value, 3), round(value, 3)))
    drawing = Drawing(
        kind="curves",
        tables={"curves": Table(("side", "metric", "x", "y", "low", "high"), tuple(rows))},
        caption=f"How throughput and latency change with the number of clients and workers: {sweep.call}.",
        words="; ".join(f"{curve.pool} by {curve.axis}: {curve.text}" for curve in sweep.curves if curve.text),
    )
    law = Grid(
        caption="The universal scalability law fitted to the points, and the size at which growth ends",
        columns=("pool", "against", "serial share", "coherency", "peak", "knee"),
        rows=tuple(
            (one.pool, one.axis, *(_figure(value) for value in (one.contention, one.coherency, one.peak, one.knee)))
            for one in sweep.curves
        ),
    )
    points = Grid(
        caption="Every point",
        columns=("pool", "workers", "clients", "calls/s", "p50", "p99", "errors"),
        rows=tuple(
            (
                point.pool,
                str(point.workers),
                str(point.clients),
                f"{point.throughput:.1f}",
                _milliseconds(point.p50_s),
                _milliseconds(point.p99_s),
                str(point.errors),
            )
            for point in sweep.points
        ),
    )
    known = {point.pool for point in sweep.points} <= set(sides)
    return Section(
        key="sweep",
        title="Scalability",
        sentences=tuple(f"{curve.pool} by {curve.axis}: {curve.text}" for curve in sweep.curves if curve.text),
        drawings=(drawing,) if rows and known else (),
        grids=(law, points) if sweep.curves else (points,),
    )


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _milliseconds(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds * 1e3:.2f} ms"


def matrix_section(data: bytes) -> Section:
    """A section with the planted bugs and the checkers that found them. Raises msgspec.DecodeError for bad `data`."""
    matrix = msgspec.json.decode(data, type=KillMatrix)
    rows: list[tuple[str | Mark, ...]] = []
    for row in matrix.rows:
        tone = Tone.GOOD if row.seeds and row.killed == row.seeds else Tone.DOUBT if row.killed else Tone.BAD
        killed = Mark(f"{row.killed} of {row.seeds}", tone)
        rows.append((f"{row.pool}.{row.mutant}", row.about, " ".join(row.breaks), killed, killers_text(row)))
    return Section(
        key="kill-matrix",
        title="Kill matrix",
        sentences=tuple(sentences(matrix)),
        grids=(
            Grid(
                caption="Bugs planted on purpose to test the harness, and the checker that found each bug",
                columns=("mutant", "about", "breaks", "seeds that found it", "by"),
                rows=tuple(rows),
            ),
        ),
    )
