"""Replacement: the time from the kill of a worker until the pool has all of its workers ready again."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing.queues import SimpleQueue

import psutil

from benchmarks.blocks import BenchError, middle
from benchmarks.effort import Effort, Limit
from benchmarks.experiments import readiness
from benchmarks.records import Result, Row, judge
from benchmarks.systems import config, has_zygote
from poolproof.bridge import Event, EventKind, WorkerCrashed
from poolproof.bridge.clock import now_ns
from poolproof.harness.history.stats import quantile
from poolproof.pool_v2 import PoolV2

GOAL_MS = 5.0
LANDING_TIMEOUT_S = 20.0
LONG_S = 3600.0
POLL_S = 0.0005
SEND_S = 0.01
"""After this many seconds a leased worker has its request."""
OBSERVED = "these pools of V2 have an observer, which hears when a worker is ready"


class GuardrailMetrics:
    """An observer that records when each worker became ready."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._ready: list[int] = []

    def __call__(self, event: Event) -> None:
        """Record the time if a worker became ready."""
        if event.kind is EventKind.READY:
            with self._changed:
                self._ready.append(event.at_ns)
                self._changed.notify_all()

    def ready_since(self, at_ns: int) -> int:
        """The first time after `at_ns` at which a worker became ready. Raises BenchError if there is none in time."""

        def late() -> list[int]:
            return [when for when in self._ready if when >= at_ns]

        with self._changed:
            if not self._changed.wait_for(late, LANDING_TIMEOUT_S):
                raise BenchError(f"no worker was ready within {LANDING_TIMEOUT_S:.0f} s of a kill")
            return min(late())


