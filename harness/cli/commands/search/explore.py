"""The command `explore`: runs generated scenarios on one pool, and shrinks what they find."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Annotated

import msgspec
import typer

from poolproof.harness.cli.commands.options import (
    JOBS,
    POOL_HELP,
    AsJson,
    Jobs,
    Keeping,
    Out,
    Profile,
    Quiet,
    Seed,
    new_folder,
    parse_duration,
)
from poolproof.harness.cli.commands.requests import build_request
from poolproof.harness.cli.commands.search.exploration import reduce_each, show_exploration
from poolproof.harness.cli.output import Terminal, warn
from poolproof.harness.cli.terminal import Steps
from poolproof.harness.compare.comparison import RunResult
from poolproof.harness.compare.jobs.jobs import PlannedRun, run_jobs
from poolproof.harness.compare.jobs.stalls import Stalls
from poolproof.harness.explore.choosing import Chosen, choose_runs
from poolproof.harness.explore.found import Found
from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.run.jobserver import JobServer
from poolproof.harness.run.request import Request, Subject
from poolproof.harness.subjects.pools import find_pool

MOST_RUNS = 100_000
LONGEST_S = 7 * 24 * 3600.0
Runs = Annotated[int, typer.Option("--runs", help=f"The number of generated runs, 1 to {MOST_RUNS}.")]
For = Annotated[
    str | None,
    typer.Option("--for", metavar="DURATION", help="Make runs for this time instead: 90s, 30m, 1h."),
]
ShrinkOption = Annotated[
    bool, typer.Option("--shrink/--no-shrink", help="Reduce the first failing run of each checker.")
]


def explore_command(
    pool: Annotated[str, typer.Option(metavar="POOL", help=f"The pool to run on; {POOL_HELP}.")] = "v2",
    seed: Seed = 1,
    runs: Runs = 25,
    lasting: For = None,
    jobs: Jobs = JOBS,
    shrink: ShrinkOption = True,
    out: Out = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Run generated scenarios on one pool: configuration, calls, values, limits and faults are drawn from the seed.

    A reference model says what no pool may do. A failing run is reduced to a few calls, and is shown with the command
    that repeats it. Scenarios that failed on this pool before are run first, in addition.
    """
    if not 1 <= runs <= MOST_RUNS:
        raise UsageError(f"--runs {runs}: a whole number from 1 to {MOST_RUNS}")
    request = build_request((), seed, 4, 8, jobs, Profile.QUICK, None)
    end_s = None if lasting is None else time.monotonic() + parse_duration("--for", lasting, most_s=LONGEST_S)
    subject, found = find_pool(pool), Found()
    folder = out or new_folder("explore")
    results: list[RunResult] = []
    stalls = Stalls()
    with Keeping(folder), JobServer() as server, Steps(Terminal(stderr=True), quiet=quiet) as steps:
        for batch in batches(subject, request, found.of(pool), runs, end_s, jobs):
            steps.planned(len(batch))
            planned = [PlannedRun(scenario=one.scenario, subject=subject, request=one.request) for one in batch]
            made = run_jobs(planned, folder, jobs=jobs, start_job=server.start_job, progress=steps, stalls=stalls)
            results += made
            for result in made:
                if result.verdict is Verdict.FAIL:
                    found.add(pool, result.scenario)
        start, below = server.start_job, folder / "shrunk"
        shrunk = reduce_each(results, subject, seed, below, start_job=start, progress=steps) if shrink else []
    warn(*(f"poolproof: {told}" for told in stalls.told))
    return show_exploration(pool, results, shrunk, as_json=as_json)


def batches(
    subject: Subject, request: Request, first: list[str], runs: int, end_s: float | None, jobs: int
) -> Iterator[list[Chosen]]:
    """Yield the runs to make: all of `runs` at once, or a few at a time until `end_s`, a moment of time.monotonic."""
    if end_s is None:
        yield choose_runs(runs, subject, request, first=first)
        return
    seed = request.seed
    while time.monotonic() < end_s:
        yield choose_runs(4 * jobs, subject, msgspec.structs.replace(request, seed=seed), first=first)
        seed, first = seed + 1, []
