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
        list[str] | None, typer.Option(help="A mutant, such as lifo_queue or v2.lifo_queue; all if none is named.")
    ] = None,
    profile: ProfileOption = Profile.QUICK,
    seeds: Annotated[int, typer.Option(help="With how many seeds, from --seed on; 1 to 100.")] = 1,
    seed: Seed = 1,
    exhaustive: Annotated[
        bool, typer.Option("--exhaustive", help="Lead a mutant on after a checker of what it breaks has found it out.")
    ] = False,
    jobs: Jobs = JOBS,
    out: Out = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Put the harness to the test: planted bugs that it must find, and good pools that it must not accuse."""
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
