"""The command `selfcheck`: tests the harness itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from poolproof.harness.cli.commands.options import (
    OF_VERDICT,
    AsJson,
    Jobs,
    Keeping,
    Out,
    Profile,
    ProfileOption,
    Quiet,
    Seed,
    new_folder,
)
from poolproof.harness.cli.commands.requests import build_request
from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.workload import Size
from poolproof.harness.mutation.command import run_selfcheck
from poolproof.harness.mutation.generated.command import MOST_RUNS, run_generated, verdict_of
from poolproof.harness.mutation.loosened.command import run_checkers
from poolproof.harness.mutation.loosened.command import verdict_of as verdict_of_checkers
from poolproof.harness.mutation.registry import find_mutants

JOBS = 2


def selfcheck_command(
    mutant: Annotated[
        list[str] | None,
        typer.Option(
            help="The mutants (pools with a planted bug) to try, such as lifo_queue or v2.lifo_queue. Default: all."
        ),
    ] = None,
    profile: ProfileOption = Profile.QUICK,
    seeds: Annotated[
        int, typer.Option(help="The number of seeds to try each mutant with, beginning at --seed; 1 to 100.")
    ] = 1,
    seed: Seed = 1,
    exhaustive: Annotated[
        bool,
        typer.Option(
            "--exhaustive", help="Run every scenario on a mutant, even after the right checker has found its bug."
        ),
    ] = False,
    generated: Annotated[
        int | None,
        typer.Option(metavar="N", help="Plant N mutants that operators make at random places, in place of named ones."),
    ] = None,
    package: Annotated[
        list[str] | None,
        typer.Option(
            help="With --generated: mutate this package only, repeatable: pool_v2, bridge, pool_v1, migration."
        ),
    ] = None,
    survey: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="With --generated: the folder `survey` of an earlier selfcheck, to be used again.",
        ),
    ] = None,
    every_killer: Annotated[
        bool,
        typer.Option(
            "--every-killer",
            help="With --generated: try every killer (a test for mutants), even after one has found it.",
        ),
    ] = False,
    most_runs: Annotated[
        int,
        typer.Option(help="With --generated: how many runs of the comparison each mutant gets; 0 for all."),
    ] = MOST_RUNS,
    checkers: Annotated[
        bool, typer.Option("--checkers", help="Loosen each checker, and look whether a test or a planted bug notices.")
    ] = False,
    recorded: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="With --checkers: the folder of an earlier selfcheck, whose runs are used again.",
        ),
    ] = None,
    tests: Annotated[
        Path | None, typer.Option(metavar="DIR", help="With --checkers: the folder with the checkers' tests.")
    ] = None,
    jobs: Jobs = JOBS,
    out: Out = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Test the test tool itself: it must find planted bugs, and must not accuse correct pools."""
    size = Size()
    request = build_request([], seed, size.workers, size.clients, jobs, profile, None)
    folder = out or new_folder("selfcheck")
    if generated is None and (package or survey or every_killer):
        raise UsageError("--package, --survey and --every-killer are for --generated")
    if not checkers and (recorded or tests):
        raise UsageError("--recorded and --tests are for --checkers")
    if checkers and (generated is not None or (recorded and (mutant or exhaustive or seeds != 1))):
        raise UsageError("--checkers --recorded judges the runs of an earlier selfcheck, and makes none")
    if generated is not None:
        if mutant or exhaustive or seeds != 1:
            raise UsageError("--mutant, --seeds and --exhaustive are not for --generated")
        with Keeping(folder):
            found = run_generated(
                request,
                folder,
                count=generated,
                packages=package or (),
                survey_folder=survey,
                every_killer=every_killer,
                most_runs=most_runs or None,
                jobs=jobs,
                quiet=quiet,
                as_json=as_json,
            )
        return OF_VERDICT[verdict_of(found)]
    if recorded is not None:
        with Keeping(folder):
            loosened = run_checkers(recorded, folder, tests=tests, jobs=jobs, quiet=quiet, as_json=as_json)
        return OF_VERDICT[verdict_of_checkers(loosened)]
    with Keeping(folder):
        matrix = run_selfcheck(
            find_mutants(mutant or []),
            request,
            folder,
            seeds=seeds,
            jobs=jobs,
            exhaustive=exhaustive,
            quiet=quiet,
            as_json=as_json and not checkers,
        )
        if checkers:
            loosened = run_checkers(folder, folder, tests=tests, jobs=jobs, quiet=quiet, as_json=as_json)
            return max(OF_VERDICT[matrix.verdict], OF_VERDICT[verdict_of_checkers(loosened)])
    return OF_VERDICT[matrix.verdict]
