"""Commands that list things or read stored results: list, report, open, site, clean, analyze, schema."""

from __future__ import annotations

import webbrowser
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from poolproof.harness.checkers import ALL
from poolproof.harness.cli.commands.options import OF_DECISION, AsJson, Exit, Imports, Run, is_run
from poolproof.harness.cli.commands.results import show_results
from poolproof.harness.cli.output import Terminal, say, say_json, warn
from poolproof.harness.cli.terminal import show_decision, show_table
from poolproof.harness.compare.catalogue import all_scenarios, find_stored
from poolproof.harness.compare.stored.reanalysis import reanalyze
from poolproof.harness.model.docstring import summary_of
from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.fault import DESCRIPTIONS
from poolproof.harness.oracle import PARTS
from poolproof.harness.run.retention import DEFAULT_OUT, find_results, remove
from poolproof.harness.run.runner import analyze
from poolproof.harness.run.store import COMPARISON_FILE, RunFolder, read_comparison
from poolproof.harness.subjects.faces import ALL_FACES
from poolproof.harness.subjects.named import Named
from poolproof.harness.subjects.pools import SUBJECTS, offered_pools
from poolproof.reports import FORMATS, INDEX_FILE, Document, schema_of, write_reports, write_site
from poolproof.scenarios import SUITES


class Listed(StrEnum):
    """The things that can be listed."""

    SCENARIOS = "scenarios"
    POOLS = "pools"
    FAULTS = "faults"
    CHECKERS = "checkers"
    FACES = "faces"


def list_command(
    what: Annotated[Listed, typer.Argument(help="The kind of thing to list.")],
    suite: Annotated[
        str | None, typer.Option(metavar="SUITE", help="List the scenarios of this suite only: default, or dspy.")
    ] = None,
) -> int:
    """List all scenarios, pools, faults, checkers or faces (ways to call a pool), each with one sentence."""
    if suite is not None and what is not Listed.SCENARIOS:
        raise UsageError(f"--suite {suite!r}: only scenarios belong to suites; {what.value} do not")
    rows: list[tuple[str, ...]]
    match what:
        case Listed.SCENARIOS:
            columns = ("scenario", "shows", "about")
            suites = SUITES if suite is None else (suite,)
            listed = {s.name: s for one in suites for s in all_scenarios(one).values()}
            rows = [(s.name, " ".join((*s.failures, *s.guarantees)), s.summary) for s in listed.values()]
        case Listed.POOLS:
            columns = ("pool", "can", "about")
            rows = [(s.name, " ".join(sorted(s.capabilities)), s.summary) for s in SUBJECTS.values()]
            rows += [(point.name, "", f"offered by {point.value}") for point in offered_pools().values()]
        case Listed.FAULTS:
            columns = ("fault", "", "about")
            rows = [(kind.value, "", text) for kind, text in DESCRIPTIONS.items()]
        case Listed.CHECKERS:
            columns = ("checker", "", "about")
            rows = [(kind.__name__, "", summary_of(kind)) for kind in (*ALL, *PARTS)]
        case Listed.FACES:
            columns = ("face", "of", "about")
            had = {face.name: [s.name for s in SUBJECTS.values() if face in s.faces] for face in ALL_FACES}
            rows = [(face.name, " ".join(had[face.name]), face.summary) for face in ALL_FACES]
    show_table(Terminal(), columns, rows)
    return Exit.GOOD


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


def clean_command(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="The folder with the results.")] = DEFAULT_OUT,
    keep: Annotated[int, typer.Option(metavar="<int>", help="Keep so many of the newest results, 0 or more.")] = 5,
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
            remove(kept)
        told = ("would be removed" if dry_run else "removed") if old else "kept"
        rows.append((str(kept.path), f"{kept.size_bytes / 1e6:.1f} MB", told))
    if not rows:
        say(f"there are no results in {folder}")
    show_table(Terminal(), ("result", "size", ""), rows)
    return Exit.GOOD


def site_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder with comparisons below it, at any depth.")],
) -> int:
    """Write DIR/index.html: every stored comparison below DIR with its decision, trends and scenario histories."""
    path, index = write_site(folder)
    say(path)
    warn(*(f"poolproof: this folder is left out: {told}" for told in index.unread))
    return Exit.GOOD


def analyze_command(run: Run, imports: Imports = None, as_json: AsJson = False) -> int:
    """Run the checkers again on stored records: of one run, or of every run of a comparison."""
    named = Named(imports or ())
    if is_run(run):
        folder = RunFolder(run)
        info = folder.read_info()
        scenarios = {scenario.name: scenario for scenario in find_stored(info.file or info.scenario, named)}
        if info.scenario not in scenarios:
            raise UsageError(f"{info.file} no longer defines the scenario {info.scenario!r}")
        result = analyze(scenarios[info.scenario], folder)
        folder.write_result(result)
        return show_results([result], scenarios, as_json=as_json)
    home = run if run.is_dir() else run.parent
    comparison = reanalyze(read_comparison(run), home, lambda word: find_stored(word, named))
    if as_json:
        say_json(comparison)
    else:
        show_decision(Terminal(), comparison)
    return OF_DECISION[comparison.decision]


def schema_command(
    document: Annotated[
        Document, typer.Argument(help="The file whose schema to print, without .json: comparison, bench or sweep.")
    ] = (Document.COMPARISON),
) -> int:
    """Print the JSON Schema of comparison.json, bench.json or sweep.json."""
    say_json(schema_of(document), indent=2)
    return Exit.GOOD
