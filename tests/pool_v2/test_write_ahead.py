"""A request that waits is written by whoever hands its worker over: once, for its own client, wherever that fails."""

from __future__ import annotations

import itertools
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

import poolproof.bridge.processes.channel
import poolproof.bridge.wire.exchange
import poolproof.pool_v2.calls.io
import poolproof.pool_v2.pool
from poolproof.bridge import CallTimeout, CheckoutTimeout, EventKind, Sent, WorkerCrashed
from poolproof.bridge.clock import now_ns
from poolproof.bridge.worker.intervals import read_journals
from poolproof.bridge.worker.journal import JOURNAL_VARIABLE
from poolproof.pool_v2 import PoolV2
from poolproof.pool_v2.calls import calls, handoff, transfer
from poolproof.pool_v2.running import runtime
from tests.waiting import stop

HARD_LIMIT_S = 15.0
LARGER_THAN_A_PIPE = "x" * 3_000_000
Write = Callable[[int, Any], int]


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> Callable[[Write], list[int]]:
    """Have the hand-off write by this function; the list says in which threads it was called."""

    def replace(write: Write) -> list[int]:
        threads: list[int] = []

        def told(put: Any, data: Any) -> int:
            threads.append(threading.get_ident())
            return write(put.args[0], data)

        monkeypatch.setattr(handoff, "call", told)
        return threads

    return replace


@pytest.fixture
def busy(make_pool: Any, pid_of: Any, client: Any, until: Any, tmp_path: Any) -> Callable[..., tuple[PoolV2, int, Any]]:
    """A pool whose one worker is stopped in the midst of the call of a thread; its pid, and that client."""

    def make(observer: Any = None, *, by_main: bool = False) -> tuple[PoolV2, int, Any]:
        pool = make_pool(observer, env={JOURNAL_VARIABLE: str(tmp_path)})
        pid = pid_of(pool)
        stop(pid)
        holder = None
        if not by_main:
            holder = client(pool.execute, "echo", {"value": "first"})
            until(lambda: [worker.state for worker in pool.status().workers] == ["leased"], "the worker is taken")
        return pool, pid, holder

    return make


def in_line(pool: PoolV2, client: Any, until: Any, *args: Any, **options: Any) -> Any:
    before = pool.status().waiting
    made = client(pool.execute, *args, **options)
    waiting = pool._engine.coordinator._queue
    until(
        lambda: len(waiting) > before and all(each.claim for each in waiting.copy().values()),
        "it waits, and may be sent",
    )
    return made


def test_the_client_that_leaves_writes_the_next_request(busy: Any, writes: Any, client: Any, until: Any) -> None:
    threads = writes(os.write)
    pool, pid, holder = busy()
    second = in_line(pool, client, until, "echo", {"value": "second"})
    third = in_line(pool, client, until, "echo", {"value": "third"})
    os.kill(pid, signal.SIGCONT)

    assert [each.result() for each in (holder, second, third)] == ["first", "second", "third"]
    assert threads == [holder.thread.ident, second.thread.ident]
    assert pool.status().statistics.outcomes == {"result": 3}


def test_one_that_is_larger_than_the_pipe_is_ended_by_its_own_client(
    busy: Any, writes: Any, client: Any, until: Any
) -> None:
    threads = writes(os.write)
    pool, pid, holder = busy()
    second = in_line(pool, client, until, "echo", {"value": LARGER_THAN_A_PIPE})
    os.kill(pid, signal.SIGCONT)

    assert holder.result() == "first"
    assert second.result() == LARGER_THAN_A_PIPE
    assert len(threads) == 1


def test_the_main_thread_writes_for_another_as_any_thread_does(busy: Any, writes: Any, client: Any, until: Any) -> None:
    threads = writes(os.write)
    pool, pid, _ = busy(by_main=True)
    waiters: list[Any] = []

    def come_later() -> None:
        until(lambda: [worker.state for worker in pool.status().workers] == ["leased"], "the worker is taken")
        waiters.append(in_line(pool, client, until, "echo", {"value": "second"}))
        os.kill(pid, signal.SIGCONT)

    helper = client(come_later)
    assert pool.execute("echo", {"value": "first"}) == "first"
    helper.result()
    assert waiters[0].result() == "second"
    assert threads == [threading.main_thread().ident]


def test_the_main_thread_s_request_is_written_for_it_as_any_thread_s_is(
    busy: Any, writes: Any, client: Any, until: Any
) -> None:
    threads = writes(os.write)
    pool, pid, holder = busy()

    def go_on() -> None:
        until(lambda: pool.status().waiting, "the main thread waits")
        os.kill(pid, signal.SIGCONT)

    helper = client(go_on)
    assert pool.execute("echo", {"value": "main"}) == "main"
    helper.result()
    holder.result()
    assert threads == [holder.thread.ident]


