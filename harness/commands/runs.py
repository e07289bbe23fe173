"""Commands that run scenarios: compare, run."""

from __future__ import annotations

import shlex
import sys
from typing import Annotated

import typer
from rich.console import Console

from harness.catalogue import find_scenarios
from harness.commands.options import (
    JOBS,
    OF_DECISION,
    POOL_HELP,
    AsJson,
    Clients,
    Exit,
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
    new_folder,
)
from harness.commands.results import show_results
from harness.compare import compare, run_jobs
from harness.job import start_job
from harness.pools import find_pool
from harness.terminal import Steps, show_decision
from reports import write_reports
from scenarios import DEFAULT_SUITE

Baseline = Annotated[str, typer.Option(metavar="POOL", help=f"The pool that is to be replaced; {POOL_HELP}.")]
Candidate = Annotated[str, typer.Option(metavar="POOL", help="The pool that is to replace it.")]
Pools = Annotated[
    list[str] | None, typer.Option("--pool", metavar="POOL", help=f"The pool to run on, repeatable; {POOL_HELP}.")
]


def compare_command(
    scenarios: Scenarios = None,
    suite: Suite = DEFAULT_SUITE,
    baseline: Annotated[
        str, typer.Option(metavar="POOL", help=f"The pool that is to be replaced; {POOL_HELP}.")
    ] = "v1",
    candidate: Candidate = "v2",
    seed: Seed = 1,
    workers: Workers = 4,
    clients: Clients = 8,
    jobs: Jobs = JOBS,
    profile: ProfileOption = Profile.QUICK,
    worker_command: WorkerCommand = None,
    out: Out = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Run every scenario on both pools and decide whether the candidate may replace the baseline."""
    found = find_scenarios(scenarios or [], profile=profile, suite=suite)
    one, other = find_pool(baseline), find_pool(candidate)
    request = build_request(found, seed, workers, clients, jobs, profile, worker_command)
    folder = out or new_folder("compare")
    with Keeping(folder), Steps(Console(stderr=True), quiet=quiet) as steps:
        comparison = compare(
            found,
            one,
            other,
            request,
            folder / "runs",
            jobs=jobs,
            start_job=start_job,
            progress=steps,
            command=shlex.join(["poolproof", *sys.argv[1:]]),
        )
        written = write_reports(comparison, folder)
    if as_json:
        sys.stdout.write(written["json"].read_text())
    else:
        console = Console()
        show_decision(console, comparison)
        console.print(f"report: {written['html']}", markup=False, highlight=False, soft_wrap=True)
    ran = [result for row in comparison.scenarios for result in (row.baseline, row.candidate) if not result.skipped]
    if ran and all(result.trouble and not result.findings for result in ran):
        sys.stderr.write(f"poolproof: no run came to an end; the first: {ran[0].trouble}\n")
        return Exit.BROKEN
    return OF_DECISION[comparison.decision]


def run_command(
    scenarios: Scenarios = None,
    suite: Suite = DEFAULT_SUITE,
    pool: Annotated[
        list[str] | None, typer.Option(metavar="POOL", help=f"The pool to run on, repeatable; {POOL_HELP}.")
    ] = None,
    seed: Seed = 1,
    workers: Workers = 4,
    clients: Clients = 8,
    jobs: Jobs = JOBS,
    profile: ProfileOption = Profile.QUICK,
    worker_command: WorkerCommand = None,
    out: Out = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Run scenarios on one pool (v2) or several, and show what the checkers found. What was declared is no failure."""
    found = find_scenarios(scenarios or [], profile=profile, suite=suite)
    subjects = [find_pool(name) for name in pool or ["v2"]]
    request = build_request(found, seed, workers, clients, jobs, profile, worker_command)
    folder = out or new_folder("run")
    with Keeping(folder), Steps(Console(stderr=True), quiet=quiet) as steps:
        steps.planned(len(found) * len(subjects))
        results = run_jobs(found, subjects, request, folder, jobs=jobs, start_job=start_job, progress=steps)
    ordered = [results[scenario.name, position] for scenario in found for position in range(len(subjects))]
    return show_results(ordered, {scenario.name: scenario for scenario in found}, as_json=as_json)
