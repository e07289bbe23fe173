"""Many sessions: every one that was filled in expires, in holds of bounded size, and the pool forgets its own."""

from __future__ import annotations

import pytest

from benchmarks.blocks import BenchError
from benchmarks.effort import Effort
from benchmarks.experiments import sessions
from benchmarks.experiments.sessions import GONE, TTL_NS, expire, fill, timed_s
from poolproof.pool_v2.core.sessions import SessionTable
from poolproof.pool_v2.running.housekeeper import EXPIRED_AT_ONCE


def test_all_sessions_expire_a_few_at_a_time() -> None:
    table = SessionTable(has_worker=lambda _: False)
    fill(table, 3 * EXPIRED_AT_ONCE)
    assert len(expire(table, TTL_NS + EXPIRED_AT_ONCE - 1)) == 2, "the first are due, and then one look finds none"
    assert len(table) == 2 * EXPIRED_AT_ONCE
    expire(table, TTL_NS + 3 * EXPIRED_AT_ONCE)
    assert len(table) == 0


def test_the_experiment_has_a_row_for_the_table_and_one_for_the_pool(tiny: Effort) -> None:
    result = sessions.sessions(tiny)
    table, pool = result.rows
    assert (table.samples, table.condition) == (2, "500 sessions")
    assert all(table.metrics[name] > 0 for name in ("begin_us", "expiry_us", "longest_hold_ms", "forget_worker_us"))
    assert pool.metrics["longest_call_ms"] >= pool.metrics["call_p99_ms"] > 0
    assert [goal.limit for goal in result.goals] == [1.0, 1.0]


def test_sessions_that_do_not_expire_are_an_error(tiny: Effort, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "LIVING", GONE)
    with pytest.raises(BenchError, match="500 of 500 sessions did not expire"):
        sessions.sessions(tiny)


def test_a_step_is_timed_in_seconds() -> None:
    assert 0 <= timed_s(int) < 60
