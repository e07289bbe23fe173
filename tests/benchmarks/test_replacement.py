"""Replacement: a killed worker is counted until its successor is ready, and its client is told."""

from __future__ import annotations

import threading

import pytest

from benchmarks.blocks import BenchError
from benchmarks.effort import Effort
from benchmarks.experiments import replacement as module
from benchmarks.experiments.replacement import (
    GuardrailMetrics,
    kill_busy,
    kill_idle,
    rebuild_executor,
    refill_multiprocessing,
    replacement,
)
from benchmarks.systems import config
from poolproof.bridge import Event, EventKind
from poolproof.pool_v2 import PoolV2


@pytest.mark.parametrize("kill", [kill_idle, kill_busy])
def test_another_worker_takes_the_place_of_the_killed(kill: object) -> None:
    metrics = GuardrailMetrics()
    with PoolV2(config(workers=2), observer=metrics) as pool:
        pool.warm_up()
        before = {worker.pid for worker in pool.status().workers}
        assert callable(kill)
        took_ms = kill(pool, metrics)
        after = {worker.pid for worker in pool.status().workers}
    assert took_ms > 0
    assert len(before) == len(after) == 2
    assert len(before & after) == 1


def test_the_peers_are_killed_and_start_anew() -> None:
    assert rebuild_executor(2) > 0
    assert refill_multiprocessing(2) > 0


def test_a_row_for_each_condition_and_system(tiny: Effort) -> None:
    result = replacement(tiny)
    systems = {row.system for row in result.rows}
    assert (
        {"V2", "ProcessPoolExecutor", "multiprocessing.Pool"}
        <= systems
        <= {*("V2", "V2, zygote", "ProcessPoolExecutor", "multiprocessing.Pool")}
    )
    assert all(row.samples == 2 and row.metrics["largest_ms"] >= row.metrics["median_ms"] for row in result.rows)
    assert ["idle" in goal.name for goal in result.goals] == [True, False]


def test_a_witness_gives_what_came_after_the_moment_only() -> None:
    metrics = GuardrailMetrics()
    metrics(Event(EventKind.READY, 10, worker=1, pid=101))
    metrics(Event(EventKind.SPAWN, 25, worker=2, pid=102))
    late = threading.Timer(0.01, metrics, [Event(EventKind.READY, 30, worker=2, pid=102)])
    late.start()
    assert metrics.ready_since(20) == 30
    late.join()


def test_a_witness_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LANDING_TIMEOUT_S", 0.05)
    with pytest.raises(BenchError, match="no worker was ready"):
        GuardrailMetrics().ready_since(0)
