"""The contract of a checkout: hooks that remove a worker or fail, and the order in which everything ends."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from poolproof.bridge import CallTimeout, CheckoutTimeout, EventKind, PoolClosed
from poolproof.pool_v2 import Ok, PoolV2, Remove

MakePool = Callable[..., PoolV2]
K = EventKind


class Broken(Exception):
    """What a hook raises."""


def once(answer: Any, then: Any = None) -> Callable[..., Any]:
    """A hook that gives this answer the first time, or raises it, and Ok later."""
    turns = iter([answer])

    def hook(*_: Any) -> Any:
        now = next(turns, then or Ok("fit"))
        if isinstance(now, Exception):
            raise now
        return now

    return hook


def test_a_worker_that_is_removed_at_checkout_is_replaced_and_the_client_gets_another(
    make_pool: MakePool, spy: Any, log: Any, all_idle: Any
) -> None:
    # N22
    spied = spy(checkout=once(Remove("worn")))
    pool = make_pool(log, spied, workers=2)
    pool.warm_up()
    with pool.checkout() as worker:
        served = worker.execute("pid")["worker_id"]
    first, second = (told.worker for told in log.of(K.ACCEPT)[-2:])
    assert second == served != first
    assert spied.wait_for("terminate_worker") == ("worn", None)
    all_idle(pool, 2)
    assert len(log.of(K.SPAWN)) == 3
    assert spied.of("cancelled") == []


def test_a_worker_that_is_removed_at_checkin_is_replaced(
    make_pool: MakePool, spy: Any, log: Any, all_idle: Any
) -> None:
    # N23
    spied = spy(checkin=once(Remove("worn")))
    pool = make_pool(log, spied)
    with pool.checkout() as worker:
        pid = worker.pid
    assert spied.wait_for("terminate_worker") == ("worn", None)
    all_idle(pool, 1)
    assert pool.execute("pid")["pid"] != pid
    assert log.of(K.KILL)[0].detail == "worn"


def test_a_worker_that_is_removed_by_a_message_is_replaced(
    make_pool: MakePool, spy: Any, log: Any, all_idle: Any, pid_of: Any
) -> None:
    # N24
    spied = spy(message=lambda message, state: Remove(message))
    pool = make_pool(log, spied)
    pid = pid_of(pool)
    assert pool.broadcast("new model") == 1
    assert spied.wait_for("terminate_worker") == ("new model", None)
    all_idle(pool, 1)
    assert pool.execute("pid")["pid"] != pid


@pytest.mark.parametrize("call", ["execute", "checkout"])
def test_a_checkout_hook_that_raises_costs_its_worker_and_not_its_client(
    make_pool: MakePool, spy: Any, log: Any, all_idle: Any, call: str
) -> None:
    # N25
    error = Broken("at checkout")
    spied = spy(checkout=once(error))
    pool = make_pool(log, spied, workers=2)
    if call == "execute":
        assert pool.execute("echo", {"value": 1}) == 1
    else:
        with pool.checkout() as worker:
            assert worker.execute("echo", {"value": 1}) == 1
    assert spied.wait_for("terminate_worker")[0] is error
    all_idle(pool, 2)
    assert len(log.of(K.SPAWN)) == 3
    assert pool.status().statistics.outcomes == {"result": 1}


def test_a_checkout_hook_that_always_raises_is_the_cause_of_the_client_s_timeout(make_pool: MakePool, spy: Any) -> None:
    def fail(*_: Any) -> None:
        raise Broken("each time")

    spied = spy(checkout=fail)
    pool = make_pool(behaviour=spied, workers=2)
    pool.warm_up()
    with pytest.raises(CheckoutTimeout) as caught:
        pool.checkout(checkout_timeout_s=0.4)
    assert isinstance(caught.value.__cause__, Broken)
    assert spied.of("cancelled") == [("cancelled", "queued", None)]
    assert len(spied.of("enqueue")) == 1


@pytest.mark.parametrize("call", ["execute", "checkout"])
def test_a_checkin_hook_that_raises_costs_its_worker_and_not_its_client(
    make_pool: MakePool, spy: Any, all_idle: Any, call: str
) -> None:
    # N26
    error = Broken("at checkin")
    spied = spy(checkin=once(error))
    pool = make_pool(behaviour=spied)
    if call == "execute":
        assert pool.execute("echo", {"value": 1}) == 1
    else:
        with pool.checkout() as worker:
            assert worker.execute("echo", {"value": 1}) == 1
    assert spied.wait_for("terminate_worker")[0] is error
    all_idle(pool, 1)
    assert pool.status().statistics.outcomes == {"result": 1}


def test_a_message_hook_that_raises_costs_its_worker_alone(make_pool: MakePool, spy: Any, all_idle: Any) -> None:
    # N27
    error = Broken("at a message")
    spied = spy(message=once(error))
    pool = make_pool(behaviour=spied, workers=2)
    pool.warm_up()
    all_idle(pool, 2)
    assert pool.broadcast("hello") == 2
    assert spied.wait_for("message", count=2)[0] == "hello"
    assert spied.wait_for("terminate_worker")[0] is error
    assert pool.execute("echo", {"value": 1}) == 1
    all_idle(pool, 2)
    assert len(spied.of("terminate_worker")) == 1


@pytest.mark.parametrize("error", [Broken("at the end"), SystemExit(3)])
def test_a_terminate_hook_that_raises_is_logged_and_dropped(
    make_pool: MakePool, spy: Any, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    # N28
    def fail(*_: Any) -> None:
        raise error

    spied = spy(terminate_worker=fail, terminate_pool=once(Broken("the very end")))
    pool = make_pool(behaviour=spied, workers=2)
    pool.warm_up()
    with caplog.at_level(logging.ERROR):
        pool.close()
    assert len(spied.of("terminate_worker")) == 2, "the second hook runs too"
    assert len(spied.of("terminate_pool")) == 1
    raised = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert raised[:2] == [error, error]
    assert [str(other) for other in raised[2:]] == ["the very end"]
    assert "the hook 'terminate_pool' failed" in caplog.text


def test_workers_terminate_before_the_pool_does(make_pool: MakePool, spy: Any) -> None:
    # N39
    spied = spy(init_pool=lambda: "shared", init_worker=lambda worker, _: Ok(worker.worker_id))
    pool = make_pool(behaviour=spied, workers=3)
    pool.warm_up()
    pool.execute("ping")
    pool.close()
    pool.close()
    ends = spied.of("terminate_worker", "terminate_pool")
    assert sorted(ends[:3]) == [("terminate_worker", "close", worker_id) for worker_id in (1, 2, 3)]
    assert ends[3:] == [("terminate_pool", "close", "shared")]
    assert spied.told[-1] == ends[-1]


def test_a_leased_worker_is_terminated_with_its_pool(
    make_pool: MakePool, spy: Any, gone: Any, until: Any, client: Any
) -> None:
    # N45: its client holds it and does something else for as long as it likes.
    spied = spy()
    pool = make_pool(behaviour=spied)
    leased, go_on = threading.Event(), threading.Event()
    pids: list[int] = []

    def hold() -> None:
        with pool.checkout() as worker:
            pids.append(worker.pid)
            leased.set()
            assert go_on.wait(60)
            worker.execute("ping")

    holder = client(hold)
    assert leased.wait(20)
    pool.close(0.05)
    assert gone(pids[0])
    assert spied.of("terminate_worker", "terminate_pool") == [
        ("terminate_worker", "close", None),
        ("terminate_pool", "close", None),
    ]
    go_on.set()
    with pytest.raises(PoolClosed, match="was closed during the lease"):
        holder.result()
    assert pool.status().statistics.outcomes == {"PoolClosed": 1}


def test_a_client_that_ends_its_lease_within_the_grace_ends_it_in_order(
    make_pool: MakePool, spy: Any, client: Any, until: Any
) -> None:
    spied = spy()
    pool = make_pool(behaviour=spied)
    with pool.checkout() as worker:
        closer = client(pool.close, 60.0)
        until(lambda: pool.status().state == "closing", "it closes")
        assert worker.execute("echo", {"value": 1}) == 1
    closer.join()
    assert [told[:2] for told in spied.told[-3:]] == [
        ("checkin", None),
        ("terminate_worker", "close"),
        ("terminate_pool", "close"),
    ]


def test_a_terminate_hook_that_blocks_holds_up_nobody(make_pool: MakePool, spy: Any, log: Any, all_idle: Any) -> None:
    # N47
    gate = threading.Event()
    spied = spy(terminate_worker=lambda *_: gate.wait(60))
    pool = make_pool(log, spied, workers=2)
    with pytest.raises(Broken):
        with pool.checkout():
            raise Broken
    spied.wait_for("terminate_worker")
    all_idle(pool, 2)
    assert [pool.execute("echo", {"value": n}) for n in range(10)] == list(range(10))
    with pytest.raises(CallTimeout):
        pool.execute("sleep", {"seconds": 60}, timeout_s=0.1)
    log.wait_for(K.REAP, count=2)
    all_idle(pool, 2)
    assert pool.broadcast("hello") == 2
    spied.wait_for("message", count=2)  # nor are messages and pings held up
    gate.set()
    pool.close()
    assert len(spied.of("terminate_worker")) == 4
