"""Rounds of blocks on several systems; the blocks of a round share the machine's drift and are those of harness/bench.

Knows nothing of pools: a system is opened with a number of workers and gives one function to call.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from benchmarks.effort import Limit
from benchmarks.records import Figure
from poolproof.harness.bench.block import Block
from poolproof.harness.bench.generator import Client, make_clients, run_block
from poolproof.harness.history.stats import paired_ratio
from poolproof.harness.model.errors import RunError
from poolproof.harness.model.workload import Step

Execute = Callable[[str, dict[str, Any]], Any]
"""`execute(command, args)` returns the answer of one of the system's workers. Any thread may call it."""
System = Callable[[int], AbstractContextManager[Execute]]
"""Opens a system with the given number of ready workers, and yields its `execute`."""
ECHO = Step(command="echo", args={"value": "x" * 24})
"""A request of about 140 bytes on the wire. Each request has its own number in its value."""
JOIN_TIMEOUT_S = 60.0
WARM_UP_S = 0.25


class BenchError(Exception):
    """A figure could not be measured; the message gives the reason."""


class MissingPeer(BenchError):
    """The package of this system is not installed."""


def orders(names: Iterable[str], rounds: int, seed: int) -> list[list[str]]:
    """For each round, all names in random order, drawn from the seed."""
    draw = random.Random(f"order/{seed}")
    found = []
    for _ in range(rounds):
        order = list(names)
        draw.shuffle(order)
        found.append(order)
    return found


def measure_blocks(
    systems: Mapping[str, Execute],
    *,
    clients: int,
    rounds: int,
    seconds: float,
    seed: int,
    limit: Limit,
    step: Step = ECHO,
    warm_s: float = WARM_UP_S,
    **options: Any,  # noqa: ANN401 - those of run_block
) -> dict[str, list[Block]]:
    """Measure `rounds` blocks of each system, in random order within a round; `options` are those of `run_block`.

    Raises BenchError if a call fails, or if an answer belongs to another request.
    """
    calling = {name: make_clients(execute, ((step,),) * clients) for name, execute in systems.items()}
    for name, made in calling.items():  # a system's first calls are never counted
        _block(name, made, max(seconds, warm_s), options)
    found: dict[str, list[Block]] = {name: [] for name in systems}
    for number, order in enumerate(orders(systems, rounds, seed)):
        if not limit.allows(number):
            break
        for name in order:
            found[name].append(_block(name, calling[name], seconds, options))
    return found


def _block(name: str, clients: tuple[Client, ...], seconds: float, options: Mapping[str, Any]) -> Block:
    try:
        block = run_block(clients, arm=name, seconds=seconds, **options)
    except RunError as error:
        raise BenchError(str(error)) from error
    if block.failure:
        raise BenchError(f"{name}: {block.failure}")
    if block.doubtful:
        raise BenchError(f"{name}: a wrong answer: {block.doubtful[0]}")
    return block


def open_all(
    stack: ExitStack, systems: Mapping[str, System], workers: int
) -> tuple[dict[str, Execute], tuple[str, ...]]:
    """Open every installed system, one after another, and call each once; return them, and notes on the missing ones.

    Each system is idle before the next is opened, since some of them fork this process.
    """
    found: dict[str, Execute] = {}
    notes: list[str] = []
    for name, system in systems.items():
        try:
            found[name] = stack.enter_context(system(workers))
        except MissingPeer as error:
            notes.append(f"{name}: {error}")
            continue
        found[name](ECHO.command, ECHO.args)
    return found, tuple(notes)


def ratio_of_rates(baseline: list[Block], candidate: list[Block]) -> Figure:
    """candidate / baseline in calls per second, paired round by round."""
    return paired([block.throughput for block in baseline], [block.throughput for block in candidate])


def paired(baseline: list[float], candidate: list[float]) -> Figure:
    """candidate / baseline over the rounds that both have."""
    ratio = paired_ratio(baseline, candidate)
    return Figure(ratio.ratio, ratio.low, ratio.high)


def middle(values: list[float], *, seed: int, resamples: int = 2000) -> Figure:
    """The median of `values`, with the ends of its 95 % percentile bootstrap interval; needs no pairs."""
    import numpy as np

    sample = np.asarray(values, dtype=float)
    draws = np.random.default_rng(seed).integers(0, len(sample), size=(resamples, len(sample)))
    low, high = np.quantile(np.median(sample[draws], axis=1), [0.025, 0.975])
    return Figure(float(np.median(sample)), float(low), float(high))
