"""The command `compare`: runs scenarios on two pools, and decides whether one may replace the other."""

from __future__ import annotations

import os
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from poolproof.harness.cli.commands.options import (
    JOBS,
    OF_DECISION,
    POOL_HELP,
    AsJson,
    Clients,
    Exit,
    Imports,
    Jobs,
    Keeping,
    Out,
    Profile,
    ProfileOption,
    Quiet,
    Scenarios,
    Seed,
    Suite,
    WorkerCommand,
    Workers,
    ending,
    new_folder,
    parse_duration,
    this_command,
)
from poolproof.harness.cli.commands.preparation import prepare
from poolproof.harness.cli.commands.traffic import compare_traffic
from poolproof.harness.cli.output import Terminal, say_stored_json, warn
from poolproof.harness.cli.terminal import Steps, show_decision
from poolproof.harness.compare.compare import compare
from poolproof.harness.compare.comparison import Minimum
from poolproof.harness.compare.coverage_run import CoverageRun, sources_of
from poolproof.harness.compare.jobs.jobs import Partial, StartJob
from poolproof.harness.compare.stored.since import find_last, record_changes
from poolproof.harness.model.errors import UsageError
from poolproof.harness.run.job import start_measured_job
from poolproof.harness.run.jobserver import JobServer
from poolproof.reports import publish, view_with_extras, write_reports
from poolproof.scenarios import DEFAULT_SUITE

LONGEST_S = 86_400.0

Baseline = Annotated[str, typer.Option(metavar="POOL", help=f"The pool to be replaced: {POOL_HELP}.")]
Candidate = Annotated[str, typer.Option(metavar="POOL", help="The new pool, which is to replace the baseline.")]


