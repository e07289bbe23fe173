"""Start-up: the time from a new pool until N workers can answer."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.pool import Pool
from multiprocessing.synchronize import Semaphore

from benchmarks.blocks import BenchError, middle, orders, paired
from benchmarks.effort import Effort, Limit
from benchmarks.records import Result, Row, judge
from benchmarks.systems import config, forking, has_zygote
from poolproof.harness.history.stats import quantile
from poolproof.pool_v1 import PoolV1
from poolproof.pool_v2 import PoolV2

GOAL_MS = 60.0
READY_TIMEOUT_S = 30.0
NO_ZYGOTE = "this version of V2 has no zygote"
Opened = Callable[[int], AbstractContextManager[object]]
"""Starts N workers, enters when all of them are ready, and exits when all of them have ended."""
Starter = Callable[[int], float]
"""Starts N workers, ends them, and returns how many milliseconds it took until all were ready."""
COLD, WARM = "V2, cold zygote", "V2, warm zygote"


def timed(opened: Opened) -> Starter:
    """A starter that counts from the constructor on."""

    def start(workers: int) -> float:
        began = time.perf_counter()
        with opened(workers):
            return (time.perf_counter() - began) * 1000

    return start


def v2_warm_zygote(workers: int) -> float:
    """V2 with a warm zygote: one worker is running, and the zygote then forks `workers` more."""
    with PoolV2(config(workers=workers + 1, lazy=True, zygote=True)) as pool:
        pool.warm_up(1)
        began = time.perf_counter()
        pool.warm_up()
        return (time.perf_counter() - began) * 1000


@contextmanager
def v2_cold_zygote(workers: int) -> Iterator[PoolV2]:
    """V2 with a zygote that must be started first."""
    with PoolV2(config(workers=workers, zygote=True)) as pool:
        pool.warm_up()
        yield pool


@contextmanager
def v2_spawn(workers: int) -> Iterator[PoolV2]:
    """V2 without a zygote: each worker is a new interpreter."""
    with PoolV2(config(workers=workers, zygote=False)) as pool:
        pool.warm_up()
        yield pool


@contextmanager
def v1(workers: int) -> Iterator[PoolV1]:
    """V1, which starts one worker after another."""
    with PoolV1(config(workers=workers, call_timeout_s=READY_TIMEOUT_S)) as pool:
        pool.warm_up()
        yield pool


@contextmanager
def process_pool_executor(workers: int) -> Iterator[ProcessPoolExecutor]:
    """ProcessPoolExecutor with its default start method; each worker signals its start."""
    context = multiprocessing.get_context()
    begun = context.Semaphore(0)
    with forking(), ProcessPoolExecutor(workers, mp_context=context, initializer=begun.release) as pool:
        for _ in range(workers):
            pool.submit(int)
        _await(begun, workers)
        yield pool


@contextmanager
def multiprocessing_pool(
    workers: int, *, initializer: Callable[..., object] = int, initargs: tuple[object, ...] = ()
) -> Iterator[Pool]:
    """multiprocessing.Pool with its default start method; each worker signals its start."""
    context = multiprocessing.get_context()
    begun = context.Semaphore(0)
    with forking():
        pool = context.Pool(workers, _begin, (begun, initializer, initargs))
        try:
            _await(begun, workers)
            yield pool
        finally:
            pool.terminate()
            pool.join()


def _begin(begun: Semaphore, initializer: Callable[..., object], initargs: tuple[object, ...]) -> None:
    initializer(*initargs)
    begun.release()


OPENED: dict[str, Opened] = {
    "V1": v1,
    "V2": v2_spawn,
    "ProcessPoolExecutor": process_pool_executor,
    "multiprocessing.Pool": multiprocessing_pool,
}


def starters() -> dict[str, Starter]:
    """All ways to start workers, by name; the zygote's only if this version of V2 has one."""
    found = {name: timed(opened) for name, opened in OPENED.items()}
    return found | ({COLD: timed(v2_cold_zygote), WARM: v2_warm_zygote} if has_zygote() else {})


def start_up(effort: Effort, chosen: Mapping[str, Starter] | None = None) -> Result:
    """Measure the time until `start_workers` workers are ready, with the starters in random order in each round."""
    chosen = starters() if chosen is None else chosen
    took: dict[str, list[float]] = {name: [] for name in chosen}
    limit = Limit(effort.limit_s)
    for step, order in enumerate(orders(chosen, effort.starts, effort.seed)):
        if not limit.allows(step):
            break
        for name in order:
            took[name].append(chosen[name](effort.start_workers))
    best = WARM if WARM in took else "V2"
    rows = tuple(
        Row(
            condition=f"{effort.start_workers} workers",
            system=name,
            samples=len(times),
            metrics={"median_ms": quantile(times, 0.5), "largest_ms": max(times)},
            v2_ratio=None if name == best else paired(times, took[best]),
        )
        for name, times in took.items()
    )
    figure = middle(took[best], seed=effort.seed)
    return Result(
        experiment="start-up",
        title=f"Until {effort.start_workers} workers are ready (ratio: time of {best} over this)",
        rows=rows,
        goals=(judge(f"{effort.start_workers} workers ready, {best} (ms)", figure, at_most=GOAL_MS),),
        notes=(() if best == WARM else (NO_ZYGOTE,)) + limit.notes(len(took[best]), effort.starts),
    )


def _await(begun: Semaphore, workers: int) -> None:
    end = time.monotonic() + READY_TIMEOUT_S
    for number in range(workers):
        if not begun.acquire(timeout=max(end - time.monotonic(), 0)):
            raise BenchError(f"{number} of {workers} workers began within {READY_TIMEOUT_S:.0f} s")
