"""The options and arguments that several commands have."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from poolproof.harness.model.errors import UsageError

UNITS_S = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
DURATION = re.compile(r"(\d+(?:\.\d+)?)([smh]?)", re.ASCII)
POOL_HELP = "a name from `poolproof list pools`, package.module:factory, or driver:COMMAND"


class Profile(StrEnum):
    """The thoroughness of a run.

    A comparison with the profile smoke ends within 45 s on two processors, with quick within 150 s. Full makes three
    times as many calls, and runs each scenario through each face.
    """

    SMOKE = "smoke"
    QUICK = "quick"
    FULL = "full"


Scenarios = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[SCENARIO]...",
        help="Names from `poolproof list scenarios`, or Python files that define scenarios. Default: all scenarios.",
    ),
]
Suite = Annotated[
    str, typer.Option(metavar="SUITE", help="The suite to run if no scenario is named: default, or dspy.")
]
Seed = Annotated[int, typer.Option(help="The random seed for workloads, faults and orders, 0 to 4294967295.")]
Workers = Annotated[int, typer.Option(help="Worker processes of each pool, 1 to 1024.")]
Clients = Annotated[int, typer.Option(help="Client threads that make the calls, 1 to 1024.")]
Jobs = Annotated[int, typer.Option(help="How many runs go on at the same time, 1 to 64. Timings always run alone.")]
ProfileOption = Annotated[
    Profile, typer.Option(help="How thorough the test is: smoke is the quickest, full the most thorough.")
]
WorkerCommand = Annotated[
    str | None,
    typer.Option(
        metavar="COMMAND",
        help="The command line of a worker program that speaks the wire protocol; "
        "{worker_id} becomes the worker's id. Default: the worker that poolproof ships.",
    ),
]
Imports = Annotated[
    list[str] | None,
    typer.Option(
        "--import",
        metavar="NAME",
        help="A Python file (or a pool package.module:factory) that stored results or a stored plan name, and that may "
        "be imported. May be repeated. Nothing that only they name is imported.",
    ),
]
Out = Annotated[
    Path | None, typer.Option(metavar="DIR", help="The folder for all results. Default: a new folder in out/.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Run = Annotated[
    Path, typer.Argument(metavar="RUN", help="A folder with results of `poolproof compare`, `poolproof run` or pytest.")
]


def parse_duration(option: str, text: str, *, most_s: float) -> float:
    """Return the seconds of a duration such as "90", "90s", "30m" or "1.5h"; without a unit it is in seconds.

    Raises UsageError, which names the option and the limits, if `text` is no duration from 1 s to `most_s`.
    """
    found = DURATION.fullmatch(text)
    seconds = float(found[1]) * UNITS_S[found[2]] if found else 0.0
    if not 1 <= seconds <= most_s:
        limit = f"from 1s to {most_s / UNITS_S['h']:g}h"
        raise UsageError(f"{option} {text!r}: must be a duration {limit}, such as 90s, 10m or 1h")
    return seconds
