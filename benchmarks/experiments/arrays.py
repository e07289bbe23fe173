"""Arrays: an echo of a numpy array by each executor, and many small calls by `map`."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib.util import find_spec
from typing import Any

import msgspec

from benchmarks.blocks import BenchError, MissingPeer, orders, paired
from benchmarks.effort import MB, Effort, Limit
from benchmarks.records import Figure, Goal, Result, Row, judge
from benchmarks.systems import ANSWER_TIMEOUT_S, echo, forking, require
from poolproof.harness.history.stats import quantile
from poolproof.pool_v2.executor.executor import PoolExecutor

OURS, STANDARD, MEMCPY = "PoolExecutor", "ProcessPoolExecutor", "memcpy there and back"
GOALS = {1_000: 0.6, 100_000: 0.5, 1 * MB: 0.3, 16 * MB: 0.2, 100 * MB: 0.2}
"""For each size in bytes, the most that an echo by OURS may take, as a part of what it takes by STANDARD."""
MAP_GOAL = 0.33
BLOCK_S = 0.03
"""A block has as many echoes as fit into this time, at least one."""


class Executor(msgspec.Struct, frozen=True):
    """An open system. `echo` sends an array to a worker and returns the worker's copy.

    `map` calls `echo` of `benchmarks.systems` for each number, one call each; None if the system is not measured so.
    """

    echo: Callable[[Any], Any]
    map: Callable[[range], list[Any]] | None = None


System = Callable[[int], AbstractContextManager[Executor]]


@contextmanager
def process_pool_executor(workers: int) -> Iterator[Executor]:
    """concurrent.futures.ProcessPoolExecutor, with its default start method."""
    with forking(), ProcessPoolExecutor(workers) as pool:
        yield Executor(lambda array: pool.submit(echo, array).result(), lambda numbers: list(pool.map(echo, numbers)))


@contextmanager
def multiprocessing_pool(workers: int) -> Iterator[Executor]:
    """multiprocessing.Pool, with its default start method."""
    with forking(), multiprocessing.Pool(workers) as pool:
        yield Executor(lambda array: pool.apply(echo, (array,)), lambda numbers: pool.map(echo, numbers, chunksize=1))


@contextmanager
def loky(workers: int) -> Iterator[Executor]:
    """loky's executor."""
    pool = require("loky").ProcessPoolExecutor(workers, timeout=None)
    try:
        yield Executor(lambda array: pool.submit(echo, array).result(ANSWER_TIMEOUT_S))
    finally:
        pool.shutdown(wait=True, kill_workers=True)


@contextmanager
def joblib(workers: int) -> Iterator[Executor]:
    """joblib on loky: it passes an array of more than 1 MB to its workers as a file that they map."""
    if not find_spec("joblib"):
        raise MissingPeer("not installed")
    module = require("joblib")
    with module.Parallel(n_jobs=workers) as parallel:
        yield Executor(lambda array: parallel([module.delayed(echo)(array)])[0])
    require("joblib.externals.loky").get_reusable_executor().shutdown(wait=True, kill_workers=True)


@contextmanager
def pool_executor(workers: int) -> Iterator[Executor]:
    """V2's executor."""
    with PoolExecutor(workers) as pool:
        pool.pool.warm_up()
        yield Executor(lambda array: pool.submit(echo, array).result(), lambda numbers: list(pool.map(echo, numbers)))


@contextmanager
def memcpy(_: int) -> Iterator[Executor]:
    """Two copies in this process: no two processes without shared memory can be faster."""
    yield Executor(lambda array: array.copy().copy())


SYSTEMS: dict[str, System] = {
    STANDARD: process_pool_executor,
    "multiprocessing.Pool": multiprocessing_pool,
    "loky": loky,
    "joblib": joblib,
    OURS: pool_executor,
    MEMCPY: memcpy,
}
"""In the order in which they are opened: systems that may fork this process come first."""