def replacement(effort: Effort) -> Result:
    """Measure the time from SIGKILL until the pool is full again, for an idle and a busy worker and other pools."""
    rows: list[Row] = []
    goals = []
    limit = Limit(effort.limit_s, least=2)
    variants = {"V2": False, "V2, zygote": True} if has_zygote() else {"V2": False}
    best = list(variants)[-1]
    for name, zygote in variants.items():
        metrics = GuardrailMetrics()
        with PoolV2(config(workers=effort.workers, zygote=zygote), observer=metrics) as pool:
            pool.warm_up()
            for condition, kill in (("idle worker", kill_idle), ("busy worker", kill_busy)):
                times = _repeat(partial(kill, pool, metrics), effort.repeats, limit)
                rows.append(_row(condition, name, times))
                if name == best:
                    figure = middle(times, seed=effort.seed)
                    goals.append(judge(f"replacement of a killed {condition}, {best} (ms)", figure, at_most=GOAL_MS))
    few = max(effort.repeats // 5, 2)
    rebuilt = _repeat(partial(rebuild_executor, effort.workers), few, limit)
    rows.append(_row("idle worker, all are started anew", "ProcessPoolExecutor", rebuilt))
    refilled = _repeat(partial(refill_multiprocessing, effort.workers), few, limit)
    rows.append(_row("busy worker, a process is there again", "multiprocessing.Pool", refilled))
    notes = (OBSERVED,) if has_zygote() else (OBSERVED, readiness.NO_ZYGOTE)
    cut = ("the time limit ended it before all repeats",) if limit.cut else ()
    return Result(
        experiment="replacement",
        title=f"From SIGKILL until {effort.workers} workers are ready again",
        rows=tuple(rows),
        goals=tuple(goals),
        notes=notes + cut,
    )


def kill_idle(pool: PoolV2, metrics: GuardrailMetrics) -> float:
    """Kill an idle worker by SIGKILL; return the milliseconds until its replacement is ready."""
    serve_once(pool)
    victim = next(worker.pid for worker in pool.status().workers if worker.state == "idle")
    at_ns = now_ns()
    os.kill(victim, signal.SIGKILL)
    return _until_full(pool, metrics, at_ns)


def serve_once(pool: PoolV2) -> None:
    """Let each worker serve a call: after several ends of workers that have served nothing, V2 delays starts."""
    for _ in pool.status().workers:  # the worker that has been idle longest serves next
        pool.execute("echo", {"value": None})


def kill_busy(pool: PoolV2, metrics: GuardrailMetrics) -> float:
    """Kill a worker in the middle of a call; return the milliseconds until its replacement is ready.

    Raises BenchError if the client of the call does not get WorkerCrashed.
    """
    serve_once(pool)
    errors: list[BaseException] = []

    def call() -> None:
        try:
            pool.execute("sleep", {"seconds": LONG_S}, timeout_s=LONG_S)
        except WorkerCrashed as error:
            errors.append(error)

    client = threading.Thread(target=call, daemon=True)
    client.start()
    victim = _leased(pool)
    time.sleep(SEND_S)
    at_ns = now_ns()
    os.kill(victim, signal.SIGKILL)
    took = _until_full(pool, metrics, at_ns)
    client.join(LANDING_TIMEOUT_S)
    if not errors:
        raise BenchError("the client of a killed worker was not told WorkerCrashed")
    return took


def rebuild_executor(workers: int) -> float:
    """Kill a worker of a ProcessPoolExecutor, which breaks it; return the time until a new one has all its workers."""
    with readiness.process_pool_executor(workers) as pool:
        victim = next(iter(pool._processes))  # it has no public way to list its workers
        began = time.perf_counter()
        os.kill(victim, signal.SIGKILL)
        try:
            pool.submit(time.sleep, LONG_S).result(LANDING_TIMEOUT_S)
        except BrokenProcessPool:
            pass
        with readiness.process_pool_executor(workers):
            return (time.perf_counter() - began) * 1000


def refill_multiprocessing(workers: int) -> float:
    """Kill a worker of multiprocessing.Pool, which polls for dead workers; return the time until the pool has as many
    children as before.

    The victim is busy: an idle worker may hold the queue's lock, and killing it blocks the whole pool, `terminate`
    included. The victim's task is lost for ever; that is not counted here.
    """
    context = multiprocessing.get_context()
    pids = context.SimpleQueue()
    with readiness.multiprocessing_pool(workers, initializer=_remember, initargs=(pids,)) as pool:
        pool.apply_async(_tell_and_sleep)
        victim = pids.get()
        others = _living() - {victim}
        began = time.perf_counter()
        os.kill(victim, signal.SIGKILL)
        while not _living() - others - {victim}:
            if time.perf_counter() - began > LANDING_TIMEOUT_S:
                raise BenchError("multiprocessing.Pool did not replace its worker")
            time.sleep(POLL_S)
        return (time.perf_counter() - began) * 1000


_pids: SimpleQueue[int] | None = None


def _remember(pids: SimpleQueue[int]) -> None:
    global _pids
    _pids = pids


def _tell_and_sleep() -> None:
    assert _pids is not None
    _pids.put(os.getpid())
    time.sleep(LONG_S)


def _living() -> set[int]:
    living = set()
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):  # reaped since it was listed
            if child.status() != psutil.STATUS_ZOMBIE:
                living.add(child.pid)
    return living


def _leased(pool: PoolV2) -> int:
    end = time.monotonic() + LANDING_TIMEOUT_S
    while time.monotonic() < end:
        for worker in pool.status().workers:
            if worker.state == "leased":
                return worker.pid
        time.sleep(POLL_S)
    raise BenchError(f"no worker was leased within {LANDING_TIMEOUT_S:.0f} s of a call")


def _until_full(pool: PoolV2, metrics: GuardrailMetrics, at_ns: int) -> float:
    ready_ns = metrics.ready_since(at_ns)
    end = time.monotonic() + LANDING_TIMEOUT_S
    target = pool.status().target
    while sum(worker.state == "idle" for worker in pool.status().workers) < target:
        if time.monotonic() > end:
            raise BenchError(f"the pool did not reach its {target} workers again")
        time.sleep(POLL_S)
    return (ready_ns - at_ns) / 1e6


def _repeat(once: Callable[[], float], times: int, limit: Limit) -> list[float]:
    found: list[float] = []
    while len(found) < times and limit.allows(len(found)):
        found.append(once())
    return found


def _row(condition: str, system: str, times: list[float]) -> Row:
    metrics = {"median_ms": quantile(times, 0.5), "p95_ms": quantile(times, 0.95), "largest_ms": max(times)}
    return Row(condition=condition, system=system, samples=len(times), metrics=metrics)
