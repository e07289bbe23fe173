"""The contract of a checkout: construction, slow and failed starts, and what a failing client costs."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from poolproof.bridge import CheckoutTimeout, ConfigError, EventKind, HookError, PoolClosed, PoolConfig
from poolproof.pool_v2 import Ok, PoolV2, Remove, WorkerBehaviour

MakePool = Callable[..., PoolV2]
K = EventKind


@pytest.mark.parametrize("size", [0, -1, 1.5, "2", True])
def test_an_impossible_size_or_behaviour_is_refused_at_construction(size: Any, spy: Any) -> None:
    # N1
    with pytest.raises(ConfigError, match="workers"):
        PoolV2(PoolConfig(workers=size))
    with pytest.raises(ConfigError, match="the argument is a class, not an object"):
        PoolV2(behaviour=WorkerBehaviour)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="the object lacks init_pool, init_worker"):
        PoolV2(behaviour=object())  # type: ignore[arg-type]

    def breaks() -> None:
        raise OSError("no licence")

    with pytest.raises(OSError, match="no licence"):
        PoolV2(behaviour=spy(init_pool=breaks))


def test_the_pool_s_init_hook_comes_first_and_a_checkout_leaves_nothing_behind(
    make_pool: MakePool, spy: Any, log: Any
) -> None:
    # N2
    spied = spy(init_pool=lambda: {"key": 1}, init_worker=lambda worker, pool_state: Ok(pool_state["key"]))
    pool = make_pool(log, spied, workers=2)
    pool.warm_up()
    assert [told[0] for told in spied.told] == ["init_pool", "init_worker", "init_worker"]
    threads = set(threading.enumerate())

    with pool.checkout() as worker:
        worker.execute("ping")
        lease = weakref.ref(worker)
    del worker

    assert lease() is None, "no reference to it is left, not even in a cycle"
    assert pool._engine.open.by_call == {}
    assert pool._engine.coordinator.held == {}
    assert set(threading.enumerate()) <= threads
    assert not [e for e in log.of(K.KILL) if e.worker is not None]
    assert spied.of("init_pool") == [("init_pool",)]


def test_a_hook_that_answers_junk_is_told_what_was_expected_and_what_came(
    make_pool: MakePool, spy: Any, all_idle: Any
) -> None:
    # N3
    junk: dict[str, Any] = {}
    spied = spy()
    pool = make_pool(behaviour=spied)
    pool.warm_up()
    for hook, expected in (("enqueue", "Ok or Skip"), ("checkout", "Ok or Remove or Skip")):
        spied.script = {hook: lambda *args: junk}
        for call in (pool.checkout, lambda: pool.execute("ping")):
            with pytest.raises(HookError, match=f"the hook '{hook}' must return {expected}; it returned {{}}"):
                call()
    spied.script = {"update": lambda *args: Remove("no")}
    with pool.checkout() as worker:
        with pytest.raises(HookError, match=r"the hook 'update' must return Ok; it returned Remove\(reason='no'\)"):
            worker.update(1)
    spied.script = {}
    assert pool.execute("echo", {"value": 1}) == 1
    assert [str(told[1]) for told in spied.of("terminate_worker")] == 2 * [
        "the hook 'checkout' must return Ok or Remove or Skip; it returned {}"
    ]
    all_idle(pool, 1)
    assert pool.status().statistics.outcomes == {"HookError": 2, "result": 1}


def test_a_closed_pool_refuses_at_once(make_pool: MakePool, spy: Any) -> None:
    # N4
    spied = spy()
    pool = make_pool(behaviour=spied)
    pool.close()
    told = len(spied.told)
    for refused in (pool.checkout, lambda: pool.execute("ping"), lambda: pool.broadcast("hello")):
        with pytest.raises(PoolClosed, match=pool.name):
            refused()
    assert {hook for hook, *_ in spied.told[told:]} <= {"enqueue"}, "no other hook hears of it"


def test_a_pool_that_ends_while_a_client_waits_tells_it(make_pool: MakePool, spy: Any, client: Any, until: Any) -> None:
    # N5
    pool = make_pool(behaviour=spy())
    with pool.checkout() as worker:
        waiter = client(pool.checkout, checkout_timeout_s=60.0)
        until(lambda: pool.status().waiting, "a client waits")
        closer = client(pool.close)
        with pytest.raises(PoolClosed, match="was closed before the call began"):
            waiter.result()
        assert worker.execute("echo", {"value": 1}) == 1, "who holds a worker may go on"
    closer.join()


def test_a_client_that_raises_costs_its_worker_once_and_sees_its_exception_unchanged(
    make_pool: MakePool, spy: Any, log: Any, gone: Any, until: Any, all_idle: Any
) -> None:
    # N6
    spied = spy()
    pool = make_pool(log, spied)
    error = ValueError("mine")
    worker = pool.checkout()
    pid = worker.pid
    with pytest.raises(ValueError, match="mine") as caught:
        with worker:
            raise error
    assert caught.value is error
    assert error.__cause__ is error.__context__ is None
    assert spied.wait_for("terminate_worker")[0] is error
    until(lambda: gone(pid), "the worker has ended")
    all_idle(pool, 1)
    assert len(log.of(K.SPAWN)) == 2
    assert len(spied.of("terminate_worker")) == 1


def test_a_client_whose_thread_ends_costs_its_worker_once(
    make_pool: MakePool, spy: Any, log: Any, client: Any, all_idle: Any
) -> None:
    # N7
    spied = spy()
    pool = make_pool(log, spied)
    kept: list[Any] = []
    client(lambda: kept.append(pool.checkout())).join()
    assert spied.wait_for("terminate_worker")[0] == "down"
    assert spied.wait_for("cancelled")[0] == "checked_out"
    all_idle(pool, 1)
    assert len(log.of(K.SPAWN)) == 2
    assert kept


def test_the_terminate_hook_sees_what_a_client_published(make_pool: MakePool, spy: Any) -> None:
    # N8
    spied = spy(
        init_worker=lambda worker, _: Ok(["born"]),
        update=lambda message, state: Ok([*state, message]),
    )
    pool = make_pool(behaviour=spied)
    worker = pool.checkout()
    worker.update("one")
    worker.update("two")
    with pytest.raises(KeyError):
        with worker:
            raise KeyError
    reason, state = spied.wait_for("terminate_worker")
    assert isinstance(reason, KeyError)
    assert state == ["born", "one", "two"]


def test_a_checkout_during_a_slow_start_times_out_alone(make_pool: MakePool, spy: Any, log: Any) -> None:
    # N15
    gate = threading.Event()

    def slow(worker: Any, _: Any) -> Ok:
        assert gate.wait(60)
        return Ok(worker.execute("pid")["pid"])

    spied = spy(init_worker=slow)
    pool = make_pool(log, spied)
    with pytest.raises(CheckoutTimeout):
        pool.checkout(checkout_timeout_s=0.05)
    gate.set()
    with pool.checkout() as worker:
        assert worker.execute("pid")["pid"] == worker.pid
    assert len(log.of(K.SPAWN)) == 1
    assert log.of(K.KILL) == []


def test_a_failed_start_is_tried_again(make_pool: MakePool, spy: Any, log: Any) -> None:
    # N16
    turns = iter([OSError("no model"), None])

    def first_fails(worker: Any, _: Any) -> Ok:
        error = next(turns)
        if error is not None:
            raise error
        return Ok("fit")

    spied = spy(init_worker=first_fails)
    pool = make_pool(log, spied)
    with pool.checkout() as worker:
        assert worker.execute("ping")
    assert len(log.of(K.SPAWN)) == 2
    assert log.of(K.KILL)[0].detail == "start failed"
    pool.close()
    assert spied.of("terminate_worker") == [("terminate_worker", "close", "fit")], "not of one that was never taken"


def test_failing_starts_do_not_delay_the_workers_that_serve(make_pool: MakePool, spy: Any, log: Any) -> None:
    # N17
    def only_one(worker: Any, _: Any) -> Ok | Remove:
        return Ok() if worker.worker_id == 1 else Remove("unfit")

    pool = make_pool(log, spy(init_worker=only_one), workers=2, start_failures_to_open=2, circuit_reset_s=0.05)
    log.wait_for(K.KILL, count=3)
    assert {pool.execute("pid")["worker_id"] for _ in range(20)} == {1}
    with pool.checkout() as worker:
        assert worker.worker_id == 1
    log.wait_for(K.KILL, count=4)
    assert "its init hook: unfit" in pool.health_check().reasons[-1]


def test_a_pool_that_is_dropped_ends_its_workers_and_tells_its_behaviour(spy: Any, gone: Any, until: Any) -> None:
    spied = spy()
    pool = PoolV2(PoolConfig(workers=1), behaviour=spied)
    with pool.checkout() as worker:
        pid = worker.pid
    assert pid != os.getpid()
    del pool, worker
    gc.collect()
    assert spied.wait_for("terminate_pool") == ("close", None)
    assert spied.of("terminate_worker") == [("terminate_worker", "close", None)]
    until(lambda: gone(pid), "the worker is gone")
