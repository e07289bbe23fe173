"""The command `simulate`: V2 in virtual time, from seeds, with scripted workers and injected faults."""

from __future__ import annotations

from typing import Annotated

import typer

from poolproof.harness.cli.commands.options import Quiet, parse_duration
from poolproof.harness.cli.output import say
from poolproof.harness.model.errors import UsageError
from poolproof.harness.simulation.command import numbers, simulate
from poolproof.harness.simulation.shrinking import Cut

LONGEST_S = 7 * 24 * 3600.0
LARGEST_SEED = 2**53

SeedOption = Annotated[
    int | None,
    typer.Option(help="The first seed, 0 to 9007199254740992; a fresh one if not given. Alone: only this seed."),
]
ForOption = Annotated[
    str | None,
    typer.Option(
        "--for", metavar="DURATION", help="Simulate for this much real time, such as 60s, 5m or 1h. Default: 10s."
    ),
]
CallsOption = Annotated[int | None, typer.Option(help="Simulate at least this many calls, 1 to 1000000000.")]
Ops = Annotated[
    str | None, typer.Option(metavar="N,N", help="Replay --seed with only these operations of its plan, by number.")
]
Starts = Annotated[
    str, typer.Option(metavar="N,N", help="With --ops: only these faults at starts of workers, by number.")
]
Deaths = Annotated[str, typer.Option(metavar="N,N", help="With --ops: only these deaths of workers, by number.")]
Plain = Annotated[
    str,
    typer.Option(metavar="NAME,NAME", help="With --ops: leave these options of the pool at their defaults, by name."),
]


def simulate_command(
    seed: SeedOption = None,
    for_: ForOption = None,
    calls: CallsOption = None,
    ops: Ops = None,
    starts: Starts = "-",
    deaths: Deaths = "-",
    plain: Plain = "-",
    quiet: Quiet = False,
) -> int:
    """Run the code of pool v2 under a seeded scheduler in virtual time, and check its guarantees.

    Exit code 1 if a guarantee was broken: the command prints the seed, the smallest plan that still breaks the
    guarantee, and the command line that replays the plan.
    """
    if seed is not None and not 0 <= seed <= LARGEST_SEED:
        raise UsageError(f"--seed {seed}: from 0 to {LARGEST_SEED}")
    if calls is not None and not 1 <= calls <= 10**9:
        raise UsageError(f"--calls {calls}: from 1 to {10**9}")
    if ops is not None and seed is None:
        raise UsageError("--ops needs --seed, whose plan it reduces")
    cut = None
    if ops is not None:
        kept = () if plain == "-" else tuple(plain.split(","))
        cut = Cut(
            tuple(_numbers("--ops", ops)),
            tuple(_numbers("--starts", starts)),
            tuple(_numbers("--deaths", deaths)),
            kept,
        )
    return simulate(
        seed=seed,
        seconds=None if for_ is None else parse_duration("--for", for_, most_s=LONGEST_S),
        calls=calls,
        cut=cut,
        say=(lambda _: None) if quiet else say,
    )


def _numbers(option: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(numbers(text))
    except ValueError:
        raise UsageError(f"{option} {text!r}: must be whole numbers with commas between them, or - for none") from None
