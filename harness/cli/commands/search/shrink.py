"""The command `shrink`: reduces a failed run, and measures how often the reduced run fails."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from poolproof.harness.cli.commands.options import (
    FULL_SCALE,
    AsJson,
    Exit,
    Imports,
    Keeping,
    Out,
    Profile,
    Quiet,
    WorkerCommand,
    is_run,
    new_folder,
)
from poolproof.harness.cli.output import Terminal, say, say_json
from poolproof.harness.cli.terminal import Steps
from poolproof.harness.compare.catalogue import find_stored
from poolproof.harness.history.stats import Proportion
from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.intended import find_excuse
from poolproof.harness.run.job import start_job
from poolproof.harness.run.store import RunFolder
from poolproof.harness.shrink.hints import choose_finding, hints_of
from poolproof.harness.shrink.shrinking import Bounds, Shrinking, Shrunk
from poolproof.harness.subjects.named import Named
from poolproof.harness.subjects.pools import find_pool

RunArgument = Annotated[
    Path, typer.Argument(metavar="RUN", help="The folder of a failed run, such as out/compare/runs/NAME.")
]
CheckerOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The checker whose failure to reproduce. Default: the first one with an undeclared failure.",
    ),
]
MaxRuns = Annotated[int, typer.Option(help="The largest number of runs to make, 4 to 10000.")]
MaxSeconds = Annotated[float, typer.Option(help="Try no further reduction after this many seconds, 1 to 86400.")]
Repeats = Annotated[
    int,
    typer.Option(help="How many runs measure the failure rate before the reduction, and how many after it; 1 to 1000."),
]


def shrink_command(
    run: RunArgument,
    checker: CheckerOption = None,
    max_runs: MaxRuns = 80,
    max_seconds: MaxSeconds = 300.0,
    repeats: Repeats = 5,
    imports: Imports = None,
    worker_command: WorkerCommand = None,
    out: Out = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Reduce a failed run to the fewest operations, clients and faults with which its finding still shows."""
    for option, value, least, most in (
        ("--max-runs", max_runs, 4, 10_000),
        ("--max-seconds", max_seconds, 1, 86_400),
        ("--repeats", repeats, 1, 1000),
    ):
        if not least <= value <= most:
            raise UsageError(f"{option} {value}: must be a number from {least} to {most}")
    if 2 * repeats >= max_runs:
        raise UsageError(
            f"--max-runs {max_runs}: --repeats {repeats} takes {2 * repeats} of them, so no run is "
            "left for the reduction"
        )
    if not is_run(run):
        raise UsageError(f"{run} is a comparison; name the folder of one of its runs, from {run / 'runs'}")
    folder = RunFolder(run)
    info, result = folder.read_info(), folder.read_result()
    word = f"{info.file}::{info.scenario}" if info.file else info.scenario
    named = Named([*(imports or ()), *([worker_command] if worker_command else [])])
    for pool in filter(None, (info.pool, info.baseline)):
        named.require_pool(pool)
    named.require_command(info.worker_command)
    if worker_command:
        info = msgspec.structs.replace(info, worker_command=worker_command)
    (scenario,) = find_stored(word, named)
    today = datetime.now(UTC).date().isoformat()
    kept = choose_finding(
        result,
        checker,
        lambda name: bool(find_excuse(scenario.intended_differences, {info.pool}, name, today=today).reason),
    )
    where = out or new_folder("shrink")
    with Keeping(where), Steps(Terminal(stderr=True), quiet=quiet) as steps:
        scale = FULL_SCALE if info.profile == Profile.FULL else 1.0
        shrunk = Shrinking(
            scenario,
            find_pool(info.pool),
            info,
            kept,
            where,
            scale=scale,
            bounds=Bounds(runs=max_runs, seconds=max_seconds, repeats=repeats),
            hints=hints_of(result, kept, info, scenario, scale=scale),
            start_job=start_job,
            progress=steps,
        ).carry_out()
    if as_json:
        say_json(shrunk)
    else:
        say(*describe(shrunk))
    return Exit.GOOD if shrunk.after is not None and shrunk.after.count else Exit.UNDECIDED


def describe(shrunk: Shrunk) -> list[str]:
    """The result in sentences; the last one is the command that runs the reduced plan."""
    what = f"{shrunk.checker} of {shrunk.scenario} on {shrunk.pool}, seed {shrunk.seed}"
    if shrunk.after is None:
        return [
            f"{what}: did not reproduce: {rate(shrunk.before)}",
            f"nothing was reduced in {shrunk.runs} runs ({shrunk.seconds:.0f} s); try more --repeats",
        ]
    before, after = shrunk.size_before, shrunk.size_after
    lines = [
        f"{what}: " + ", ".join(f"{before[name]} → {after[name]} {name}" for name in before),
        f"reproduces in {rate(shrunk.after)}; the whole plan in {rate(shrunk.before)}",
        f"{shrunk.runs} runs in {shrunk.seconds:.0f} s",
    ]
    if shrunk.stopped:
        lines.append(f"a still smaller plan may exist: {shrunk.stopped}")
    return [*lines, f"to run it again: {shrunk.replay}"]


def rate(share: Proportion) -> str:
    """The proportion as text, such as "4 of 5 runs (95 % interval 38 % to 96 %)"."""
    return f"{share.count} of {share.total} runs (95 % interval {share.low:.0%} to {share.high:.0%})"
