"""Options that the commands that measure share."""

from __future__ import annotations

from typing import Annotated

import typer

from poolproof.harness.bench.workloads.workloads import DEFAULT_CALL
from poolproof.harness.cli.commands.options import POOL_HELP

Baseline = Annotated[str, typer.Option(metavar="POOL", help=f"The reference pool: {POOL_HELP}.")]
Candidate = Annotated[
    str,
    typer.Option(
        metavar="POOL",
        help="The pool to judge against the baseline. For a test of the test, slower:10 is v2 with 10 % more latency.",
    ),
]
ClientsOption = Annotated[
    int | None,
    typer.Option(help="Client threads, 1 to 1024. Default: the number of workers; with an open load, 8 times as many."),
]
LoadOption = Annotated[
    str | None,
    typer.Option(
        metavar="LOAD",
        help="When calls are made: closed (each client calls again at once), or an open "
        "load at a RATE in calls per second: constant:RATE, poisson:RATE, ramp:RATE:RATE, bursts:CALLS:EVERY_S.",
    ),
]
Budgets = Annotated[
    list[str] | None,
    typer.Option(
        "--budget",
        metavar="BUDGET",
        help="A limit that a figure must keep, such as 'v2.p99 / v1.p99 < 1.10 @95%'. May be repeated.",
    ),
]
CallOption = Annotated[
    str | None,
    typer.Option(
        metavar="CALL", help=f"A worker command and its arguments to time instead of scenarios. Default: {DEFAULT_CALL}"
    ),
]
Rounds = Annotated[
    int | None,
    typer.Option(
        help="The number of measuring rounds; each round times every pool once. Default: as the profile says."
    ),
]
BlockSeconds = Annotated[
    float | None, typer.Option(help="The length of one timed block in seconds. Default: as the profile says.")
]
Margin = Annotated[
    float | None,
    typer.Option(
        help="The largest slowdown that still counts as 'no worse', as a fraction. Default: 0.05, which is 5 %."
    ),
]
ServiceTimes = Annotated[
    bool,
    typer.Option(
        "--service-times",
        help="Also measure service times and waiting times. They need an observer, so they get additional rounds.",
    ),
]
UntilWidth = Annotated[
    float | None,
    typer.Option(help="Stop early once half the interval of every ratio is narrower than this fraction (0.02 is 2 %)."),
]
