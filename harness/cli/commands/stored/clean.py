"""The command `clean`: removes old results from out/."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from poolproof.harness.cli.commands.options import Exit
from poolproof.harness.cli.output import Terminal, say
from poolproof.harness.cli.tables import show_table
from poolproof.harness.model.errors import UsageError
from poolproof.harness.run.retention import DEFAULT_OUT, find_results, remove


def clean_command(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="The folder with the results.")] = DEFAULT_OUT,
    keep: Annotated[int, typer.Option(metavar="<int>", help="The number of newest results to keep, 0 or more.")] = 5,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be removed.")] = False,
) -> int:
    """Remove old results of poolproof from out/, and show their sizes. Folders that you named yourself stay."""
    if keep < 0:
        raise UsageError(f"--keep {keep}: must be a whole number, 0 or more")
    found = find_results(folder)
    rows = []
    for place, kept in enumerate(found):
        old = place >= keep
        if old and not dry_run:
            remove(kept.path)
        told = ("would be removed" if dry_run else "removed") if old else "kept"
        rows.append((str(kept.path), f"{kept.size_bytes / 1e6:.1f} MB", told))
    if not rows:
        say(f"there are no results in {folder}")
    show_table(Terminal(), ("result", "size", ""), rows)
    return Exit.GOOD
