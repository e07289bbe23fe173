"""Runs benches, keeps their results in a folder and in the index, and prints them."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from poolproof.harness.bench.plan import BenchPlan
from poolproof.harness.bench.records.index import Index
from poolproof.harness.bench.report import BENCH_FILE, write_report
from poolproof.harness.bench.running import run_benches
from poolproof.harness.bench.show import COLUMNS, describe, figure_rows, headline, markdown, notes, test_rows
from poolproof.harness.bench.statistics.figures import BenchReport
from poolproof.harness.cli.commands.options import Keeping, new_folder, this_command
from poolproof.harness.cli.output import Terminal
from poolproof.harness.cli.tables import show_table
from poolproof.harness.cli.terminal import Steps
from poolproof.harness.run.store import write_whole


def measure_and_keep(plans: list[BenchPlan], out: Path | None, *, quiet: bool, second: bool = False) -> BenchReport:
    """Run the plans and keep the report in `out`, by default in a new folder of out/; `second`: in `out`/again."""
    folder = out or new_folder("bench")
    if second and out is not None:
        folder = out / "again"
    with Keeping(folder, at_the_end=True), Steps(Terminal(stderr=True), quiet=quiet) as steps:
        report = run_benches(plans, progress=steps, command=this_command())
    keep(report, folder)
    return report


def keep(report: BenchReport, folder: Path) -> Path:
    """Write the report as JSON and Markdown, add it to the index, and return the path of the JSON."""
    path = write_report(report, folder)
    write_whole(folder / Path(BENCH_FILE).with_suffix(".md").name, markdown(report).encode())
    with Index() as index:
        index.add(report, path)
    return path


def show_report(console: Console, report: BenchReport) -> None:
    """Print the tests, figures and notes of each bench."""
    for bench in report.benches:
        console.print(headline(bench), markup=False, highlight=False, style="bold")
        console.print(describe(bench), markup=False, highlight=False, soft_wrap=True)
        show_table(console, COLUMNS, test_rows(bench))
        show_table(console, ("figure", bench.baseline, bench.candidate, "why not"), figure_rows(bench))
        for note in notes(bench):
            console.print(f"  - {note}", markup=False, highlight=False, soft_wrap=True)
