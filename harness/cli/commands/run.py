"""The command `run`: runs scenarios on one or more pools."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from poolproof.bridge import Capability
from poolproof.harness.cli.commands.options import (
    JOBS,
    POOL_HELP,
    AsJson,
    Clients,
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
    new_folder,
)
from poolproof.harness.cli.commands.requests import build_request
from poolproof.harness.cli.commands.results import show_results
from poolproof.harness.cli.output import Terminal, warn
from poolproof.harness.cli.terminal import Steps
from poolproof.harness.compare.catalogue import find_scenarios
from poolproof.harness.compare.jobs.jobs import PlannedRun, run_jobs
from poolproof.harness.compare.jobs.stalls import Stalls
from poolproof.harness.model.face import EXECUTE
from poolproof.harness.run.jobserver import JobServer
from poolproof.harness.run.pool.configuration import require_startable
from poolproof.harness.subjects.named import Named
from poolproof.harness.subjects.pools import find_pool
from poolproof.scenarios import DEFAULT_SUITE


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
