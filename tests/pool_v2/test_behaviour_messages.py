"""The contract of a checkout: broadcasts to idle workers, and pings of those that are idle for long."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, cast

import pytest

from poolproof.bridge import EventKind, PoolClosed, PoolConfig
from poolproof.bridge.clock import now_ns
from poolproof.pool_v2 import Ok, PoolV2, Remove, Skip, Stop
from poolproof.pool_v2.core.ticket import Ticket
from poolproof.pool_v2.running.engine import Engine
from poolproof.pool_v2.running.platform import Platform
from tests.waiting import stop

MakePool = Callable[..., PoolV2]
K = EventKind
INTERVAL_S = 0.15
INTERVAL_NS = int(INTERVAL_S * 1e9)


def by_id(worker: Any, _: Any) -> Ok:
    """An init hook whose state is the worker's id."""
    return Ok(worker.worker_id)


def test_a_broadcast_reaches_every_idle_worker_once(make_pool: MakePool, spy: Any, all_idle: Any) -> None:
    # N18
    spied = spy(init_worker=by_id)
    pool = make_pool(behaviour=spied, workers=3)
    pool.warm_up()
    all_idle(pool, 3)
    assert pool.broadcast({"model": "new"}) == 3
    spied.wait_for("message", count=3)
    all_idle(pool, 3)
    assert sorted(state for _, message, state in spied.of("message") if message == {"model": "new"}) == [1, 2, 3]


def test_a_worker_hears_a_broadcast_before_it_serves_who_came_later(
    make_pool: MakePool, spy: Any, all_idle: Any
) -> None:
    # N19: one worker's hook takes long; a client takes the other one before its turn.
    gate = threading.Event()

    def slow_on_the_first(message: Any, state: int) -> Ok:
        assert state != 1 or gate.wait(60)
        return Ok(state)

    spied = spy(init_worker=by_id, message=slow_on_the_first)
    pool = make_pool(behaviour=spied, workers=2)
    pool.warm_up()
    with pool.checkout() as one, pool.checkout() as two:
        for lease in sorted((one, two), key=lambda lease: lease.worker_id):  # the first is asked first
            lease.end()
    told = len(spied.told)
    assert pool.broadcast("one") == 2
    spied.wait_for("message")
    assert pool.broadcast("two") == 1, "the other one is busy with the first message"
    with pool.checkout("hello") as worker:
        assert worker.worker_id == 2
    gate.set()
    assert [heard for heard in spied.told[told:] if heard[0] != "enqueue" and heard != ("message", "one", 1)] == [
        ("message", "one", 2),
        ("message", "two", 2),
        ("checkout", "hello", 2, None),
        ("checkin", None, 2, None),
    ]


def test_a_broadcast_does_not_disturb_a_leased_worker(make_pool: MakePool, spy: Any, all_idle: Any) -> None:
    # N20
    spied = spy(init_worker=by_id)
    pool = make_pool(behaviour=spied, workers=2)
    pool.warm_up()
    with pool.checkout() as worker:
        assert pool.broadcast("hello") == 1
        heard = spied.wait_for("message")
        assert heard == ("hello", 3 - worker.worker_id)
        assert worker.execute("echo", {"value": 1}) == 1
    all_idle(pool, 2)
    assert len(spied.of("message")) == 1


