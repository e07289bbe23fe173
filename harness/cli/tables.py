"""Tables on the command line."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from poolproof.bridge.safe_text import one_line
from poolproof.harness.cli.output import shown


def show_table(console: Console, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; without a terminal, print lines with tabs for scripts."""
    if not console.is_terminal:
        for row in rows:
            console.file.write("\t".join(map(one_line, row)) + "\n")  # the console would turn tabs into spaces
        return
    console.print(make_table(columns, rows))


def make_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Return a table of these plain texts, each in one line."""
    table = Table(*map(shown, columns), box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(shown(cell) for cell in row))
    return table
