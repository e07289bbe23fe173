"""Commands that run scenarios: compare, run."""

from __future__ import annotations

import os
import shlex
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from poolproof.bridge import Capability
from poolproof.bridge.redaction import redact_words
from poolproof.harness.bench.records.index import store_folder
from poolproof.harness.cli.commands.options import (
    JOBS,
    OF_DECISION,
    OF_VERDICT,
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
    build_request,
    ending,
    new_folder,
)
from poolproof.harness.cli.commands.results import show_results
from poolproof.harness.cli.output import Terminal, say, say_json, say_stored_json, warn
from poolproof.harness.cli.terminal import Steps, show_decision
from poolproof.harness.compare.catalogue import all_scenarios, find_scenarios, known_failures
from poolproof.harness.compare.compare import compare
from poolproof.harness.compare.comparison import Minimum
from poolproof.harness.compare.coverage_run import CoverageRun, sources_of
from poolproof.harness.compare.declared import declare, entries_of, read_ledger
from poolproof.harness.compare.jobs.jobs import Partial, PlannedRun, StartJob, run_jobs
from poolproof.harness.compare.jobs.stalls import Stalls
from poolproof.harness.explore.choosing import EXPLORED, choose_runs
from poolproof.harness.explore.found import Found
from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.face import EXECUTE
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.run.job import start_measured_job
from poolproof.harness.run.jobserver import JobServer
from poolproof.harness.run.pool.configuration import require_startable
from poolproof.harness.subjects.named import Named
from poolproof.harness.subjects.pools import find_pool
from poolproof.harness.traffic.command import compare_recording
from poolproof.reports import publish, view_with_extras, write_reports
from poolproof.scenarios import DEFAULT_SUITE

MOST_EXPLORED = 100_000
LONGEST_S = 86_400.0

Baseline = Annotated[str, typer.Option(metavar="POOL", help=f"The pool to be replaced: {POOL_HELP}.")]
Candidate = Annotated[str, typer.Option(metavar="POOL", help="The new pool, which is to replace the baseline.")]
Pools = Annotated[
    list[str] | None, typer.Option("--pool", metavar="POOL", help=f"The pool to run on: {POOL_HELP}. May be repeated.")
]


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
            help="Make so many generated runs on the candidate; by the profile, and 0 if scenarios are named."
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
) -> int:
    """Run every scenario on both pools, and decide whether the candidate may safely replace the baseline.

    With --traffic, recorded calls take the place of the scenarios: exit code 1 if the candidate answers one otherwise,
    3 if the baseline's own answers vary.
    """
    if traffic is not None:
        return _compare_traffic(traffic, baseline, candidate, workers, speed, as_json=as_json)
    minimum = _minimum(least_cells, least_lines, coverage=coverage or bool(coverage_source))
    named = Named([*(scenarios or ()), *(imports or ())])
    found = find_scenarios(scenarios or [], profile=profile, suite=suite, named=named)
    one, other = find_pool(baseline), find_pool(candidate)
    require_startable(found, (one.name, other.name), worker_command)
    known = [*entries_of(known_failures(scenarios or ())), *(e for file in declared or () for e in read_ledger(file))]
    if known:
        found = declare(found, known, one.name, other.name)
    request = build_request(found, seed, workers, clients, jobs, profile, worker_command)
    for package in coverage_source or ():
        if not _is_there(package):
            raise UsageError(f"--coverage-source {package!r}: there is no such package")
    folder = out or new_folder("compare")
    if explore is not None and not 0 <= explore <= MOST_EXPLORED:
        raise UsageError(f"--explore {explore}: a whole number from 0 to {MOST_EXPLORED}")
    usual = 0 if scenarios or suite != DEFAULT_SUITE or worker_command else EXPLORED[profile]
    found_before = Found(store_folder())
    generated = choose_runs(
        usual if explore is None else explore,
        other,
        request,
        baseline=one,
        first=found_before.of(other.name) if usual else (),
    )
    covering = None
    part = Partial(_seconds("--budget", budget))
    limit_s = _seconds("--timeout", timeout)
    with Keeping(folder), ending(limit_s), JobServer() as server, Steps(Terminal(stderr=True), quiet=quiet) as steps:
        start: StartJob = server.start_job
        if coverage or coverage_source:
            covering = CoverageRun(folder / "coverage", coverage_source or sources_of(other.name))
            start = partial(start_measured_job, covering, other.name)
        comparison = compare(
            found,
            one,
            other,
            request,
            folder / "runs",
            jobs=jobs,
            start_job=start,
            progress=steps,
            command=shlex.join(redact_words(["poolproof", *sys.argv[1:]])),
            minimum=minimum,
            read_cover=covering.read if covering is not None else lambda: None,
            generated=generated,
            total=len(all_scenarios(suite)) if any(not scenario.file for scenario in found) else None,
            partial=part,
        )
        for result in comparison.explored:
            if result.verdict is Verdict.FAIL:
                found_before.add(other.name, result.scenario)
        written = write_reports(comparison, folder)
        publish(view_with_extras(comparison, folder), os.environ, sys.stderr)
        if part.interrupted:
            warn(f"poolproof: the report of the runs that had ended is {written['html']}")
            raise KeyboardInterrupt
    if as_json:
        say_stored_json(written["json"].read_bytes())
    else:
        console = Terminal()
        show_decision(console, comparison)
        console.print(f"report: {written['html']}", markup=False, highlight=False, soft_wrap=True)
    ran = [result for row in comparison.scenarios for result in row.all_runs if not result.skipped]
    if ran and all(result.trouble and not result.findings for result in ran):
        warn(f"poolproof: no run was completed; the first one failed with: {ran[0].trouble}")
        return Exit.BROKEN
    return OF_DECISION[comparison.decision]