def test_messages_that_look_like_the_pool_s_own_are_only_messages(
    make_pool: MakePool, spy: Any, pid_of: Any, until: Any
) -> None:
    # N21
    looks = [None, Ok("x"), Remove("x"), Stop("x"), Skip(KeyError("x")), lambda: 1 // 0, Ticket(1), StopIteration()]
    spied = spy()
    pool = make_pool(behaviour=spied)
    pid = pid_of(pool)
    for count, message in enumerate(looks, start=1):
        until(functools.partial(pool.broadcast, message), "the worker is idle")
        assert pool.execute("pid")["pid"] == pid
        assert spied.wait_for("message", count=count) == (message, None)
    assert pool.status().state == "open"
    assert spied.of("terminate_worker") == []


def test_only_workers_that_are_idle_for_the_interval_are_pinged(make_pool: MakePool, spy: Any) -> None:
    # N32
    idle_ns: list[int] = []

    def ping(worker: Any, since_ns: int) -> Ok:
        idle_ns.append(now_ns() - since_ns)
        return Ok(since_ns)

    spied = spy(init_worker=lambda *_: Ok(now_ns()), checkin=lambda *_: Ok(now_ns()), ping=ping)
    pool = make_pool(behaviour=spied, workers=2, ping_interval_s=INTERVAL_S, max_idle_pings=2)
    pool.warm_up()
    for _ in range(5):
        pool.execute("ping")
    served = len(idle_ns)
    spied.wait_for("ping", count=served + 4)
    assert min(idle_ns) >= INTERVAL_NS


class Kept:
    """Jobs that nobody runs."""

    def __init__(self) -> None:
        self.jobs: list[Any] = []
        self.post = self.jobs.append

    def stop(self, timeout_s: float) -> None:
        """Nothing to end."""


def test_a_ping_that_has_to_wait_for_its_turn_is_not_made_again_for_each_interval(until: Any) -> None:
    platform, kept = Platform(), Kept()
    platform.jobs = cast(Any, lambda *_: kept)
    engine = Engine(PoolConfig(workers=1, ping_interval_s=0.001), None, None, platform)
    try:
        until(lambda: kept.jobs, "a ping is due")
        (worker,) = engine.coordinator.workers.values()
        for _ in range(3):
            planned_ns = worker.pinged_ns
            until(lambda planned_ns=planned_ns: worker.pinged_ns > planned_ns, "the next is due")
        assert len(kept.jobs) == 1
    finally:
        engine.close(0.0)


def test_a_worker_that_is_held_is_not_pinged(make_pool: MakePool, spy: Any) -> None:
    spied = spy(init_worker=by_id, ping=lambda worker, state: Ok(state))
    pool = make_pool(behaviour=spied, workers=2, ping_interval_s=0.05, max_idle_pings=2)
    pool.warm_up()
    with pool.checkout() as worker:
        begun = len(spied.of("ping"))
        spied.wait_for("ping", count=begun + 3)
        assert {state for _, _, state in spied.of("ping")[begun:]} == {3 - worker.worker_id}


def test_a_ping_s_ok_updates_the_state(make_pool: MakePool, spy: Any) -> None:
    # N33
    def ping(worker: Any, state: int) -> Ok:
        assert worker.execute("echo", {"value": state}) == state
        return Ok(state + 1)

    spied = spy(init_worker=lambda *_: Ok(0), ping=ping)
    pool = make_pool(behaviour=spied, ping_interval_s=0.05)
    assert spied.wait_for("ping", count=3)[1] == 2
    pool.close()
    assert spied.of("terminate_worker")[0][2] == len(spied.of("ping"))
    assert pool.status().statistics.submitted == 0, "the pool's own pings are nobody's calls"


def test_a_ping_s_remove_replaces_the_worker(make_pool: MakePool, spy: Any, log: Any, pid_of: Any) -> None:
    # N34
    spied = spy(ping=lambda *_: Remove("does not feel well"))
    pool = make_pool(log, spied, ping_interval_s=0.1)
    pid = pid_of(pool)
    assert spied.wait_for("terminate_worker") == ("does not feel well", None)
    log.wait_for(K.READY, count=2)
    spied.script = {}
    pool.warm_up()
    assert pool.execute("pid")["pid"] != pid


def test_a_ping_s_stop_ends_the_pool_for_that_reason(make_pool: MakePool, spy: Any, log: Any) -> None:
    # N35
    ready = threading.Event()
    spied = spy(ping=lambda *_: Stop("the licence has expired") if ready.is_set() else Ok())
    pool = make_pool(log, spied, workers=2, ping_interval_s=0.05, max_idle_pings=2)
    pool.warm_up()
    ready.set()
    log.wait_for(K.CLOSE)
    assert spied.of("terminate_pool") == [("terminate_pool", "the licence has expired", None)]
    assert len(spied.of("terminate_worker")) == 2
    assert pool.status().state == "closed"
    for refused in (pool.checkout, lambda: pool.execute("ping")):
        with pytest.raises(PoolClosed, match="the licence has expired"):
            refused()


def test_pings_come_in_the_order_of_the_idle_and_leave_it_as_it_is(make_pool: MakePool, spy: Any, until: Any) -> None:
    # N36
    spied = spy(init_worker=by_id, ping=lambda worker, state: Ok(state))
    pool = make_pool(behaviour=spied, workers=3, ping_interval_s=INTERVAL_S, max_idle_pings=3)
    pool.warm_up()
    with pool.checkout() as one, pool.checkout() as two, pool.checkout() as three:
        begun = len(spied.of("ping"))
        order = [two.worker_id, three.worker_id, one.worker_id]
        for lease in (two, three, one):  # from now on they are due one right after the other
            lease.end()
    spied.wait_for("ping", count=begun + 6)
    assert [state for _, _, state in spied.of("ping")[begun:][:6]] == order * 2
    idle = pool._engine.coordinator.idle_workers
    until(lambda: [worker.worker_id for worker in idle()] == order, "all are idle between two pings, in their order")


def test_a_cycle_has_no_more_pings_than_allowed_and_leaves_nobody_out(make_pool: MakePool, spy: Any, log: Any) -> None:
    # N37: the n-th ping comes in the n-th cycle at the earliest, and the first one interval after a start.
    at_ns: list[int] = []

    def ping(worker: Any, state: int) -> Ok:
        at_ns.append(now_ns())
        return Ok(state)

    spied = spy(init_worker=by_id, ping=ping)
    pool = make_pool(log, spied, workers=3, ping_interval_s=INTERVAL_S, max_idle_pings=1)
    pool.warm_up()
    begun_ns = log.of(K.READY)[0].at_ns
    settled = len(spied.of("ping")) + 3
    spied.wait_for("ping", count=settled + 6)
    assert all(when >= begun_ns + n * INTERVAL_NS for n, when in enumerate(at_ns, start=1))
    pinged = [state for _, _, state in spied.of("ping")[settled:][:6]]
    assert set(pinged[:3]) == {1, 2, 3}
    assert pinged[:3] == pinged[3:]


def test_pings_drop_no_worker_of_a_lazy_pool(make_pool: MakePool, spy: Any, log: Any) -> None:
    # N38
    spied = spy()
    pool = make_pool(log, spied, workers=3, lazy=True, ping_interval_s=0.05, max_idle_pings=3)
    with pool.checkout() as one, pool.checkout() as two:
        pids = {one.pid, two.pid}
    spied.wait_for("ping", count=6)
    assert {worker.pid for worker in pool.status().workers} == pids
    assert len(log.of(K.SPAWN)) == 2
    assert log.of(K.KILL) == []


def test_a_ping_without_a_behaviour_asks_the_worker_and_replaces_one_that_does_not_answer(
    make_pool: MakePool, log: Any, pid_of: Any, gone: Any, until: Any
) -> None:
    pool = make_pool(log, ping_interval_s=0.1, ping_timeout_s=0.2)
    pid = pid_of(pool)
    log.wait_for(K.RECEIVE)
    stop(pid)
    until(lambda: gone(pid), "the worker that does not answer has ended")
    log.wait_for(K.READY, count=2)
    assert pool.execute("pid")["pid"] != pid
    assert pool.status().statistics.outcomes == {"result": 1}
