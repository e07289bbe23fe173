"""Commands that write and show reports of stored results: report, open, site, schema."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from poolproof.harness.cli.commands.options import Exit, Run, is_run
from poolproof.harness.cli.commands.results import show_results
from poolproof.harness.cli.output import say, say_json, warn
from poolproof.harness.model.errors import UsageError
from poolproof.harness.run.retention import COMPARISON_FILE, DEFAULT_OUT
from poolproof.harness.run.store import RunFolder, read_comparison
from poolproof.reports import FORMATS, INDEX_FILE, Document, schema_of, write_reports, write_site


def report_command(
    run: Run,
    formats: Annotated[
        list[str] | None, typer.Option("--format", help=f"The format to write: {', '.join(FORMATS)}. Default: all.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The folder to write to. Default: the folder of the data.")
    ] = None,
) -> int:
    """Write the reports of a stored comparison again, or show a stored run's findings."""
    if is_run(run):
        for name in formats or ():
            if name != "json":
                raise UsageError(
                    f"--format {name}: {run} is one run, which can be shown as json; a comparison of two pools has "
                    f"{', '.join(FORMATS)}"
                )
        return show_results([RunFolder(run).read_result()], {}, as_json=bool(formats))
    comparison = read_comparison(run)
    home = run if run.is_dir() else run.parent
    for path in write_reports(comparison, out or home, formats or FORMATS, home=home).values():
        say(path)
    return Exit.GOOD


def open_command(
    run: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RUN]", help="A folder with results of compare or pytest. Default: the newest folder in out/."
        ),
    ] = None,
) -> int:
    """Show the report of a stored comparison, or an index of runs, in the browser; it is written if it is missing."""
    folder = _newest(DEFAULT_OUT) if run is None else run
    page = folder if folder.suffix == ".html" else folder / INDEX_FILE
    if not page.is_file():
        if not folder.exists():
            raise UsageError(f"there is no {folder}")
        if folder.is_dir() and not (folder / COMPARISON_FILE).is_file():
            raise UsageError(f"{folder} holds no comparison ({COMPARISON_FILE}) and no index ({INDEX_FILE})")
        home = folder if folder.is_dir() else folder.parent
        page = home / FORMATS["html"][0]
        if not page.is_file():
            write_reports(read_comparison(folder), home, ["html"])
    say(page)
    if not webbrowser.open(page.absolute().as_uri()):
        warn(f"poolproof: no browser could be opened; the page is {page}")
    return Exit.GOOD


def _newest(folder: Path) -> Path:
    found = sorted(folder.glob(f"*/{COMPARISON_FILE}"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise UsageError(f"there is no comparison in {folder}; name the folder of one")
    return found[-1].parent


def site_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder with comparisons below it, at any depth.")],
) -> int:
    """Write DIR/index.html: every stored comparison below DIR with its decision, trends and scenario histories."""
    path, index = write_site(folder)
    say(path)
    warn(*(f"poolproof: this folder is left out: {told}" for told in index.unread))
    return Exit.GOOD


def schema_command(
    document: Annotated[
        Document, typer.Argument(help="The file whose schema to print, without .json: comparison, bench or sweep.")
    ] = (Document.COMPARISON),
) -> int:
    """Print the JSON Schema of comparison.json, bench.json or sweep.json."""
    say_json(schema_of(document), indent=2)
    return Exit.GOOD
