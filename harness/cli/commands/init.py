"""The command init: writes the files with which a user's own pools are compared, and makes a first comparison."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from poolproof.harness.cli.commands.compare import compare_command
from poolproof.harness.cli.commands.options import Exit, Quiet
from poolproof.harness.cli.doctor import examine
from poolproof.harness.cli.output import say, warn
from poolproof.harness.cli.starting import MEANINGS, Answers, Kind, files_for
from poolproof.harness.model.errors import UsageError


def init_command(
    kind: Annotated[
        Kind | None, typer.Argument(metavar="[KIND]", help="The kind of your pools: executor, async, callable or http.")
    ] = None,
    folder: Annotated[Path, typer.Option(metavar="DIR", help="The folder for the files.")] = Path(),
    old: Annotated[
        str, typer.Option(metavar="POOL", help="The pool in use: module:name, or the URL of a service.")
    ] = "",
    new: Annotated[str, typer.Option(metavar="POOL", help="The pool that is to replace it, in the same way.")] = "",
    function: Annotated[
        list[str] | None,
        typer.Option(metavar="MODULE:NAME", help="A function that an executor's workers run. May be repeated."),
    ] = None,
    old_start: Annotated[
        str,
        typer.Option(metavar="COMMAND", help="The command that starts the old service; {port} becomes a free port."),
    ] = "",
    new_start: Annotated[
        str,
        typer.Option(metavar="COMMAND", help="The command that starts the new service; {port} becomes a free port."),
    ] = "",
    health: Annotated[str, typer.Option(metavar="PATH", help="The path that a healthy service answers.")] = "/health",
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that are there.")] = False,
    run: Annotated[bool, typer.Option("--run/--no-run", help="Run doctor and a first comparison.")] = True,
    quiet: Quiet = False,
) -> int:
    """Write pools.py, calls.py, a scenario, a test and a CI workflow for your own pools, and compare them once.

    Without --old and --new the files are an example that runs; replace its pools by your own. On a terminal the command
    asks for what no option gives. No file is overwritten without --force.
    """
    asking = sys.stdin.isatty() and sys.stdout.isatty()
    if kind is None:
        if not asking:
            raise UsageError(f"which kind of pool? one of {', '.join(MEANINGS)}")
        say(*(f"{name}: {meaning}" for name, meaning in MEANINGS.items()))
        word = typer.prompt("What are your pools?", default=Kind.EXECUTOR.value)
        if word not in list(Kind):
            raise UsageError(f"{word!r} is no kind of pool; one of {', '.join(MEANINGS)}")
        kind = Kind(word)
    if asking and not old and not new:
        what = "URL" if kind is Kind.HTTP else "module:name"
        old = typer.prompt(f"The pool in use ({what}; empty for an example)", default="", show_default=False)
        new = typer.prompt(f"The new pool ({what})", default="", show_default=False) if old else ""
        if old and kind is Kind.EXECUTOR and not function:
            function = typer.prompt("Functions that the workers run (module:name, with spaces between)").split()
    answers = Answers(
        kind=kind,
        old=old,
        new=new,
        functions=tuple(function or ()),
        old_start=old_start,
        new_start=new_start,
        health=health,
    )
    _write(folder, files_for(answers), force=force)
    if not run:
        return Exit.GOOD
    for one in examine():
        if not one.well:
            warn(f"doctor: {one.name}: {one.found}")
    os.chdir(folder)
    return compare_command(["calls.py", "scenario.py"], baseline="pools:Old", candidate="pools:New", quiet=quiet)


def _write(folder: Path, files: dict[str, str], *, force: bool) -> None:
    there = [name for name in files if (folder / name).exists()]
    if there and not force:
        raise UsageError(f"{folder} has {', '.join(there)} already; --force overwrites, --folder takes another folder")
    for name, text in files.items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}") from error
        say(f"{'overwritten' if name in there else 'written'}: {path}")
