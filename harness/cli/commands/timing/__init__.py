"""Commands that measure: bench, sweep, baseline, history. Entry points."""

from __future__ import annotations

import typer

from poolproof.harness.cli.commands.timing import baseline, bench, history, sweep

PANEL = "Measure"
"""The heading of these commands in `poolproof --help`."""


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this folder to the program, in the order in which the help lists them."""
    app.command("bench", rich_help_panel=PANEL)(bench.bench_command)
    app.command("sweep", rich_help_panel=PANEL)(sweep.sweep_command)
    app.add_typer(baseline.baseline_app, name="baseline", rich_help_panel=PANEL)
    app.command("history", rich_help_panel=PANEL)(history.history_command)