def arrays(effort: Effort, systems: Mapping[str, System] | None = None) -> Result:
    """Time an echo of 1 kB to 100 MB by one client, and `map` of small calls, by each installed system in turn."""
    rows: list[Row] = []
    goals: list[Goal] = []
    notes: tuple[str, ...] = ()
    limit = Limit(effort.limit_s)
    with ExitStack() as stack:
        opened: dict[str, Executor] = {}
        for name, system in (SYSTEMS if systems is None else systems).items():
            try:
                opened[name] = stack.enter_context(system(effort.array_workers))
            except MissingPeer as error:
                notes += (f"{name}: {error}",)
        for size in (size for size in GOALS if size <= effort.largest_array_bytes):
            works = {name: echoing(name, executor, size) for name, executor in opened.items()}
            found = in_turn(works, rounds=effort.transfer_rounds, seed=effort.seed + size, limit=limit)
            condition = f"{size // MB} MB" if size >= MB else f"{size // 1000} kB"
            rows += _rows(condition, found)
            goals.append(_goal(f"echo of an array of {condition}, {OURS} / {STANDARD} (time)", found, GOALS[size]))
        works = {name: mapping(name, each.map, effort.mapped_calls) for name, each in opened.items() if each.map}
        found = in_turn(works, rounds=effort.transfer_rounds, seed=effort.seed, limit=limit)
        condition = f"map of {effort.mapped_calls:,} small calls"
        rows += _rows(condition, found)
        goals.append(_goal(f"{condition}, {OURS} / {STANDARD} (time)", found, MAP_GOAL))
    return Result(
        experiment="arrays",
        title=f"Arrays by executors, 1 client, {effort.array_workers} workers (ratio: time of {OURS} over this)",
        rows=tuple(rows),
        goals=tuple(goals),
        notes=notes + limit.notes(min(row.samples for row in rows), effort.transfer_rounds),
    )


def echoing(name: str, executor: Executor, size_bytes: int) -> Callable[[], float]:
    """Return what echoes an array of `size_bytes` for about BLOCK_S and returns the mean of its times, in seconds.

    Raises BenchError if a copy differs from the array.
    """
    import numpy as np

    array = np.random.default_rng(size_bytes).random(size_bytes // 8)

    def block() -> float:
        calls, began_s = 0, time.perf_counter()
        while not calls or time.perf_counter() < began_s + BLOCK_S:
            copy = executor.echo(array)
            calls += 1
        took_s = (time.perf_counter() - began_s) / calls
        if copy is array or not np.array_equal(copy, array):
            raise BenchError(f"{name}: an array of {size_bytes} bytes came back changed, or was not copied")
        return took_s

    return block


def mapping(name: str, work: Callable[[range], list[Any]], calls: int) -> Callable[[], float]:
    """Return what maps `calls` numbers once and returns its time in seconds. Raises BenchError for a wrong result."""

    def block() -> float:
        began_s = time.perf_counter()
        found = work(range(calls))
        took_s = time.perf_counter() - began_s
        if found != list(range(calls)):
            raise BenchError(f"{name}: a wrong result of `map`")
        return took_s

    return block


def in_turn(
    works: Mapping[str, Callable[[], float]], *, rounds: int, seed: int, limit: Limit
) -> dict[str, list[float]]:
    """Run each work once in each round, in random order. Returns the times; a first run of each does not count."""
    for work in works.values():
        work()
    found: dict[str, list[float]] = {name: [] for name in works}
    for number, order in enumerate(orders(works, rounds, seed)):
        if not limit.allows(number):
            break
        for name in order:
            found[name].append(works[name]())
    return found


def _rows(condition: str, found: Mapping[str, list[float]]) -> list[Row]:
    return [
        Row(
            condition=condition,
            system=name,
            samples=len(times),
            metrics={"median_us": quantile(times, 0.5) * 1e6},
            v2_ratio=None if name == OURS else _ratio(found, name),
        )
        for name, times in found.items()
    ]


def _goal(name: str, found: Mapping[str, list[float]], at_most: float) -> Goal:
    return judge(name, _ratio(found, STANDARD), at_most=at_most)


def _ratio(found: Mapping[str, list[float]], name: str) -> Figure | None:
    return paired(found[name], found[OURS]) if name in found and OURS in found else None
