"""Blocks: some clients call one system for a fixed time. Rounds of blocks share the machine's drift.

Knows nothing of pools: a system is opened with a number of workers and gives one function to call.
"""

from __future__ import annotations

import itertools
import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack

import msgspec

from benchmarks.effort import Limit
from benchmarks.records import Figure
from harness.stats import paired_ratio, quantile

Call = Callable[[], object]
System = Callable[[int], AbstractContextManager[Call]]
"""Opens with that many workers, all ready, and yields a call that any thread may make."""
JOIN_TIMEOUT_S = 60.0
WARM_UP_S = 0.25


class BenchError(Exception):
    """A figure could not be taken; the message says why."""


class MissingPeer(BenchError):
    """This system is not installed."""


class Block(msgspec.Struct, frozen=True):
    """One block: what all clients together did in its time. `fairness` is min / max of the calls served a client."""

    calls: int
    seconds: float
    p50_us: float
    fairness: float

    @property
    def rate(self) -> float:
        """Calls a second."""
        return self.calls / self.seconds


def run_block(
    call: Call,
    *,
    clients: int,
    seconds: float,
    lead_s: float = 0.0,
    cpus: frozenset[int] = frozenset(),
    clock: Callable[[], int] = time.perf_counter_ns,
) -> Block:
    """Let `clients` threads call as often as they can; count the calls that end in the `seconds` after `lead_s`.

    The clients run on the processors `cpus`; without any named, wherever the scheduler puts them.
    Raises BenchError for the first call that fails, or when a client is stuck.
    """
    begin = end = 0
    start = threading.Barrier(clients + 1)
    took: list[list[int]] = [[] for _ in range(clients)]
    late: list[tuple[int, int]] = []
    errors: list[Exception] = []

    def work(mine: list[int]) -> None:
        if cpus:
            os.sched_setaffinity(0, cpus)  # of this thread alone
        start.wait()
        before = clock()
        try:
            while True:
                call()
                after = clock()
                if after >= end:
                    late.append((after, after - before))
                    return
                if after >= begin:
                    mine.append(after - before)
                before = after
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(mine,), daemon=True) for mine in took]
    for thread in threads:
        thread.start()
    begin = clock() + int(lead_s * 1e9)
    end = begin + int(seconds * 1e9)
    start.wait()
    limit = time.monotonic() + lead_s + seconds + JOIN_TIMEOUT_S
    for thread in threads:
        thread.join(max(limit - time.monotonic(), 0))
        if thread.is_alive():
            raise BenchError(f"a client was stuck {JOIN_TIMEOUT_S:.0f} s after its block")
    if errors:
        raise BenchError(f"a call raised {type(errors[0]).__name__}: {errors[0]}") from errors[0]
    served = [len(mine) for mine in took]
    if not sum(served):  # every client's one call took longer than the block, which then lasted as long as they
        ends, times = zip(*late, strict=True)
        return Block(clients, (max(ends) - begin) / 1e9, quantile(times, 0.5) / 1000, 1.0)
    all_times = list(itertools.chain.from_iterable(took))
    return Block(sum(served), seconds, quantile(all_times, 0.5) / 1000, min(served) / max(served))


def orders(names: Iterable[str], rounds: int, seed: int) -> list[list[str]]:
    """For each round every name once, in an order of its own, drawn from the seed."""
    draw = random.Random(f"order/{seed}")
    found = []
    for _ in range(rounds):
        order = list(names)
        draw.shuffle(order)
        found.append(order)
    return found


def measure_blocks(
    calls: Mapping[str, Call],
    *,
    clients: int,
    rounds: int,
    seconds: float,
    seed: int,
    limit: Limit,
    cpus: frozenset[int] = frozenset(),
) -> dict[str, list[Block]]:
    """`rounds` blocks of each system, the round in random order, the clients on `cpus`. Raises BenchError."""
    found: dict[str, list[Block]] = {name: [] for name in calls}
    for call in calls.values():  # a system's first calls are never counted
        run_block(call, clients=clients, seconds=max(seconds, WARM_UP_S), cpus=cpus)
    for step, order in enumerate(orders(calls, rounds, seed)):
        if not limit.allows(step):
            break
        for name in order:
            found[name].append(run_block(calls[name], clients=clients, seconds=seconds, cpus=cpus))
    return found


def open_all(stack: ExitStack, systems: Mapping[str, System], workers: int) -> tuple[dict[str, Call], tuple[str, ...]]:
    """Open every system that is installed, one after another, and call each once; also the notes on the missing.

    Each is idle before the next is opened, since some of them fork this process.
    """
    calls: dict[str, Call] = {}
    notes: list[str] = []
    for name, system in systems.items():
        try:
            calls[name] = stack.enter_context(system(workers))
        except MissingPeer as error:
            notes.append(f"{name}: {error}")
            continue
        calls[name]()
    return calls, tuple(notes)


def ratio_of_rates(baseline: list[Block], candidate: list[Block], *, seed: int) -> Figure:
    """candidate / baseline in calls a second, paired round by round."""
    return paired([block.rate for block in baseline], [block.rate for block in candidate], seed=seed)


def paired(baseline: list[float], candidate: list[float], *, seed: int) -> Figure:
    """candidate / baseline over the rounds that both have."""
    ratio = paired_ratio(baseline, candidate, seed=seed)
    return Figure(ratio.ratio, ratio.low, ratio.high)


def middle(values: list[float], *, seed: int, resamples: int = 2000) -> Figure:
    """The median of `values`, with the ends of its 95 % percentile bootstrap interval; needs no pairs."""
    import numpy as np

    sample = np.asarray(values, dtype=float)
    draws = np.random.default_rng(seed).integers(0, len(sample), size=(resamples, len(sample)))
    low, high = np.quantile(np.median(sample[draws], axis=1), [0.025, 0.975])
    return Figure(float(np.median(sample)), float(low), float(high))
