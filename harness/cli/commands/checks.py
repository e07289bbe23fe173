"""The command `selfcheck`: tests the harness itself."""

from __future__ import annotations

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
    build_request,
    new_folder,
)
from poolproof.harness.model.workload import Size
from poolproof.harness.mutation.command import run_selfcheck
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
    jobs: Jobs = JOBS,
    out: Out = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Test the test tool itself: it must find planted bugs, and must not accuse correct pools."""
    size = Size()
    request = build_request([], seed, size.workers, size.clients, jobs, profile, None)
    folder = out or new_folder("selfcheck")
    with Keeping(folder):
        matrix = run_selfcheck(
            find_mutants(mutant or []),
            request,
            folder,
            seeds=seeds,
            jobs=jobs,
            exhaustive=exhaustive,
            quiet=quiet,
            as_json=as_json,
        )
    return OF_VERDICT[matrix.verdict]
