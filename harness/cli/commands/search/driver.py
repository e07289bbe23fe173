"""Commands about drivers of pools in other languages."""

from __future__ import annotations

from typing import Annotated

import typer

from poolproof.harness.cli.commands.options import Exit
from poolproof.harness.cli.output import Terminal
from poolproof.harness.subjects.driver.check import check_driver

driver_app = typer.Typer(help="Drivers: pools in other languages, by a program that speaks JSON lines on its stdio.")
MARKS = {True: "kept", False: "BROKEN", None: "not tried"}


@driver_app.command("check")
def check_command(
    command: Annotated[
        str, typer.Argument(metavar="COMMAND", help="The command line of the driver, such as 'node my_driver.js'.")
    ],
) -> int:
    """Try each rule of the driver protocol on a driver; exit code 1 if a rule is broken."""
    console = Terminal()
    counts = dict.fromkeys(MARKS, 0)
    for tried in check_driver(command.removeprefix("driver:")):
        counts[tried.kept] += 1
        told = f": {tried.told}" if tried.told else ""
        line = f"{MARKS[tried.kept]:<9}  {tried.rule.number:<3}  {tried.rule.text}{told}"
        console.print(line.replace("\n", " | "), markup=False, highlight=False, soft_wrap=True)
    summary = f"{counts[True]} rules kept, {counts[False]} broken, {counts[None]} not tried"
    console.print(summary, markup=False, highlight=False)
    return Exit.BAD if counts[False] else Exit.GOOD
