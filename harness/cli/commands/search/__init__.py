"""Commands that search for faults in a pool, in the harness itself, or in a driver. Entry points."""

from __future__ import annotations

import typer

from poolproof.harness.cli.commands.search import driver, explore, selfcheck, shrink, simulate

PANEL = "Search for faults"
"""The heading of these commands in `poolproof --help`."""


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this folder to the program, in the order in which the help lists them."""
    app.command("shrink", rich_help_panel=PANEL)(shrink.shrink_command)
    app.command("explore", rich_help_panel=PANEL)(explore.explore_command)
    app.command("simulate", rich_help_panel=PANEL)(simulate.simulate_command)
    app.command("selfcheck", rich_help_panel=PANEL)(selfcheck.selfcheck_command)
    app.add_typer(driver.driver_app, name="driver", rich_help_panel=PANEL)
