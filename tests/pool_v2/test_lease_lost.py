"""G26: a lease that its client left behind is found, told with its checkout's place, and its worker replaced once."""

from __future__ import annotations

import _thread
import gc
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from poolproof.bridge import EventKind
from poolproof.pool_v2 import Ok, PoolV2, Remove
from poolproof.pool_v2.calls import leases
from poolproof.pool_v2.core import coordinator
from poolproof.pool_v2.running import housekeeper

MakePool = Callable[..., PoolV2]
K = EventKind


@pytest.fixture(autouse=True)
def quick_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for lost leases more often than a pool does by itself."""
    monkeypatch.setattr(housekeeper, "BEAT_NS", 50_000_000)
    monkeypatch.setattr(leases, "HEARTBEAT_NS", 50_000_000)
    monkeypatch.setattr(coordinator, "HEARTBEAT_NS", 50_000_000)


@pytest.fixture
def reclaimed(
    make_pool: MakePool, spy: Any, log: Any, caplog: pytest.LogCaptureFixture, all_idle: Any
) -> Callable[..., None]:
    """Let a lease be lost in some way; fails unless its worker is replaced once and everybody concerned is told."""

    def check(lose: Callable[[PoolV2], object], *, what: str) -> None:
        spied = spy()
        pool = make_pool(log, spied, workers=2)
        pool.warm_up()
        spawned = len(log.of(K.SPAWN))
        with caplog.at_level(logging.WARNING, logger="poolproof.pool_v2"):
            kept = lose(pool)
            assert spied.wait_for("terminate_worker") == ("down", None)
            assert spied.wait_for("cancelled") == ("checked_out", None)
        all_idle(pool, 2)
        assert len(log.of(K.SPAWN)) == spawned + 1
        assert len(spied.of("terminate_worker")) == 1
        assert [e.detail for e in log.of(K.KILL)] == ["abandoned"]
        (record,) = [record for record in caplog.records if record.name == "poolproof.pool_v2.running.housekeeper"]
        assert what in record.getMessage()
        assert f"test_lease_lost.py:{here_of(lose)}" in record.getMessage()
        assert pool._engine.open.by_call == {}
        assert [pool.execute("echo", {"value": n}) for n in range(4)] == list(range(4))
        del kept

    return check


def test_a_lease_that_got_its_worker_at_the_second_attempt_is_found_too(
    make_pool: MakePool, spy: Any, until: Any, all_idle: Any
) -> None:
    answers = iter([Remove("unfit")])
    pool = make_pool(behaviour=spy(checkout=lambda _, state, __: next(answers, Ok(state))), workers=2)
    pool.warm_up()
    lease = pool.checkout()
    housekeeping = pool._engine.housekeeper
    for _ in range(2):  # so that the record of the first attempt was looked at
        looked = housekeeping._next_beat_ns
        until(lambda looked=looked: housekeeping._next_beat_ns > looked, "it has looked around")
    del lease
    all_idle(pool, 2)


def here_of(lose: Callable[..., object]) -> int:
    """The line of a function's checkout, which is its first."""
    return lose.__code__.co_firstlineno + 1


def test_a_lease_whose_thread_has_ended_is_found(reclaimed: Any, client: Any) -> None:
    kept: list[Any] = []

    def check_out(pool: PoolV2) -> None:
        kept.append(pool.checkout())
        assert kept[-1].execute("echo", {"value": 1}) == 1
        if threading.current_thread() is threading.main_thread():
            raise AssertionError("meant for a thread of its own")

    def lose(pool: PoolV2) -> None:
        client(check_out, pool).result()

    lose.__code__ = lose.__code__.replace(co_firstlineno=check_out.__code__.co_firstlineno)
    reclaimed(lose, what="was not returned before its thread ended")
    assert len(kept) == 1


def test_a_lease_whose_thread_python_did_not_start_is_found_too(reclaimed: Any) -> None:
    kept: list[Any] = []
    done = _thread.allocate_lock()
    done.acquire()

    def check_out(pool: PoolV2) -> None:
        kept.append(pool.checkout())
        done.release()

    def lose(pool: PoolV2) -> None:
        _thread.start_new_thread(check_out, (pool,))
        assert done.acquire(timeout=20)

    lose.__code__ = lose.__code__.replace(co_firstlineno=check_out.__code__.co_firstlineno)
    reclaimed(lose, what="was not returned before its thread ended")


def test_a_lease_that_is_dropped_is_found(reclaimed: Any) -> None:
    def lose(pool: PoolV2) -> None:
        pool.checkout()

    reclaimed(lose, what="was dropped")


def test_a_lease_that_is_dropped_in_a_cycle_is_found(reclaimed: Any) -> None:
    def lose(pool: PoolV2) -> None:
        held: list[Any] = [pool.checkout()]
        held.append(held)
        del held
        gc.collect()

    reclaimed(lose, what="was dropped")


def test_a_lease_that_is_dropped_while_another_thread_has_the_pool_s_lock_is_found(reclaimed: Any, client: Any) -> None:
    taken, release = threading.Event(), threading.Event()

    def lose(pool: PoolV2) -> None:
        lease = pool.checkout()

        def hold_lock() -> None:
            with pool._engine.lock:
                taken.set()
                assert release.wait(20)

        holder = client(hold_lock)
        assert taken.wait(20)
        del lease  # does not wait for the lock, or this would hang
        release.set()
        holder.join()

    reclaimed(lose, what="was dropped")


def test_a_lease_that_is_collected_by_the_very_thread_that_has_the_pool_s_lock_is_found(reclaimed: Any) -> None:
    def lose(pool: PoolV2) -> None:
        cycle: list[Any] = [pool.checkout()]
        cycle.append(cycle)
        del cycle
        with pool._engine.lock:
            gc.collect()

    reclaimed(lose, what="was dropped")


def test_a_lease_that_is_dropped_in_the_middle_of_its_calls_ends_its_worker(
    make_pool: MakePool, log: Any, gone: Any, until: Any, client: Any
) -> None:
    pool = make_pool(log)

    def break_off() -> int:
        worker = pool.checkout()
        pid = worker.pid
        worker.execute("ping")
        return pid

    pid = client(break_off).result()
    until(lambda: gone(pid), "its worker has ended")
    assert pool.execute("pid")["pid"] != pid
    assert pool.status().statistics.outcomes == {"result": 2}


def test_a_lease_that_ended_in_order_is_not_missed(
    make_pool: MakePool, log: Any, caplog: pytest.LogCaptureFixture, client: Any, until: Any
) -> None:
    pool = make_pool(log)

    def use() -> None:
        with pool.checkout() as worker:
            worker.execute("ping")

    with caplog.at_level(logging.WARNING, logger="poolproof.pool_v2"):
        for _ in range(3):
            client(use).join()
        gc.collect()
        looked = pool._engine.housekeeper._next_beat_ns
        with pool.checkout():  # while it is open the pool looks around
            until(lambda: pool._engine.housekeeper._next_beat_ns > looked, "it has looked around")
    assert log.of(K.KILL) == []
    assert [record for record in caplog.records if record.name == "poolproof.pool_v2.running.housekeeper"] == []