def compare_command(
    scenarios: Scenarios = None,
    suite: Suite = DEFAULT_SUITE,
    baseline: Annotated[str, typer.Option(metavar="POOL", help=f"The pool to be replaced: {POOL_HELP}.")] = "v1",
    candidate: Candidate = "v2",
    seed: Seed = 1,
    workers: Workers = 4,
    clients: Clients = 8,
    jobs: Jobs = JOBS,
    profile: ProfileOption = Profile.QUICK,
    worker_command: WorkerCommand = None,
    imports: Imports = None,
    out: Out = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
    declared: Annotated[
        list[Path] | None,
        typer.Option(
            "--declare",
            metavar="FILE",
            help="A TOML file with known weaknesses of the baseline; may be repeated. A declared weakness never "
            "excuses the candidate.",
        ),
    ] = None,
    coverage: Annotated[
        bool, typer.Option("--coverage", help="Measure which lines of the candidate each scenario executes.")
    ] = False,
    coverage_source: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PACKAGE",
            help="A package whose lines to measure, may be repeated. Default: the candidate's own package and bridge.",
        ),
    ] = None,
    explore: Annotated[
        int | None,
        typer.Option(
            help="Generated runs on the candidate: their number. Default: by the profile; 0 if scenarios are named."
        ),
    ] = None,
    budget: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="Begin no further run after this time, such as 90s or 10m; the decision is then not SAFE.",
        ),
    ] = "",
    timeout: Annotated[
        str,
        typer.Option(metavar="TIME", help="End all runs after this time, as Ctrl-C does, and report those that ended."),
    ] = "",
    least_cells: Annotated[
        int,
        typer.Option(
            help="The smallest number of passed cells (combinations of fault, workload and "
            "configuration) with which the decision may be SAFE."
        ),
    ] = 1,
    least_lines: Annotated[
        float,
        typer.Option(
            help="The smallest percentage of the candidate's lines executed with which the "
            "decision may be SAFE. Needs --coverage."
        ),
    ] = 0.0,
    since: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="An earlier comparison: the report says what is new, fixed, slower or faster since. Default: the last "
            "one of the same two pools, in --out or in out/.",
        ),
    ] = None,
    traffic: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Replay this recording (poolproof.bridge.recording) on both pools, in place of the scenarios.",
        ),
    ] = None,
    speed: Annotated[
        float, typer.Option(help="How much faster than recorded --traffic is replayed, 0.01 to 1000.")
    ] = 1.0,
    comparers: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A TOML file that says how --traffic compares answers.")
    ] = None,
    ignored: Annotated[
        list[str] | None,
        typer.Option(
            "--ignore",
            metavar="PATH",
            help="A part of the answers that --traffic does not compare, such as $.usage.created; may be repeated.",
        ),
    ] = None,
) -> int:
    """Run every scenario on both pools, and decide whether the candidate may safely replace the baseline.

    With --traffic, recorded calls take the place of the scenarios, twice on the baseline: exit code 1 if the candidate
    differs from the baseline by more than the baseline from itself, 3 if that cannot be decided.
    """
    if traffic is not None:
        return compare_traffic(
            traffic,
            (baseline, candidate),
            workers,
            speed,
            comparers=comparers,
            ignored=ignored or (),
            as_json=as_json,
        )
    if comparers is not None or ignored:
        raise UsageError("--comparers and --ignore need --traffic; a scenario has its own comparing=")
    minimum = _minimum(least_cells, least_lines, coverage=coverage or bool(coverage_source))
    prepared = prepare(
        scenarios or [],
        suite=suite,
        imports=imports or [],
        declared=declared or [],
        pools=(baseline, candidate),
        explore=explore,
        profile=profile,
        worker_command=worker_command,
        seed=seed,
        workers=workers,
        clients=clients,
        jobs=jobs,
    )
    for package in coverage_source or ():
        if not _is_there(package):
            raise UsageError(f"--coverage-source {package!r}: there is no such package")
    folder = out or new_folder("compare")
    last = find_last(folder, baseline, candidate, since)
    covering = None
    part = Partial(parse_duration("--budget", budget, most_s=LONGEST_S) if budget else None)
    limit_s = parse_duration("--timeout", timeout, most_s=LONGEST_S) if timeout else None
    with (
        Keeping(folder) as keeping,
        ending(limit_s),
        JobServer() as server,
        Steps(Terminal(stderr=True), quiet=quiet) as steps,
    ):
        start: StartJob = server.start_job
        if coverage or coverage_source:
            covering = CoverageRun(folder / "coverage", coverage_source or sources_of(prepared.candidate.name))
            start = partial(start_measured_job, covering, prepared.candidate.name)
        comparison = compare(
            prepared.scenarios,
            prepared.baseline,
            prepared.candidate,
            prepared.request,
            folder / "runs",
            jobs=jobs,
            start_job=start,
            progress=steps,
            command=this_command(),
            minimum=minimum,
            read_cover=covering.read if covering is not None else lambda: None,
            generated=prepared.generated,
            total=prepared.total,
            partial=part,
        )
        prepared.remember_failures(comparison)
        changes = record_changes(last, comparison, folder)
        written = write_reports(comparison, folder)
        keeping.remove_earlier()
        publish(view_with_extras(comparison, folder), os.environ, sys.stderr)
        if part.interrupted:
            warn(f"poolproof: the report of the runs that had ended is {written['html']}")
            raise KeyboardInterrupt
    if as_json:
        say_stored_json(written["json"].read_bytes())
    else:
        console = Terminal()
        show_decision(console, comparison)
        if changes is not None:
            console.print(
                f"since the comparison of {changes.before_at}: {changes.counted}",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
        console.print(f"report: {written['html']}", markup=False, highlight=False, soft_wrap=True)
    ran = [result for row in comparison.scenarios for result in row.all_runs if not result.skipped]
    if ran and all(result.trouble and not result.findings for result in ran):
        warn(f"poolproof: no run was completed; the first one failed with: {ran[0].trouble}")
        return Exit.BROKEN
    return OF_DECISION[comparison.decision]


def _minimum(cells: int, lines: float, *, coverage: bool) -> Minimum:
    if not 0 <= cells <= 100_000:
        raise UsageError(f"--least-cells {cells}: must be a whole number from 0 to 100000")
    if not 0 <= lines <= 100:
        raise UsageError(f"--least-lines {lines:g}: must be a number from 0 to 100")
    if lines > 0 and not coverage:
        raise UsageError(f"--least-lines {lines:g}: lines are counted only with --coverage")
    return Minimum(cells=cells, lines=lines)


def _is_there(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):  # its parent package does not exist, or it is not a valid name
        return False
