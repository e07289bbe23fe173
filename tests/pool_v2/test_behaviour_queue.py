"""The contract of a checkout: the queue and its timeouts, eager and lazy pools, skips, and clients that give up."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from poolproof.bridge import CheckoutTimeout, EventKind, PoolClosed, QueueFull
from poolproof.bridge.clock import now_ns
from poolproof.pool_v2 import Ok, PoolV2, Remove, Skip
from poolproof.pool_v2.calls.io import ThreadIo
from poolproof.pool_v2.core.ticket import Ticket, TicketState

MakePool = Callable[..., PoolV2]
K = EventKind


class Refused(Exception):
    """What an application skips with."""


def test_a_client_that_gave_up_before_the_pool_had_seen_to_it_costs_nothing(
    make_pool: MakePool, spy: Any, log: Any, held_up: Any
) -> None:
    # N9: the supervisor is held up, as if the machine were too busy to run it.
    go_on = held_up(K.SPAWN)
    pool = make_pool(log, spy(), lazy=True)
    with pytest.raises(CheckoutTimeout):
        pool.checkout(checkout_timeout_s=0.05)
    with pytest.raises(CheckoutTimeout):
        pool.execute("put", {"key": "k", "value": "stale"}, checkout_timeout_s=0.05)
    assert log.of(K.READY) == []
    go_on.set()

    with pool.checkout() as worker:
        assert worker.execute("get", {"key": "k"})["found"] is False
    assert len(log.of(K.SPAWN)) == 1
    assert log.of(K.KILL) == []
    assert len(log.of(K.SEND)) == 1


def test_a_client_whose_time_is_over_takes_no_worker(make_pool: MakePool, spy: Any, log: Any) -> None:
    # N9, with a worker that is idle: a client whose time is over takes none, and sends nothing.
    spied = spy()
    pool = make_pool(log, spied)
    pool.warm_up()
    with pytest.raises(CheckoutTimeout, match="the deadline passed before"):
        pool.execute("ping", timeout_s=1e-9)
    with pytest.raises(CheckoutTimeout, match="the deadline passed before"):
        pool.checkout("for the hooks", timeout_s=1e-9)
    assert spied.of("checkout", "terminate_worker") == []
    assert spied.of("cancelled") == 2 * [("cancelled", "queued", None)]
    assert log.of(K.SEND, K.KILL) == []


def test_a_plain_call_whose_time_is_over_takes_no_worker(make_pool: MakePool, log: Any) -> None:
    # N9, without hooks, watched and not: the worker lives on, and has executed nothing.
    watched, plain = make_pool(log), make_pool(None)
    for pool in (watched, plain):
        pool.warm_up()
        [before] = pool.status().workers
        with pytest.raises(CheckoutTimeout, match="passed before a worker could serve it"):
            pool.execute("put", {"key": "k", "value": "stale"}, timeout_s=1e-9)
        with pytest.raises(CheckoutTimeout):
            pool.execute_in_session("s", "put", {"key": "k", "value": "stale"}, timeout_s=1e-9)
        assert pool.execute("get", {"key": "k"})["found"] is False
        [after] = pool.status().workers
        assert (after.pid, after.served) == (before.pid, 1)
    assert log.of(K.KILL) == []


def test_a_timeout_in_the_queue_tells_where_the_holder_is(
    make_pool: MakePool, log: Any, client: Any, until: Any
) -> None:
    pool = make_pool(log)
    holder = client(lambda: pool.execute("sleep", {"seconds": 60}, timeout_s=90.0))
    until(lambda: log.of(K.SEND), "the worker sleeps")
    with pytest.raises(CheckoutTimeout) as caught:
        pool.execute("ping", checkout_timeout_s=0.02)
    pool.close(0.0)
    with pytest.raises(PoolClosed):
        holder.result()
    [told] = caught.value.holders
    assert told.splitlines()[-1].strip().startswith("holder = client("), "the application's own line is last"
    assert "engine.py" not in told


def test_a_timeout_in_the_queue_does_not_disturb_the_holder(
    make_pool: MakePool, spy: Any, log: Any, client: Any
) -> None:
    # N10
    pool = make_pool(log, spy())
    with pool.checkout() as worker:
        pid = worker.execute("pid")["pid"]
        with pytest.raises(CheckoutTimeout) as caught:
            client(pool.checkout, checkout_timeout_s=0.02).result()
        assert "holds worker 1" in caught.value.holders[0]
        assert worker.execute("pid")["pid"] == pid == worker.pid
    assert pool.execute("pid")["pid"] == pid
    assert log.of(K.KILL) == []


def test_a_queued_client_is_served_when_the_worker_comes_back(
    make_pool: MakePool, spy: Any, client: Any, until: Any
) -> None:
    # N11
    pool = make_pool(behaviour=spy())

    def wait() -> int:
        with pool.checkout(checkout_timeout_s=60.0) as worker:
            return int(worker.execute("pid")["pid"])

    with pool.checkout() as worker:
        waiter = client(wait)
        until(lambda: pool.status().waiting, "a client waits")
        pid = worker.pid
    assert waiter.result() == pid


@pytest.mark.parametrize("lazy", [False, True])
def test_of_three_clients_of_two_workers_the_third_times_out_and_the_others_do_not_notice(
    make_pool: MakePool, spy: Any, log: Any, lazy: bool
) -> None:
    # N12
    pool = make_pool(log, spy(), workers=2, lazy=lazy)
    with pool.checkout() as one, pool.checkout() as two:
        with pytest.raises(CheckoutTimeout):
            pool.checkout(checkout_timeout_s=0.001)
        assert one.execute("pid")["pid"] != two.execute("pid")["pid"]
        assert len(pool.status().workers) == 2
    assert len(log.of(K.SPAWN)) == 2
    assert log.of(K.KILL) == []


@pytest.mark.parametrize("lazy", [False, True])
def test_one_client_after_another_uses_all_workers_of_an_eager_pool_and_one_of_a_lazy_pool(
    make_pool: MakePool, spy: Any, log: Any, lazy: bool
) -> None:
    # N13
    pool = make_pool(log, spy(), workers=2, lazy=lazy)
    if not lazy:
        pool.warm_up()
    served = []
    for _ in range(6):
        with pool.checkout() as worker:
            served.append(worker.worker_id)
    assert served == [served[0], served[1]] * 3
    assert len(set(served)) == (1 if lazy else 2)
    assert len(log.of(K.SPAWN)) == (1 if lazy else 2)


def test_two_clients_of_a_lazy_pool_at_once_start_a_second_worker(make_pool: MakePool, spy: Any, log: Any) -> None:
    # N14
    pool = make_pool(log, spy(), workers=3, lazy=True)
    with pool.checkout() as one, pool.checkout() as two:
        assert one.worker_id != two.worker_id
    assert len(log.of(K.SPAWN)) == 2


def test_the_enqueue_hook_may_wrap_the_command_for_the_checkout_hook(make_pool: MakePool, spy: Any) -> None:
    # N29
    spied = spy(enqueue=lambda command, _: Ok(("wrapped", command)), checkout=lambda command, *_: Ok("s", command))
    pool = make_pool(behaviour=spied)
    with pool.checkout({"any": "object"}) as worker:
        assert worker.client == ("wrapped", {"any": "object"})
    assert pool.execute("echo", {"value": 1}) == 1, "the request goes out as it was"
    assert [told[1] for told in spied.of("checkout")] == [("wrapped", {"any": "object"}), ("wrapped", "echo")]
    assert [told[1] for told in spied.of("checkin")] == [("wrapped", {"any": "object"}), ("wrapped", "echo")]


def test_a_command_stays_wrapped_when_another_worker_is_tried(make_pool: MakePool, spy: Any) -> None:
    turns = iter([Remove("worn"), Ok(), Ok()])
    spied = spy(enqueue=lambda command, _: Ok(("wrapped", command)), checkout=lambda *_: next(turns))
    pool = make_pool(behaviour=spied, workers=2)
    assert pool.execute("echo", {"value": 1}) == 1
    assert [told[1] for told in spied.of("checkout")] == 2 * [("wrapped", "echo")]
    assert len(spied.of("enqueue")) == 1


def test_a_skip_at_checkout_raises_in_the_client_and_keeps_the_worker(
    make_pool: MakePool, spy: Any, pid_of: Any, log: Any
) -> None:
    # N30
    error = Refused("not today")
    spied = spy(checkout=lambda *_: Skip(error))
    pool = make_pool(log, spied)
    pid = pid_of(pool)
    for refused in (pool.checkout, lambda: pool.execute("ping")):
        with pytest.raises(Refused) as caught:
            refused()
        assert caught.value is error
    spied.script = {}
    assert pool.execute("pid")["pid"] == pid
    assert log.of(K.KILL) == []
    assert spied.of("terminate_worker", "cancelled") == []
    assert pool.status().statistics.outcomes == {"Cancelled": 1, "result": 1}


def test_a_skip_at_enqueue_never_comes_to_the_checkout_hook(make_pool: MakePool, spy: Any, log: Any) -> None:
    # N31
    spied = spy(enqueue=lambda *_: Skip(QueueFull("enough for today")))
    pool = make_pool(log, spied)
    pool.warm_up()
    for refused in (pool.checkout, lambda: pool.execute("ping")):
        with pytest.raises(QueueFull, match="enough for today"):
            refused()
    assert spied.of("checkout") == []
    assert log.of(K.ACCEPT, K.SEND) == [e for e in log.of(K.ACCEPT) if e.call == 1], "only its own init hook"
    assert pool.status().statistics.outcomes == {"QueueFull": 1}


def test_a_client_that_raises_with_a_worker_is_cancelled_as_checked_out(make_pool: MakePool, spy: Any) -> None:
    # N40
    spied = spy(init_pool=lambda: "state")
    pool = make_pool(behaviour=spied)
    with pytest.raises(ZeroDivisionError):
        with pool.checkout():
            _ = 1 // 0
    assert spied.of("cancelled") == [("cancelled", "checked_out", "state")]
    with pool.checkout():
        pass
    assert len(spied.of("cancelled")) == 1


def test_a_client_that_times_out_in_the_queue_is_cancelled_as_queued(make_pool: MakePool, spy: Any) -> None:
    # N41
    spied = spy()
    pool = make_pool(behaviour=spied)
    with pool.checkout():
        for refused in (pool.checkout, lambda **options: pool.execute("ping", **options)):
            with pytest.raises(CheckoutTimeout):
                refused(checkout_timeout_s=0.01)
    assert spied.of("cancelled") == 2 * [("cancelled", "queued", None)]


def test_a_client_that_times_out_when_it_was_offered_a_worker_is_cancelled_as_queued_too(
    make_pool: MakePool, spy: Any, log: Any, client: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # N42: its request has left the queue, and its deadline passes before it wakes.
    spied = spy()
    pool = make_pool(log, spied)
    wait: Any = ThreadIo.wait

    def oversleep(io: ThreadIo, ticket: Ticket, timeout_s: float) -> Iterable[Any]:
        until(lambda: ticket.state is TicketState.OFFERED and ticket.deadline_ns <= now_ns(), "it is too late")
        return wait(io, ticket, timeout_s)

    with pool.checkout() as worker:
        pid = worker.pid
        with monkeypatch.context() as patch:
            patch.setattr(ThreadIo, "wait", oversleep)
            waiter = client(pool.checkout, timeout_s=0.3)
            until(lambda: pool.status().waiting, "a client waits")
            worker.end()
            with pytest.raises(CheckoutTimeout):
                waiter.result()
    assert spied.of("cancelled") == [("cancelled", "queued", None)]
    assert pool.execute("pid")["pid"] == pid
    assert log.of(K.KILL) == []


def test_a_client_that_timed_out_has_left_the_queue(make_pool: MakePool, spy: Any, client: Any, until: Any) -> None:
    # N46
    pool = make_pool(behaviour=spy(), max_queue=1)
    with pool.checkout():
        for _ in range(5):
            with pytest.raises(CheckoutTimeout):
                pool.checkout(checkout_timeout_s=0.001)
            assert pool.status().waiting == 0
        waiter = client(pool.checkout, checkout_timeout_s=60.0)
        until(lambda: pool.status().waiting == 1, "there is room in the queue for one")
        with pytest.raises(QueueFull):
            pool.checkout()
    waiter.result().end()
