"""Deadlines: how late a client gets its CallTimeout, with a worker that sleeps or is stopped."""

from __future__ import annotations

import os
import signal
import threading

from benchmarks.blocks import JOIN_TIMEOUT_S, BenchError
from benchmarks.effort import Effort, Limit
from benchmarks.records import Figure, Goal, Result, Row, judge
from benchmarks.systems import config
from poolproof.bridge import CallTimeout
from poolproof.bridge.clock import now_ns
from poolproof.harness.history.stats import quantile
from poolproof.pool_v2 import PoolV2

TIMEOUTS_S = (0.05, 0.2)
"""The shortest and the longest timeout; the timeouts of a round's clients are spread evenly between them."""
GOAL_MS = 25.0
SLEEP_S = 3600.0


def deadline(effort: Effort) -> Result:
    """Every call ends in CallTimeout; its lateness counts from its begin plus its timeout.

    The latest of all calls decides the goal, since a deadline is a promise to each call.
    """
    rows: list[Row] = []
    goals: list[Goal] = []
    limit = Limit(effort.limit_s)
    for clients in effort.late_clients:
        for condition, stopped in (("sleeps", False), ("is stopped", True)):
            late = _measure(clients, effort, stopped=stopped, limit=limit)
            name = f"{clients} client{'s' * (clients > 1)}, the worker {condition}"
            rows.append(
                Row(
                    condition=name,
                    system="V2",
                    samples=len(late),
                    metrics={"p50_ms": quantile(late, 0.5), "p95_ms": quantile(late, 0.95), "largest_ms": max(late)},
                )
            )
            latest = max(late)
            goals.append(judge(f"latest CallTimeout (ms), {name}", Figure(latest, latest, latest), at_most=GOAL_MS))
    return Result(
        experiment="deadline",
        title=f"Lateness of CallTimeout, timeouts of {TIMEOUTS_S[0] * 1000:.0f} to {TIMEOUTS_S[1] * 1000:.0f} ms",
        rows=tuple(rows),
        goals=tuple(goals),
        notes=("the time limit ended it before all calls",) if limit.cut else (),
    )


def _measure(clients: int, effort: Effort, *, stopped: bool, limit: Limit) -> list[float]:
    late: list[float] = []
    rounds = max(effort.late_calls // clients, 2)
    with PoolV2(config(workers=clients, zygote=True, checkout_timeout_s=SLEEP_S)) as pool:
        for step in range(rounds):
            if not limit.allows(step):
                break
            pool.warm_up()  # each timeout of the last round killed a worker, as it must
            late += one_round(pool, timeouts(clients, step, rounds), stopped=stopped)
    return late


def timeouts(clients: int, step: int, rounds: int) -> list[float]:
    """The timeouts of one round, evenly spread over the clients; for a single client over the rounds."""
    shortest, longest = TIMEOUTS_S
    if clients == 1:
        return [shortest + (longest - shortest) * step / max(rounds - 1, 1)]
    return [shortest + (longest - shortest) * number / (clients - 1) for number in range(clients)]


def one_round(pool: PoolV2, timeouts_s: list[float], *, stopped: bool) -> list[float]:
    """Make one call for each timeout, all at once; return how many milliseconds late each CallTimeout was raised.

    Raises BenchError if a call ends in anything but CallTimeout.
    """
    if stopped:
        for worker in pool.status().workers:
            os.kill(worker.pid, signal.SIGSTOP)
    start = threading.Barrier(len(timeouts_s))
    late: list[float] = []
    errors: list[BaseException] = []

    def call(timeout_s: float) -> None:
        start.wait()
        began = now_ns()
        try:
            pool.execute("sleep", {"seconds": SLEEP_S}, timeout_s=timeout_s)
        except CallTimeout:
            late.append((now_ns() - began) / 1e6 - timeout_s * 1000)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=call, args=(timeout_s,), daemon=True) for timeout_s in timeouts_s]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(JOIN_TIMEOUT_S)
    if errors or len(late) != len(timeouts_s):
        raise BenchError(f"{len(late)} of {len(timeouts_s)} calls ended in CallTimeout; others: {errors!r}")
    return late
