"""V2's engine: every step of a call is told, the races at the hand-off are decided, and the counts are conserved."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from poolproof.bridge import CallTimeout, CheckoutTimeout, CommandError, Event, EventKind, PoolError
from poolproof.bridge.events import CORRELATION
from poolproof.pool_v2 import PoolV2
from poolproof.pool_v2.calls.io import ThreadIo
from poolproof.pool_v2.core.ticket import Ticket, TicketState

MakePool = Callable[..., PoolV2]
K = EventKind


def kinds(events: list[Event]) -> list[EventKind]:
    return [event.kind for event in events]


def of_call(log: Any, call: int) -> list[EventKind]:
    return [event.kind for event in log.events if event.call == call]


def test_a_call_that_finds_an_idle_worker_tells_its_steps_in_order(make_pool: MakePool, log: Any) -> None:
    pool = make_pool(log)
    pool.warm_up()
    pool.execute("ping")
    pool.close()

    worker = [e for e in log.events if e.call is None]
    assert kinds(worker) == [K.SPAWN, K.READY, K.KILL, K.REAP, K.CLOSE]
    assert of_call(log, 1) == [K.ENQUEUE, K.ACCEPT, K.SEND, K.RECEIVE, K.CHECKIN, K.DONE]
    assert log.of(K.DONE)[0].detail == "result"
    pid = log.of(K.SPAWN)[0].pid
    assert {e.pid for e in log.of(K.SPAWN, K.READY, K.SEND, K.RECEIVE, K.KILL, K.REAP)} == {pid}
    assert {e.worker for e in log.events if e.kind not in (K.ENQUEUE, K.DONE, K.CLOSE)} == {1}
    times = [e.at_ns for e in log.events if e.call == 1]
    assert times == sorted(times)


def test_a_call_that_waits_tells_of_its_offer(
    make_pool: MakePool, log: Any, pid_of: Any, held: Any, client: Any, until: Any
) -> None:
    pool = make_pool(log)
    _, release = held(pool, pid_of(pool))
    waiter = client(pool.execute, "ping", checkout_timeout_s=30.0)
    until(lambda: pool.status().waiting, "a call waits")
    release()
    waiter.result()

    assert of_call(log, 2) == [K.ENQUEUE, K.OFFER, K.ACCEPT, K.SEND, K.RECEIVE, K.CHECKIN, K.DONE]


def test_a_call_that_gives_up_waiting_tells_of_its_withdrawal(
    make_pool: MakePool, log: Any, pid_of: Any, held: Any
) -> None:
    pool = make_pool(log)
    _, release = held(pool, pid_of(pool))
    with pytest.raises(CheckoutTimeout):
        pool.execute("ping", checkout_timeout_s=0.02)
    release()

    assert of_call(log, 2) == [K.ENQUEUE, K.WITHDRAW, K.DONE]
    assert log.of(K.DONE, call=2)[0].detail == "CheckoutTimeout"


def test_a_call_past_its_deadline_is_not_checked_in_and_its_worker_is_killed_and_reaped(
    make_pool: MakePool, log: Any
) -> None:
    pool = make_pool(log)
    pool.warm_up()
    with pytest.raises(CallTimeout):
        pool.execute("sleep", {"seconds": 60}, timeout_s=0.1)
    log.wait_for(K.REAP)

    assert of_call(log, 1) == [K.ENQUEUE, K.ACCEPT, K.SEND, K.DONE]
    assert kinds([e for e in log.events if e.worker == 1 and e.call is None]) == [K.SPAWN, K.READY, K.KILL, K.REAP]


def test_a_command_s_error_is_an_answer(make_pool: MakePool, log: Any) -> None:
    pool = make_pool(log)
    with pytest.raises(CommandError, match=r"^no luck$"):
        pool.execute("fail", {"message": "no luck"})

    assert of_call(log, 1)[-4:] == [K.SEND, K.RECEIVE, K.CHECKIN, K.DONE]
    assert log.of(K.DONE)[0].detail == "CommandError"


def test_every_event_is_told_in_one_thread_of_the_pool_and_names_its_caller_by_what_that_has_set(
    make_pool: MakePool, client: Any
) -> None:
    threads: set[str] = set()
    told: list[int | None] = []

    def observe(event: Event) -> None:
        threads.add(threading.current_thread().name)
        if event.kind is K.ENQUEUE:
            told.append(event.correlation)

    def call(number: int) -> None:
        CORRELATION.set(number)
        pool.execute("ping")

    pool = make_pool(observe)
    for number in (7, 8):
        client(call, number).result()
    pool.execute("ping")
    pool.close()

    assert told == [7, 8, None]
    assert threads == {f"{pool.name}-events"}


# Races at the hand-off, made certain.


def waiting_call(pool: PoolV2, client: Any, until: Any, *, limit_s: float) -> Any:
    caller = client(pool.execute, "echo", {"value": "served"}, checkout_timeout_s=limit_s)
    until(lambda: pool.status().waiting == 1, "a call waits")
    return caller


def test_an_offer_that_meets_a_client_that_has_given_up_is_withdrawn_and_the_next_is_served(
    make_pool: MakePool,
    log: Any,
    pid_of: Any,
    held: Any,
    client: Any,
    until: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = make_pool(log)
    engine = pool._engine
    pid = pid_of(pool)
    holder, release = held(pool, pid)
    give_up = engine.give_up

    def late_give_up(ticket: Ticket, *args: Any, **options: Any) -> None:
        if ticket.call == 2:  # it has given up waiting; before it says so, it is offered the worker
            release()
            until(lambda: ticket.state is TicketState.OFFERED, "the offer arrives")
        give_up(ticket, *args, **options)

    monkeypatch.setattr(engine, "give_up", late_give_up)
    given_up = waiting_call(pool, client, until, limit_s=0.5)
    patient = client(pool.execute, "pid", checkout_timeout_s=30.0)

    with pytest.raises(CheckoutTimeout):
        given_up.result()
    assert holder.result()["pid"] == patient.result()["pid"] == pid
    assert sorted(of_call(log, 2)) == sorted([K.ENQUEUE, K.OFFER, K.WITHDRAW, K.DONE])
    assert pool.status().statistics.outcomes == {"result": 2, "CheckoutTimeout": 1}


def test_an_offer_at_the_last_moment_of_the_wait_is_accepted(
    make_pool: MakePool, log: Any, pid_of: Any, held: Any, client: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(log)
    _, release = held(pool, pid_of(pool))

    def deaf_wait(io: ThreadIo, ticket: Ticket, timeout_s: float) -> Iterable[Any]:
        release()
        until(lambda: ticket.state is TicketState.OFFERED, "the offer arrives")
        return ()

    monkeypatch.setattr(ThreadIo, "wait", deaf_wait)

    assert client(pool.execute, "echo", {"value": "served"}, checkout_timeout_s=30.0).result() == "served"
    assert K.ACCEPT in of_call(log, 2)
    assert pool.status().statistics.outcomes["result"] == 2


def test_a_worker_found_dead_at_the_first_byte_costs_the_call_nothing(
    make_pool: MakePool, log: Any, pid_of: Any, gone: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(log)
    pid = pid_of(pool)

    enter = pool._engine.enter

    def unlucky_enter(*args: Any) -> None:
        enter(*args)
        if not gone(pid):  # the worker dies between the grant and the first byte
            os.kill(pid, signal.SIGKILL)
            until(lambda: gone(pid), "the worker is dead")

    monkeypatch.setattr(pool._engine, "enter", unlucky_enter)

    assert pool.execute("pid")["pid"] != pid
    assert kinds(log.of(K.ACCEPT, K.SEND, K.RECEIVE, K.DONE)) == [K.ACCEPT, K.ACCEPT, K.SEND, K.RECEIVE, K.DONE]


# Counting.


def test_statistics_are_conserved_in_every_snapshot_under_success_and_failure(
    make_pool: MakePool, log: Any, client: Any
) -> None:
    pool = make_pool(log, workers=2, max_queue=3)
    seen: Counter[str] = Counter()

    def work(seed: int) -> list[str]:
        outcomes = []
        for turn in range(12):
            try:
                match (seed + turn) % 4:
                    case 0:
                        pool.execute("fail")
                    case 1:
                        pool.execute("ping", checkout_timeout_s=0.001)
                    case 2:
                        pool.execute("echo", {"value": object()})
                    case _:
                        pool.execute("ping")
                outcomes.append("result")
            except PoolError as error:
                outcomes.append(type(error).__name__)
        return outcomes

    clients = [client(work, seed) for seed in range(6)]
    while any(one.thread.is_alive() for one in clients):
        statistics = pool.status().statistics
        assert statistics.submitted == statistics.in_flight + sum(statistics.outcomes.values())
    for one in clients:
        seen.update(one.result())

    statistics = pool.status().statistics
    assert (statistics.submitted, statistics.in_flight) == (72, 0)
    assert statistics.outcomes == dict(seen) == dict(Counter(event.detail for event in log.of(K.DONE)))
    assert len(log.of(K.ENQUEUE)) == 72
    assert seen["CommandError"] > 0
    assert seen["InvalidRequest"] == 18
