"""Between leases workers come and go: idle ones leave, old and large ones are replaced, unused sessions end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from poolproof.bridge import EventKind
from poolproof.pool_v2 import PoolV2
from poolproof.pool_v2.running import housekeeper

MakePool = Callable[..., PoolV2]
K = EventKind
MIB = 2**20


@pytest.fixture(autouse=True)
def quick_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look around more often than a pool does by itself."""
    monkeypatch.setattr(housekeeper, "BEAT_NS", 20_000_000)


def most_living(log: Any) -> int:
    """How many workers lived at most at one time."""
    living = most = 0
    for event in log.of(K.SPAWN, K.REAP):
        living += 1 if event.kind is K.SPAWN else -1
        most = max(most, living)
    return most


def test_an_idle_pool_shrinks_to_its_least_size_and_grows_again(
    make_pool: MakePool, log: Any, spy: Any, until: Any
) -> None:
    spied = spy()
    pool = make_pool(log, spied, workers=3, min_workers=1, idle_timeout_s=0.2)
    with pool.checkout() as one, pool.checkout() as two, pool.checkout() as three:
        assert len({one.pid, two.pid, three.pid}) == 3
    log.wait_for(K.REAP, count=2)
    until(lambda: len(pool.status().workers) == 1, "the places of both are gone")
    spied.wait_for("terminate_worker", count=2)
    assert [reason for _, reason, _ in spied.of("terminate_worker")] == ["retired"] * 2
    assert pool.health_check().healthy
    with pool.checkout() as one, pool.checkout() as two:
        assert one.execute("echo", {"value": 1}) == two.execute("echo", {"value": 1})
    assert most_living(log) == 3


def test_a_leased_worker_is_never_shrunk_away(make_pool: MakePool, log: Any) -> None:
    pool = make_pool(log, workers=2, min_workers=1, idle_timeout_s=0.05)
    with pool.checkout() as one:
        pid = one.execute("pid")["pid"]
        with pool.checkout() as two:
            other = two.pid
        log.wait_for(K.REAP)
        assert one.execute("pid")["pid"] == pid
        assert [event.pid for event in log.of(K.REAP)] == [other]
    assert pool.execute("pid")["pid"] == pid


def test_old_workers_are_replaced_one_at_a_time_between_leases(make_pool: MakePool, log: Any) -> None:
    pool = make_pool(log, workers=2, max_age_s=2.0)
    log.wait_for(K.READY, count=2)
    with pool.checkout() as held:
        pid = held.execute("pid")["pid"]
        log.wait_for(K.REAP, count=2)  # the other one, and its follower
        assert held.execute("pid")["pid"] == pid, "a lease is not cut short"
    log.wait_for(K.REAP, pid=pid)
    assert {event.detail for event in log.of(K.KILL)} == {"retired"}
    assert most_living(log) == 2
    born = {event.worker: event.at_ns for event in log.of(K.SPAWN)}
    ends = log.of(K.KILL)
    assert all(event.at_ns - born[event.worker] >= 1.7e9 for event in ends)
    assert pool.execute("echo", {"value": 1}, checkout_timeout_s=20.0) == 1


def test_a_worker_that_has_grown_too_large_is_replaced(make_pool: MakePool, log: Any) -> None:
    pool = make_pool(log, workers=2, max_memory_bytes=100 * MIB)
    pool.warm_up()
    grown = pool.execute("pid")["pid"]
    with pool.checkout() as one, pool.checkout() as two:
        large = one if one.pid == grown else two
        large.execute("put", {"key": "k", "value": "x" * (120 * MIB)}, timeout_s=60.0)
    log.wait_for(K.REAP, pid=grown)
    assert {event.pid for event in log.of(K.KILL)} == {grown}  # told to leave, and killed if it takes too long
    pool.warm_up()
    assert len(pool.status().workers) == 2


def test_a_worker_that_is_always_leased_is_replaced_too_when_it_is_given_back(
    make_pool: MakePool, log: Any, until: Any
) -> None:
    pool = make_pool(log, max_memory_bytes=100 * MIB)
    with pool.checkout() as worker:
        pid = worker.pid
        worker.execute("put", {"key": "k", "value": "x" * (120 * MIB)}, timeout_s=60.0)
        (known,) = pool._engine.coordinator.workers.values()
        until(lambda: known.overdue, "its size was noticed")
        assert worker.execute("get", {"key": "none"})["found"] is False, "a lease is not cut short"
    assert pool.execute("pid", checkout_timeout_s=20.0)["pid"] != pid
    assert [event.detail for event in log.of(K.KILL)] == ["retired"]


LONG_S = 3600.0


def grow_old(pool: PoolV2) -> None:
    """Let the sessions of the pool be unused for as long as they may be."""
    with pool._engine.lock:
        for session in pool._engine.coordinator.sessions._sessions.values():
            session.used_ns -= int(LONG_S * 1e9)


def test_a_session_that_nobody_uses_is_forgotten_by_the_pool_and_its_worker(make_pool: MakePool, until: Any) -> None:
    pool = make_pool(workers=1, session_ttl_s=LONG_S)
    pool.execute_in_session("s", "put", {"key": "k", "value": 1})
    assert pool.execute_in_session("s", "get", {"key": "k"})["value"] == 1
    grow_old(pool)
    until(lambda: pool.sessions() == (), "the session is forgotten")
    assert pool.execute("list", {"session_id": "s"})["keys"] == [], "its worker has forgotten it too"
    assert pool.execute_in_session("s", "get", {"key": "k"})["found"] is False


def test_a_session_that_is_used_again_in_time_lives_on(
    make_pool: MakePool, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It is used between the moment when it was found unused and that of its end.
    pool = make_pool(workers=1, session_ttl_s=LONG_S)
    for session_id in ("first", "s"):
        pool.execute_in_session(session_id, "put", {"key": "k", "value": 1})
    found, go_on = threading.Event(), threading.Event()
    calls = pool._engine.calls
    end_session = calls.end_session
    ended = []

    def late(io: Any, session_id: str, **kind: Any) -> Any:
        ended.append(session_id)
        found.set()
        assert go_on.wait(20)
        return end_session(io, session_id, **kind)

    monkeypatch.setattr(calls, "end_session", late)
    grow_old(pool)
    assert found.wait(20)
    pool.execute_in_session("s", "append", {"key": "l", "value": 1})
    go_on.set()
    until(lambda: len(pool.sessions()) == 1, "the first has ended")
    assert ended == ["first"]
    monkeypatch.undo()
    assert pool.execute_in_session("s", "get", {"key": "k"})["value"] == 1
