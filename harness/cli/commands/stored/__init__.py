"""Commands that read stored results. Entry points."""

from __future__ import annotations

import typer

from poolproof.harness.cli.commands.stored import analyze, clean, diff, listing, report

PANEL = "Stored results"
"""The heading of these commands in `poolproof --help`."""


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this folder to the program, in the order in which the help lists them."""
    app.command("list", rich_help_panel=PANEL)(listing.list_command)
    app.command("report", rich_help_panel=PANEL)(report.report_command)
    app.command("diff", rich_help_panel=PANEL)(diff.diff_command)
    app.command("analyze", rich_help_panel=PANEL)(analyze.analyze_command)
    app.command("site", rich_help_panel=PANEL)(report.site_command)
    app.command("clean", rich_help_panel=PANEL)(clean.clean_command)
    app.command("schema", rich_help_panel=PANEL)(report.schema_command)