def test_one_whose_patience_ends_while_it_is_written_is_served(
    busy: Any, writes: Any, client: Any, until: Any, tmp_path: Any, log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slowly(fd: int, data: Any) -> int:
        begun.set()
        assert go_on.wait(HARD_LIMIT_S)
        return os.write(fd, data)

    monkeypatch.setattr(handoff, "LONGEST_WRITING_S", HARD_LIMIT_S)

    writes(slowly)
    pool, pid, holder = busy(log)
    second = in_line(pool, client, until, "echo", {"value": "second", "nonce": "n2"}, checkout_timeout_s=3.0)
    os.kill(pid, signal.SIGCONT)
    assert begun.wait(HARD_LIMIT_S)
    second.thread.join(3.2)
    assert second.thread.is_alive(), "it waits for the one that writes"
    go_on.set()

    assert second.result() == "second"
    assert holder.result() == "first"
    assert [entry.nonce for entry in read_journals(tmp_path)].count("n2") == 1
    kinds = Counter(event.kind for event in log.events if event.call == 2)
    assert (kinds[EventKind.ACCEPT], kinds[EventKind.SEND]) == (1, 1), "told by the one that wrote, and by nobody else"


def test_one_whose_patience_ended_before_is_never_sent(
    busy: Any, writes: Any, client: Any, until: Any, tmp_path: Any
) -> None:
    threads = writes(os.write)
    pool, pid, holder = busy()
    second = client(pool.execute, "echo", {"value": "second", "nonce": "n2"}, checkout_timeout_s=0.05)
    with pytest.raises(CheckoutTimeout) as caught:
        second.result()
    os.kill(pid, signal.SIGCONT)

    assert caught.value.sent is Sent.NO
    assert holder.result() == "first"
    assert pool.execute("echo", {"value": "third"}) == "third"
    assert threads == []
    assert "n2" not in [entry.nonce for entry in read_journals(tmp_path)]


def test_a_worker_that_dies_with_a_request_that_was_written_ahead_costs_that_call_and_runs_it_once(
    busy: Any, writes: Any, client: Any, until: Any, tmp_path: Any
) -> None:
    pids: list[int] = []

    def then_die(fd: int, data: Any) -> int:
        stop(pids[0])
        written = os.write(fd, data)
        os.kill(pids[0], signal.SIGKILL)
        return written

    writes(then_die)
    pool, pid, holder = busy()
    pids.append(pid)
    second = in_line(pool, client, until, "echo", {"value": "second", "nonce": "n2"})
    os.kill(pid, signal.SIGCONT)
    with pytest.raises(WorkerCrashed) as caught:
        second.result()

    assert caught.value.sent is Sent.YES
    assert holder.result() == "first"
    assert "n2" not in [entry.nonce for entry in read_journals(tmp_path)]
    assert pool.execute("echo", {"value": "third"}) == "third"


def test_a_worker_that_was_dead_before_the_write_costs_nobody_anything(
    busy: Any, writes: Any, client: Any, until: Any, gone: Any
) -> None:
    pids: list[int] = []

    def to_a_dead_one(fd: int, data: Any) -> int:
        os.kill(pids[0], signal.SIGKILL)
        until(lambda: gone(pids[0]), "it is dead")
        return os.write(fd, data)

    writes(to_a_dead_one)
    pool, pid, holder = busy()
    pids.append(pid)
    second = in_line(pool, client, until, "echo", {"value": "second"})
    os.kill(pid, signal.SIGCONT)

    assert (holder.result(), second.result()) == ("first", "second")
    assert pool.status().statistics.outcomes == {"result": 2}


def test_a_deadline_that_passes_while_the_request_is_written_is_a_call_timeout(
    busy: Any, writes: Any, client: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handoff, "LONGEST_WRITING_S", HARD_LIMIT_S)

    def late(fd: int, data: Any) -> int:
        written = os.write(fd, data)
        [ticket] = pool._engine.coordinator.held.values()
        until(lambda: ticket.call != 2 or now_ns() > ticket.deadline_ns, "the deadline of the second has passed")
        return written

    writes(late)
    pool, pid, holder = busy()
    second = in_line(pool, client, until, "sleep", {"seconds": 60}, timeout_s=2.0)
    os.kill(pid, signal.SIGCONT)
    with pytest.raises(CallTimeout) as caught:
        second.result()

    assert caught.value.sent is Sent.YES
    assert holder.result() == "first"
    assert pool.execute("echo", {"value": "third"}) == "third"


def test_one_that_is_offered_a_worker_just_after_its_patience_was_over_is_never_sent(
    busy: Any, writes: Any, client: Any, until: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = writes(os.write)
    pool, pid, holder = busy()

    def meanwhile(_: str) -> None:  # the client has seen that it waits in vain, and is about to leave the queue
        os.kill(pid, signal.SIGCONT)
        holder.result()

    monkeypatch.setattr(pool._engine.hooks, "cancelled", meanwhile)
    second = client(pool.execute, "echo", {"value": "second", "nonce": "n2"}, checkout_timeout_s=0.05)
    with pytest.raises(CheckoutTimeout) as caught:
        second.result()

    assert caught.value.sent is Sent.NO
    assert pool.execute("echo", {"value": "third"}) == "third"
    assert threads == []
    assert "n2" not in [entry.nonce for entry in read_journals(tmp_path)]


# Ctrl-C in a main thread that writes for another, and in one for which another writes.

PATH = {
    module.__file__
    for module in (
        handoff,
        runtime,
        transfer,
        calls,
        poolproof.pool_v2.calls.io,
        poolproof.pool_v2.pool,
        poolproof.bridge.wire.exchange,
        poolproof.bridge.processes.channel,
    )
}


def require_order(pool: PoolV2, until: Any) -> None:
    """Nobody waits or holds a worker, each call has its outcome, and the next is served."""
    until(lambda: not pool._engine.coordinator.held and not pool.status().waiting, "nobody waits or holds")
    assert pool.execute("echo", {"value": "next"}, checkout_timeout_s=30.0) == "next"
    statistics = pool.status().statistics
    assert statistics.in_flight == 0
    assert set(statistics.outcomes) <= {"result", "Cancelled"}


@pytest.mark.parametrize("observed", [False, True])
def test_wherever_the_main_thread_is_interrupted_whoever_it_writes_for_is_served_once(
    make_pool: Any,
    client: Any,
    until: Any,
    tmp_path: Any,
    log: Any,
    in_exchange: Any,
    interrupted_after: Any,
    observed: bool,
) -> None:
    pool = make_pool(log if observed else None, env={JOURNAL_VARIABLE: str(tmp_path)}, zygote=True)
    waiters: list[Any] = []

    def come(_: int) -> None:
        if threading.current_thread() is threading.main_thread() and not waiters:
            args = {"value": step, "nonce": f"n{step}"}
            # In a thread of its own, into which no interrupt comes.
            waiters.append(client(in_line, pool, client, until, "echo", args, checkout_timeout_s=30.0).result())

    in_exchange(come)
    served = 0
    for step in itertools.count():
        waiters.clear()
        pool.warm_up()
        more = interrupted_after(
            step, lambda: pool.execute("echo", {"value": "mine"}, checkout_timeout_s=30.0), PATH, generators=True
        )
        for waiter in waiters:
            assert waiter.result() == step
            assert [entry.nonce for entry in read_journals(tmp_path)].count(f"n{step}") == 1
            served += 1
        waiters.append(None)  # nobody comes into the next call
        require_order(pool, until)
        if not more:
            break
    assert served > 10, "there were calls to interrupt after the exchange"
    assert step > served


@pytest.mark.parametrize("observed", [False, True])
def test_wherever_the_main_thread_is_interrupted_its_request_runs_at_most_once_whoever_writes_it(
    make_pool: Any, client: Any, until: Any, tmp_path: Any, log: Any, interrupted_after: Any, observed: bool
) -> None:
    pool = make_pool(log if observed else None, env={JOURNAL_VARIABLE: str(tmp_path)}, zygote=True)
    runs = 0
    for step in itertools.count():
        held, over = threading.Event(), threading.Event()

        def hold(held: threading.Event = held, over: threading.Event = over) -> None:
            with pool.checkout(checkout_timeout_s=30.0):
                held.set()
                until(lambda: pool._engine.coordinator.waiting or over.is_set(), "the main thread waits")

        holder = client(hold)
        assert held.wait(HARD_LIMIT_S)
        args = {"value": step, "nonce": f"n{step}"}
        more = interrupted_after(
            step, lambda args=args: pool.execute("echo", args, checkout_timeout_s=30.0), PATH, generators=True
        )
        over.set()
        holder.result()
        require_order(pool, until)
        count = [entry.nonce for entry in read_journals(tmp_path)].count(f"n{step}")
        assert count <= 1, f"at step {step}"
        runs += count
        if not more:
            break
    assert count == 1, "without an interrupt"
    assert 1 < runs <= step
    if observed:
        told = Counter(
            (event.call, event.worker)
            for event in log.events
            if event.kind in (EventKind.ACCEPT, EventKind.WITHDRAW) and event.worker is not None
        )
        assert told
        assert max(told.values()) == 1, "an offer is accepted or withdrawn, not both"
