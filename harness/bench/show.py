"""Renders a bench for terminals and as Markdown: a table of the tests, then figures, budgets, problems and advice.

Pure. Knows nothing of consoles: cells are plain text.
"""

from __future__ import annotations

from collections.abc import Sequence

from poolproof.bridge.safe_text import escape_markdown
from poolproof.harness.bench.statistics.figures import (
    Bench,
    BenchReport,
    Curve,
    Estimate,
    Figure,
    SweepPoint,
    SweepReport,
    Trial,
)

COLUMNS = ("metric", "verdict", "ratio", "95 % interval", "margin", "control", "baseline", "candidate")
SHOWN = (
    *(
        "throughput",
        "p10",
        "p50",
        "p90",
        "p95",
        "p99",
        "p99.9",
        "service_p50",
        "service_p99",
        "wait_p50",
        "errors",
        "dropped",
    ),
    *(
        "cpu_per_call",
        "switches_per_call",
        "rss",
        "pss",
        "fds",
        "threads",
        "rss_slope",
        "process_rss_slope",
        "fds_slope",
    ),
)
SWEEP_COLUMNS = ("pool", "workers", "clients", "calls/s", "p50", "p90", "p99", "errors")
CURVE_COLUMNS = ("pool", "against", "one", "serial share", "coherency", "R²", "peak", "knee", "growth")


def tell_value(value: float | None, unit: str) -> str:
    """The value with a unit that fits its size: "3.21 ms", "1.2 MB/min", "312/s"."""
    if value is None:
        return "-"
    match unit:
        case "s":
            for limit, factor, word in ((1e-3, 1e6, "µs"), (1.0, 1e3, "ms")):
                if abs(value) < limit:
                    return f"{value * factor:.4g} {word}"
            return f"{value:.4g} s"
        case "1/s":
            return f"{value:.4g}/s"
        case "B":
            return f"{value / 1e6:.4g} MB"
        case "B/s":
            return f"{value * 60 / 1e6:.3g} MB/min"
        case _:
            return f"{value:.4g}"


def tell_figure(figure: Figure | None) -> str:
    """A figure's value, or a dash."""
    return "-" if figure is None or figure.estimate is None else tell_value(figure.estimate.value, figure.unit)


def tell_interval(estimate: Estimate | None) -> str:
    """The interval as text, such as "0.98 to 1.02", or a dash."""
    return "-" if estimate is None else f"{estimate.low:.3f} to {estimate.high:.3f}"


def headline(bench: Bench) -> str:
    """The bench's claim in one line."""
    mark = "" if bench.validity.valid else " (INVALID)"
    return f"{bench.claim.value.upper()}{mark}: {bench.candidate} against {bench.baseline}, workload {bench.work}"


def test_rows(bench: Bench) -> list[tuple[str, ...]]:
    """A row for each test, under COLUMNS."""
    figures = {pool.role: pool.figures for pool in bench.pools}
    return [
        (
            test.metric,
            test.claim.value if test.ratio is not None else "not measured",
            "-" if test.ratio is None else f"{test.ratio.value:.3f}",
            tell_interval(test.ratio),
            f"{test.margin:.1%}",
            tell_interval(test.control),
            tell_figure(figures["baseline"].get(test.metric)),
            tell_figure(figures["candidate"].get(test.metric)),
        )
        for test in bench.tests
    ]


def figure_rows(bench: Bench) -> list[tuple[str, ...]]:
    """(metric, baseline, candidate, why it is missing) for the metrics in SHOWN."""
    one, other = (pool.figures for pool in bench.pools)
    return [
        (name, tell_figure(one[name]), tell_figure(other[name]), one[name].why or other[name].why) for name in SHOWN
    ]


def notes(bench: Bench) -> list[str]:
    """Budgets, advice on undecided tests, problems and warnings, one sentence each."""
    found = [
        f"budget {result.verdict.value}: {result.text}" + (f" ({result.why})" if result.why else "")
        for result in bench.budgets
    ]
    found += [f"{test.metric}: {_settles(test)}" for test in bench.tests if test.settle]
    found += [f"invalid: {problem}" for problem in bench.validity.problems]
    found += [f"warning: {warning}" for warning in bench.validity.warnings]
    if bench.observed_rounds:
        found.append(
            f"service times and waits come from {bench.observed_rounds} rounds of their own, on pools with an "
            "observer; all other figures from pools without one"
        )
    if bench.stopped:
        found.append(bench.stopped)
    return found


def describe(bench: Bench) -> str:
    """The settings of the measurement in one line."""
    return (
        f"{bench.load} load, {bench.workers} workers, {bench.clients} clients, {bench.rounds} rounds of 3 blocks of "
        f"{bench.schedule.block_s:g} s, seed {bench.seed}, {bench.duration_s:.0f} s"
    )


def markdown(report: BenchReport) -> str:
    """The whole report as Markdown."""
    lines = []
    for bench in report.benches:
        lines += [f"## {escape_markdown(headline(bench))}", "", escape_markdown(describe(bench)), ""]
        lines += [*table(COLUMNS, test_rows(bench)), ""]
        lines += [f"- {escape_markdown(note)}" for note in notes(bench)]
        lines += ["", *table(("figure", bench.baseline, bench.candidate, "why not"), figure_rows(bench)), ""]
    machine = report.machine
    lines.append(
        f"{machine.processor}, {machine.cpus} processors, {machine.memory_gib} GiB, {machine.kernel}, "
        f"{machine.interpreter}; commit {report.commit or 'unknown'}, {report.created_at}"
    )
    return "\n".join(lines) + "\n"


def sweep_rows(points: Sequence[SweepPoint]) -> list[tuple[str, ...]]:
    """A row for each point, under SWEEP_COLUMNS."""
    return [
        (
            point.pool,
            str(point.workers),
            str(point.clients),
            f"{point.throughput:.1f}",
            tell_value(point.p50_s, "s"),
            tell_value(point.p90_s, "s"),
            tell_value(point.p99_s, "s"),
            str(point.errors),
        )
        for point in points
    ]


def curve_rows(curves: Sequence[Curve]) -> list[tuple[str, ...]]:
    """A row for each curve, under CURVE_COLUMNS."""

    def number(value: float | None, digits: int = 4) -> str:
        return "-" if value is None else f"{value:.{digits}g}"

    return [
        (
            curve.pool,
            curve.axis,
            "-" if curve.rate is None else f"{curve.rate:.4g}/s",
            number(curve.contention),
            number(curve.coherency, 2),
            number(curve.r_squared),
            number(curve.peak),
            number(curve.knee),
            "-" if curve.growth is None else f"{curve.growth:.3g} times",
        )
        for curve in curves
    ]


def sweep_markdown(report: SweepReport) -> str:
    """The sweep as Markdown."""
    lines = [f"## Sweep: {escape_markdown(report.call)}", "", *table(SWEEP_COLUMNS, sweep_rows(report.points)), ""]
    lines += [*table(CURVE_COLUMNS, curve_rows(report.curves)), ""]
    lines += [f"- {escape_markdown(curve.text)}" for curve in report.curves]
    lines += [f"- invalid: {escape_markdown(problem)}" for problem in report.validity.problems]
    lines += [f"- warning: {escape_markdown(warning)}" for warning in report.validity.warnings]
    return "\n".join(lines) + "\n"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table."""
    lines = ["| " + " | ".join(map(escape_markdown, row)) + " |" for row in (columns, *rows)]
    return [lines[0], "|" + "---|" * len(columns), *lines[1:]]


def _settles(test: Trial) -> str:
    return test.settle if test.ratio is None else f"inconclusive; {test.settle}"
