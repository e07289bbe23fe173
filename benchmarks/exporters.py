"""Shows a report: tables for readers, JSON for programs. Measures nothing."""

from __future__ import annotations

from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.records import Figure, Goal, Report, Result, Verdict

COLOURS = {Verdict.MET: "green", Verdict.MISSED: "red", Verdict.INCONCLUSIVE: "yellow", Verdict.UNMEASURED: "yellow"}
UNITS = {"mb_per_s": "MB/s", "per_s": "/s", "us": "µs", "ms": "ms"}


def write_json(report: Report, path: Path) -> None:
    """Write the whole report as indented JSON; an existing file is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")


def read_json(path: Path) -> Report:
    """Read a report that `write_json` wrote."""
    return msgspec.json.decode(path.read_bytes(), type=Report)


def describe_run(report: Report) -> str:
    """The time, effort, seed and machine of a run in one sentence."""
    machine = report.machine
    packages = "".join(f", {name} {version}" for name, version in machine.packages.items())
    return (
        f"A {report.effort} run of {report.started}, seed {report.seed}: {machine.cpus} processors "
        f"({machine.processor}), {machine.memory_bytes / 2**30:.0f} GiB, Linux {machine.kernel}, "
        f"{machine.python}{packages}"
    )


def print_result(result: Result, console: Console) -> None:
    """Print one experiment's table, then its notes."""
    console.print(result_table(result))
    labels = result.load.labels() if result.load else ()
    for note in (*labels, *result.notes):
        console.print(f"  note: {note}", style="yellow", markup=False)


def result_table(result: Result) -> Table:
    """One line for each row, one column for each metric of any row."""
    metrics = list(dict.fromkeys(metric for row in result.rows for metric in row.metrics))
    compared = any(row.v2_ratio is not None for row in result.rows)
    table = Table(title=f"{result.title} [{result.seconds:.0f} s]", title_justify="left")
    table.add_column("condition")
    table.add_column("system")
    for metric in metrics:
        table.add_column(heading(metric), justify="right")
    if compared:
        table.add_column("V2 / this", justify="right")
    table.add_column("n", justify="right")
    for row in result.rows:
        cells = [number(row.metrics[metric]) if metric in row.metrics else "" for metric in metrics]
        ratio = [interval(row.v2_ratio)] if compared else []
        table.add_row(row.condition, row.system, *cells, *ratio, str(row.samples))
    return table


def goal_table(report: Report) -> Table:
    """One line for each goal, with its verdict."""
    table = Table(title="Goals", title_justify="left")
    for column in ("goal", "limit", "measured (95 % interval)", "verdict"):
        table.add_column(column, justify="left" if column in ("goal", "verdict") else "right")
    for result in report.results:
        loaded = bool(result.load and result.load.labels())
        for goal in result.goals:
            table.add_row(goal.name, limit(goal), interval(goal.figure), verdict(goal, loaded=loaded))
    return table


def limit(goal: Goal) -> str:
    """The goal's limit, with its direction."""
    return f"{'≥' if goal.at_least else '≤'} {goal.limit:g}"


def verdict(goal: Goal, *, loaded: bool) -> str:
    """The verdict in its colour, marked if the machine was loaded."""
    return f"[{COLOURS[goal.verdict]}]{goal.verdict}[/]" + (" (loaded)" if loaded else "")


def heading(metric: str) -> str:
    """`median_ms` becomes `median ms`, `calls_per_s` becomes `calls/s`."""
    for ending, unit in UNITS.items():
        if metric == ending:
            return unit
        if metric.endswith(f"_{ending}"):
            name = metric.removesuffix(f"_{ending}").replace("_", " ")
            return f"{name}{unit}" if unit.startswith("/") else f"{name} {unit}"
    return metric.replace("_", " ")


def interval(figure: Figure | None) -> str:
    """`1.23 (1.20–1.26)`, only the value if the interval has no width, nothing if there is no figure."""
    if figure is None:
        return ""
    if figure.low == figure.high:
        return number(figure.value)
    return f"{number(figure.value)} ({number(figure.low)}–{number(figure.high)})"


def number(value: float) -> str:
    """Three significant digits; whole numbers from 100 on, with thousands marked."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
