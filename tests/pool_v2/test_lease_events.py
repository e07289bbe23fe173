"""What a pool tells of its leases: G2, G5 and G27 can be decided from it by the harness's own checkers."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

import pytest

from poolproof.bridge import CallTimeout, CheckoutTimeout, CommandError, EventKind, PoolError, WorkerCrashed
from poolproof.harness.checkers import AtMostOnce, CleanWorkers, Conserved, ExclusiveLease
from poolproof.harness.history.history import History, Op, RunInfo
from poolproof.harness.model.verdict import Verdict
from poolproof.pool_v2 import Ok, PoolV2
from poolproof.pool_v2.core.worker_table import NEVER_NS

MakePool = Callable[..., PoolV2]
K = EventKind


def steps(log: Any, call: int) -> list[tuple[EventKind, int | None]]:
    """The steps of one call or lease, each with its worker."""
    return [(event.kind, event.worker) for event in log.events if event.call == call]


def test_a_lease_has_a_number_of_its_own_and_each_call_in_it_another(make_pool: MakePool, log: Any) -> None:
    pool = make_pool(log)
    pool.warm_up()
    with pool.checkout() as worker:
        worker.execute("ping")
        with pytest.raises(CommandError):
            worker.execute("fail")
    assert steps(log, 1) == [(K.ACCEPT, 1), (K.CHECKIN, 1)], "a lease is no call: neither ENQUEUE nor DONE"
    for call in (2, 3):  # ENQUEUE names the worker: the call waits for none
        assert steps(log, call) == [(K.ENQUEUE, 1), (K.SEND, 1), (K.RECEIVE, 1), (K.DONE, None)]
    assert [event.detail for event in log.of(K.DONE)] == ["result", "CommandError"]
    assert {event.pid for event in log.of(K.SEND, K.RECEIVE)} == {log.of(K.SPAWN)[0].pid}


def test_a_lease_that_waits_and_one_that_gives_up_tell_so(
    make_pool: MakePool, log: Any, client: Any, until: Any
) -> None:
    pool = make_pool(log)
    pool.warm_up()
    with pool.checkout():
        with pytest.raises(PoolError):
            pool.checkout(checkout_timeout_s=0.01)
        waiter = client(pool.checkout, checkout_timeout_s=60.0)
        until(lambda: pool.status().waiting, "a client waits")
    waiter.result().end()
    assert steps(log, 2) == [(K.WITHDRAW, None)]
    assert steps(log, 3) == [(K.OFFER, 1), (K.ACCEPT, 1), (K.CHECKIN, 1)]


def test_a_lease_whose_call_broke_off_is_not_checked_in(make_pool: MakePool, log: Any) -> None:
    pool = make_pool(log)
    pool.warm_up()
    with pytest.raises(CallTimeout):
        with pool.checkout() as worker:
            worker.execute("sleep", {"seconds": 60}, timeout_s=0.1)
    log.wait_for(K.REAP)
    assert steps(log, 1) == [(K.ACCEPT, 1)]
    assert steps(log, 2) == [(K.ENQUEUE, 1), (K.SEND, 1), (K.DONE, None)]
    assert [e.detail for e in log.of(K.KILL)] == ["CallTimeout"]


def test_hooks_of_the_pool_tell_their_leases_and_count_as_nobody_s_calls(
    make_pool: MakePool, spy: Any, log: Any
) -> None:
    def init(worker: Any, _: Any) -> Ok:
        return Ok(worker.execute("pid")["pid"])

    spied = spy(init_worker=init)
    pool = make_pool(log, spied, ping_interval_s=0.05)
    spied.wait_for("ping", count=2)
    pool.close()
    assert steps(log, 1) == [(K.ACCEPT, 1), (K.CHECKIN, 1)]
    assert steps(log, 2) == [(K.SEND, 1), (K.RECEIVE, 1)]
    assert log.of(K.ENQUEUE, K.DONE) == []
    assert pool.status().statistics.submitted == 0


def test_the_checkers_of_the_harness_find_leases_among_calls_in_order(
    make_pool: MakePool, spy: Any, log: Any, client: Any
) -> None:
    pool = make_pool(log, spy(), workers=2, ping_interval_s=0.05, max_idle_pings=2)
    ops: list[Op] = []
    seen: Counter[str] = Counter()
    lock = threading.Lock()

    def record(execute: Callable[..., object], command: str, args: dict[str, Any], **options: Any) -> None:
        outcome = "result"
        try:
            execute(command, args, **options)
        except PoolError as error:
            outcome = type(error).__name__
        with lock:
            seen[outcome] += 1
            ops.append(
                Op(
                    index=len(ops),
                    client=0,
                    command="x",
                    args={},
                    nonce=str(len(ops)),
                    intended_ns=1,
                    invoked_ns=1,
                    completed_ns=2,
                    outcome=outcome,
                    completions=1,
                )
            )

    def run(number: int) -> None:
        for turn in range(6):
            nonce = f"{number}.{turn}"
            record(pool.execute, "echo", {"nonce": nonce}, checkout_timeout_s=30.0)
            with pool.checkout(checkout_timeout_s=30.0) as worker:
                for part in range(3):
                    record(worker.execute, "echo", {"nonce": f"{nonce}.{part}"})
                if number == 0 and turn == 2:
                    record(worker.execute, "sleep", {"seconds": 60}, timeout_s=0.05)
                if number == 1 and turn == 2:
                    record(worker.execute, "exit", {})
                if number == 2 and turn == 2:
                    record(worker.execute, "fail", {})

    for running in [client(run, number) for number in range(4)]:
        running.result()
    statistics = pool.status().statistics
    pool.close()
    info = RunInfo(
        scenario="s",
        pool="v2",
        pool_name="p",
        seed=0,
        workers=2,
        clients=4,
        profile="p",
        started_at="",
        started_ns=0,
        call_timeout_s=1,
        checkout_timeout_s=1,
    )
    history = History(
        info=info,
        ops=cast(Any, tuple(ops)),
        events=cast(Any, tuple(log.events)),
        statistics=statistics,
        finished=True,
    )
    for checker in (ExclusiveLease(), CleanWorkers(), AtMostOnce(), Conserved()):
        found = checker.check(history)
        assert found.verdict is Verdict.PASS, found
    assert seen == {"result": 96, "CallTimeout": 1, WorkerCrashed.__name__: 1, "CommandError": 1}
    done = Counter(event.detail for event in log.of(K.DONE))
    assert done == seen
    assert len(log.of(K.ENQUEUE)) == len(ops)


class Meanwhile:
    """A lock; before it is taken for the first time, another client acts."""

    def __init__(self, lock: Any, act: Callable[[], object]) -> None:
        self._lock = lock
        self._acts = [act]

    def __enter__(self) -> None:
        while self._acts:
            self._acts.pop()()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def test_an_offer_that_comes_too_late_is_withdrawn_and_does_not_count_as_served(make_pool: MakePool, log: Any) -> None:
    pool = make_pool(log)
    pool.warm_up()
    engine, holder = pool._engine, pool.checkout()
    ticket = engine.io.ticket(99, None, engine.clock.deadline_ns(0.001), NEVER_NS, 0, None)
    engine.enter(ticket)
    holder.end()
    engine.clock.sleep(0.002)

    with pytest.raises(CheckoutTimeout):
        engine.settle(ticket, "late")
    engine.give_up(ticket, None)

    assert steps(log, 99) == [(K.OFFER, 1), (K.WITHDRAW, 1)]
    assert [worker.served for worker in pool.status().workers] == [1], "the lease before it"


def test_an_offer_that_crosses_with_its_client_giving_up_is_withdrawn(make_pool: MakePool, log: Any) -> None:
    pool = make_pool(log)
    pool.warm_up()
    engine, holder = pool._engine, pool.checkout()
    ticket = engine.io.ticket(99, None, NEVER_NS, NEVER_NS, 0, None)
    engine.enter(ticket)
    engine.lock = cast(Any, Meanwhile(engine.lock, holder.end))

    engine.give_up(ticket, None)

    assert steps(log, 99) == [(K.OFFER, 1), (K.WITHDRAW, 1)]
    assert pool.execute("ping")["status"] == "ok"
