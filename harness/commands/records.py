"""Commands that read what there is: list, report, analyze, schema."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from harness.catalogue import all_scenarios, find_scenarios
from harness.checkers import ALL
from harness.commands.options import OF_DECISION, AsJson, Exit, Run, is_run
from harness.commands.results import show_results
from harness.compare import reanalyze
from harness.errors import UsageError
from harness.fault import DESCRIPTIONS
from harness.pools import SUBJECTS, offered_pools
from harness.runner import analyze
from harness.store import RunFolder, read_comparison
from harness.terminal import show_decision, show_table
from reports import FORMATS, comparison_schema, write_reports


class Listed(StrEnum):
    """What can be listed."""

    SCENARIOS = "scenarios"
    POOLS = "pools"
    FAULTS = "faults"
    CHECKERS = "checkers"


def list_command(what: Annotated[Listed, typer.Argument(help="What to list.")]) -> int:
    """List the scenarios, pools, faults or checkers that there are."""
    rows: list[tuple[str, ...]]
    match what:
        case Listed.SCENARIOS:
            columns = ("scenario", "shows", "about")
            rows = [(s.name, " ".join((*s.failures, *s.guarantees)), s.summary) for s in all_scenarios().values()]
        case Listed.POOLS:
            columns = ("pool", "can", "about")
            rows = [(s.name, " ".join(sorted(s.capabilities)), s.summary) for s in SUBJECTS.values()]
            rows += [(point.name, "", f"offered by {point.value}") for point in offered_pools().values()]
        case Listed.FAULTS:
            columns = ("fault", "", "about")
            rows = [(kind.value, "", text) for kind, text in DESCRIPTIONS.items()]
        case Listed.CHECKERS:
            columns = ("checker", "", "about")
            rows = [(kind.__name__, "", (kind.__doc__ or "").strip().splitlines()[0]) for kind in ALL]
    show_table(Console(), columns, rows)
    return Exit.GOOD


def report_command(
    run: Run,
    formats: Annotated[
        list[str] | None, typer.Option("--format", help=f"One of {', '.join(FORMATS)}; all if not given.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to write; beside the data if not given.")
    ] = None,
) -> int:
    """Write the reports of a stored comparison again, or show a stored run's findings."""
    if is_run(run):
        result = RunFolder(run).read_result()
        return show_results([result], {}, as_json=False)
    comparison = read_comparison(run)
    home = run if run.is_dir() else run.parent
    for path in write_reports(comparison, out or home, formats or FORMATS).values():
        typer.echo(str(path))
    return Exit.GOOD


def analyze_command(run: Run, as_json: AsJson = False) -> int:
    """Run the checkers again on what is on disk: of one run, or of every run of a comparison."""
    if is_run(run):
        folder = RunFolder(run)
        info = folder.read_info()
        scenarios = {scenario.name: scenario for scenario in find_scenarios([info.file or info.scenario])}
        if info.scenario not in scenarios:
            raise UsageError(f"{info.file} no longer defines the scenario {info.scenario!r}")
        result = analyze(scenarios[info.scenario], folder)
        folder.write_result(result)
        return show_results([result], scenarios, as_json=as_json)
    comparison = reanalyze(read_comparison(run), run if run.is_dir() else run.parent, find_scenarios)
    if as_json:
        sys.stdout.write(msgspec.json.encode(comparison).decode() + "\n")
    else:
        show_decision(Console(), comparison)
    return OF_DECISION[comparison.decision]


def schema_command() -> int:
    """Print the JSON Schema of comparison.json."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(comparison_schema()), indent=2).decode() + "\n")
    return Exit.GOOD