def _compare_traffic(path: Path, baseline: str, candidate: str, workers: int, speed: float, *, as_json: bool) -> int:
    found = compare_recording(path, find_pool(baseline), find_pool(candidate), workers=workers, speed=speed)
    if as_json:
        say_json(found)
        return OF_VERDICT[found.verdict]
    for kind, texts in (("DIFFERENT", found.differences), ("varies by itself", found.noise)):
        for text in texts:
            say(f"{kind}: {text}")
    if found.damage:
        warn(f"poolproof: {path}: {found.damage}")
    one, other = (f"{late_s * 1e3:.1f} ms" for late_s in found.late_p99_s)
    say(
        f"{found.calls} calls: {found.equal} alike ({found.changed} otherwise than recorded), {found.different} "
        f"different, {found.noisy} vary by themselves; begun late by up to (p99) {one} and {other}"
    )
    say(f"{found.verdict.value.upper()}: {candidate} replacing {baseline}")
    return OF_VERDICT[found.verdict]


def _seconds(option: str, text: str) -> float | None:
    if not text:
        return None
    unit = {"s": 1.0, "m": 60.0, "h": 3600.0}.get(text[-1])
    try:
        seconds = float(text if unit is None else text[:-1]) * (unit or 1.0)
    except ValueError:
        seconds = -1.0
    if not 1 <= seconds <= LONGEST_S:
        raise UsageError(f"{option} {text!r}: a time from 1s to 24h is needed, such as 90s or 10m")
    return seconds


def _minimum(cells: int, lines: float, *, coverage: bool) -> Minimum:
    if not 0 <= cells <= 100_000:
        raise UsageError(f"--least-cells {cells}: must be a whole number from 0 to 100000")
    if not 0 <= lines <= 100:
        raise UsageError(f"--least-lines {lines:g}: must be a number from 0 to 100")
    if lines > 0 and not coverage:
        raise UsageError(f"--least-lines {lines:g}: lines are counted only with --coverage")
    return Minimum(cells=cells, lines=lines)


def run_command(
    scenarios: Scenarios = None,
    suite: Suite = DEFAULT_SUITE,
    pool: Annotated[
        list[str] | None, typer.Option(metavar="POOL", help=f"The pool to run on: {POOL_HELP}. May be repeated.")
    ] = None,
    seed: Seed = 1,
    workers: Workers = 4,
    clients: Clients = 8,
    jobs: Jobs = JOBS,
    profile: ProfileOption = Profile.QUICK,
    worker_command: WorkerCommand = None,
    imports: Imports = None,
    face: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FACE", help="A way to call the pool (a face): a name from `poolproof list faces`. May be repeated."
        ),
    ] = None,
    observed: Annotated[
        bool | None,
        typer.Option(
            "--observed/--not-observed",
            help="Run only with, or only without, an observer on the pool. Default: one run of each.",
        ),
    ] = None,
    baseline: Annotated[
        str, typer.Option(metavar="POOL", help="The second pool, for a face that needs two, such as migrating_shadow.")
    ] = "v1",
    out: Out = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Run scenarios on one or more pools (default: v2), and show what the checkers found.

    Failures that a scenario declares for a pool do not count. Each scenario is run as shipped, that is without an
    observer, and once more with an observer.
    """
    named = Named([*(scenarios or ()), *(imports or ())])
    found = find_scenarios(scenarios or [], profile=profile, suite=suite, named=named)
    subjects = [find_pool(name) for name in pool or ["v2"]]
    require_startable(found, [subject.name for subject in subjects], worker_command)
    request = build_request(found, seed, workers, clients, jobs, profile, worker_command)
    folder = out or new_folder("run")
    runs = [
        PlannedRun(
            scenario=scenario,
            subject=subject,
            request=msgspec.structs.replace(request, face=name, observed=watched, baseline=baseline),
        )
        for scenario in found
        for subject in subjects
        for name in face or [EXECUTE.name]
        for watched in ((False, True) if observed is None else (observed,))
        if watched is observed
        or not watched
        or (subject.face(name).tells and Capability.EVENTS in subject.capabilities)
    ]
    stalls = Stalls()
    with Keeping(folder), JobServer() as server, Steps(Terminal(stderr=True), quiet=quiet) as steps:
        steps.planned(len(runs))
        results = run_jobs(runs, folder, jobs=jobs, start_job=server.start_job, progress=steps, stalls=stalls)
    warn(*(f"poolproof: {told}" for told in stalls.told))
    return show_results(results, {scenario.name: scenario for scenario in found}, as_json=as_json)


def _is_there(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):  # its parent package does not exist, or it is not a valid name
        return False
