"""Many sessions: the time and the memory that the session table takes for each, and how long it holds its lock."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from functools import partial

import psutil

from benchmarks.blocks import BenchError, middle
from benchmarks.effort import Effort, Limit
from benchmarks.records import Result, Row, judge
from benchmarks.systems import config
from poolproof.harness.history.stats import quantile
from poolproof.pool_v2 import PoolV2
from poolproof.pool_v2.core.sessions import SessionTable
from poolproof.pool_v2.running.housekeeper import EXPIRED_AT_ONCE

EXPIRY_US = 1.0
HOLD_MS = 1.0
TTL_NS = 1_000
TTL_S = 1.0
FORGOTTEN_TIMEOUT_S = 60.0
GONE, LIVING = 1, 2
"""The worker that had the sessions' state, and one that is still there."""


def fill(table: SessionTable, count: int) -> None:
    """Begin `count` sessions that each had one answered call, on the worker that is gone."""
    for number in range(count):
        session = table.begin(f"session-{number}", number)
        session.operations = 1
        session.met(GONE)
        table.release(session, number, number)


def expire(table: SessionTable, now_ns: int) -> list[float]:
    """End all sessions as the housekeeper does, and return the seconds of each hold of the lock.

    They are seconds of this thread's processor time: a hold during which the machine runs something else for a while
    is longer by the clock, and says nothing of the table.
    """
    holds, more = [], True
    while more:
        began = time.thread_time()
        _, more = table.end_expired(TTL_NS, now_ns, EXPIRED_AT_ONCE)
        holds.append(time.thread_time() - began)
    return holds


def timed_s(step: Callable[[], object]) -> float:
    """How many seconds one step takes."""
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


def in_a_pool(count: int) -> tuple[float, list[float]]:
    """Forget `count` sessions of a pool and its workers, beside one client.

    Returns the seconds from the first to the last end, and those of each call of the client.
    """
    took: list[float] = []
    with PoolV2(config(workers=2, session_ttl_s=TTL_S)) as pool:
        for number in range(count):
            pool.execute_in_session(f"session-{number}", "put", {"key": "k", "value": number})
        over = threading.Event()

        def call() -> None:
            while not over.is_set():
                took.append(timed_s(partial(pool.execute, "ping")))
                over.wait(0.002)

        client = threading.Thread(target=call)
        client.start()
        try:
            end = time.monotonic() + FORGOTTEN_TIMEOUT_S
            while pool.status().sessions == count:
                time.sleep(0.001)
            began = time.monotonic()
            while pool.status().sessions:
                if time.monotonic() > end:
                    raise BenchError(f"{pool.status().sessions} of {count} sessions were not forgotten in time")
                time.sleep(0.01)
            return time.monotonic() - began, took
        finally:
            over.set()
            client.join()


def sessions(effort: Effort) -> Result:
    """Measure tables of `effort.sessions` sessions, and a pool that forgets `effort.pool_sessions` of them."""
    count = effort.sessions
    expiry_us: list[float] = []
    hold_ms: list[float] = []
    begin_us: list[float] = []
    forget_us: list[float] = []
    size_bytes: list[float] = []
    limit = Limit(effort.limit_s)
    for step in range(effort.session_rounds):
        if not limit.allows(step):
            break
        gc.collect()
        before = psutil.Process().memory_info().rss
        table = SessionTable(has_worker={LIVING}.__contains__)
        begin_us.append(timed_s(partial(fill, table, count)) / count * 1e6)
        size_bytes.append((psutil.Process().memory_info().rss - before) / count)
        forget_us.append(timed_s(partial(table.forget_worker, GONE)) * 1e6)
        holds = expire(table, 10 * count + TTL_NS)
        if len(table):
            raise BenchError(f"{len(table)} of {count} sessions did not expire")
        expiry_us.append(sum(holds) / count * 1e6)
        hold_ms.append(max(holds) * 1e3)
    forgotten_s, calls_s = in_a_pool(effort.pool_sessions)
    rows = (
        Row(
            condition=f"{count} sessions",
            system="session table",
            samples=len(expiry_us),
            metrics={
                "begin_us": quantile(begin_us, 0.5),
                "expiry_us": quantile(expiry_us, 0.5),
                "longest_hold_ms": quantile(hold_ms, 0.5),
                "forget_worker_us": quantile(forget_us, 0.5),
                "session_bytes": size_bytes[0],  # later tables use memory that the interpreter has kept
            },
        ),
        Row(
            condition=f"{effort.pool_sessions} sessions with state",
            system="V2, 2 workers",
            samples=len(calls_s),
            metrics={
                "forgotten_s": forgotten_s,
                "call_p99_ms": quantile(calls_s, 0.99) * 1e3,
                "longest_call_ms": max(calls_s) * 1e3,
            },
        ),
    )
    return Result(
        experiment="sessions",
        title="Sessions that nobody uses are forgotten",
        rows=rows,
        goals=(
            judge("expiry of a session (µs of processor)", middle(expiry_us, seed=effort.seed), at_most=EXPIRY_US),
            judge("longest hold of the lock (ms of processor)", middle(hold_ms, seed=effort.seed), at_most=HOLD_MS),
        ),
        notes=limit.notes(len(expiry_us), effort.session_rounds),
    )
