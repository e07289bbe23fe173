"""Hooks that block, or take over: they hold up no other call, no deadline, and the close for a bounded time only."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from poolproof.bridge import CallTimeout, CheckoutTimeout, EventKind, LeaseError, PoolClosed, WorkerCrashed
from poolproof.pool_v2 import Ok, PoolV2, Remove
from poolproof.pool_v2.running import hooks, housekeeper

MakePool = Callable[..., PoolV2]
K = EventKind


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Where hooks block; open at the end, whatever happens."""
    found = threading.Event()
    yield found
    found.set()


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a close wait for hooks no longer than this."""
    monkeypatch.setattr(housekeeper, "JOIN_TIMEOUT_S", 0.1)
    monkeypatch.setattr(hooks, "LAST_HOOK_TIMEOUT_S", 0.1)


@pytest.mark.parametrize("hook", ["enqueue", "checkout", "checkin", "update"])
def test_a_hook_of_one_client_holds_up_no_other_and_no_deadline(
    make_pool: MakePool, spy: Any, gate: threading.Event, client: Any, all_idle: Any, hook: str
) -> None:
    first = iter([True])
    blocked = threading.Event()

    def block_once(*args: Any) -> Ok:
        if next(first, False):
            blocked.set()
            assert gate.wait(60)
        return Ok()

    pool = make_pool(behaviour=spy(**{hook: block_once}), workers=2)
    pool.warm_up()

    def use() -> Any:
        with pool.checkout() as worker:
            worker.update("hello")
            return worker.execute("echo", {"value": "late"})

    slow = client(use)
    assert blocked.wait(20)
    assert [pool.execute("echo", {"value": n}) for n in range(5)] == list(range(5))
    with pytest.raises(CallTimeout):
        pool.execute("sleep", {"seconds": 60}, timeout_s=0.1)
    gate.set()
    assert slow.result() == "late"
    all_idle(pool, 2)


def test_an_init_hook_that_blocks_fails_its_start_at_the_limit_and_others_serve(
    make_pool: MakePool, spy: Any, gate: threading.Event, log: Any
) -> None:
    blocked: list[int] = []

    def block_on_the_first(worker: Any, _: Any) -> Ok:
        worker_id = worker.worker_id
        blocked.append(worker_id)
        assert worker_id != blocked[0] or gate.wait(60)
        return Ok(worker_id)

    spied = spy(init_worker=block_on_the_first)
    pool = make_pool(log, spied, workers=2, start_timeout_s=3.0)
    assert blocked[:1] != [pool.execute("pid", checkout_timeout_s=20.0)["worker_id"]]
    killed = log.wait_for(K.KILL, worker=blocked[0])
    ready = log.wait_for(K.READY, worker=blocked[0])
    assert killed.at_ns - ready.at_ns >= 2.9e9
    log.wait_for(K.REAP, worker=blocked[0])
    assert pool.warm_up() == 2, "its place is not lost"
    gate.set()
    assert spied.wait_for("terminate_worker")[1] == blocked[0], "it was taken after all, and hears of its end"


def test_a_ping_hook_that_blocks_loses_its_worker_at_the_limit_and_no_capacity(
    make_pool: MakePool, spy: Any, gate: threading.Event, log: Any, all_idle: Any
) -> None:
    errors: list[Exception] = []

    def block_once(worker: Any, state: Any) -> Ok:
        if worker.worker_id == 1:
            assert gate.wait(60)
            try:
                worker.execute("ping")
            except Exception as error:
                errors.append(error)
        return Ok()

    spied = spy(ping=block_once)
    pool = make_pool(log, spied, ping_interval_s=0.05, ping_timeout_s=0.2)
    spied.wait_for("ping")
    log.wait_for(K.REAP, worker=1)
    assert pool.execute("pid")["worker_id"] != 1
    gate.set()
    assert isinstance(spied.wait_for("terminate_worker")[0], CallTimeout)
    assert [type(error) for error in errors] == [CallTimeout]
    all_idle(pool, 1)


@pytest.mark.usefixtures("short_waits")
@pytest.mark.parametrize("hook", ["init_worker", "message", "ping", "terminate_worker", "terminate_pool"])
def test_a_hook_that_never_returns_does_not_keep_the_pool_from_closing(
    make_pool: MakePool, spy: Any, gate: threading.Event, gone: Any, hook: str, log: Any, caplog: Any
) -> None:
    spied = spy(**{hook: lambda *_: gate.wait(60)})
    pool = make_pool(log, spied, workers=2, ping_interval_s=0.05)
    log.wait_for(K.READY, count=2)
    if hook == "message":
        pool.warm_up()
        while not pool.broadcast("hello"):
            pass
    if not hook.startswith("terminate"):
        spied.wait_for(hook)
    pool.close(0.0)
    assert pool.status().state == "closed"
    assert pool.status().workers == ()
    assert all(gone(event.pid) for event in log.of(K.SPAWN))
    assert len(log.of(K.REAP)) == 2


@pytest.mark.usefixtures("short_waits")
@pytest.mark.parametrize("hook", ["checkout", "checkin"])
def test_a_client_whose_hook_never_returns_does_not_keep_the_pool_from_closing(
    make_pool: MakePool, spy: Any, gate: threading.Event, client: Any, hook: str
) -> None:
    def block(*_: Any) -> Ok:
        assert gate.wait(60)
        return Ok()

    spied = spy(**{hook: block})
    pool = make_pool(behaviour=spied)
    caller = client(pool.execute, "echo", {"value": 1})
    spied.wait_for(hook)
    pool.close(0.0)
    assert pool.status().workers == ()
    assert spied.of("terminate_worker") == [("terminate_worker", "close", None)]
    gate.set()
    if hook == "checkin":
        assert caller.result() == 1
    else:
        with pytest.raises((PoolClosed, WorkerCrashed)):
            caller.result()


def test_a_hook_may_close_the_pool(make_pool: MakePool, spy: Any, log: Any) -> None:
    pools: list[PoolV2] = []
    spied = spy(terminate_worker=lambda *_: pools[0].close())
    pool = make_pool(log, spied, workers=2)
    pools.append(pool)
    pool.warm_up()
    with pytest.raises(ValueError):
        with pool.checkout():
            raise ValueError
    log.wait_for(K.CLOSE)
    assert len(spied.of("terminate_worker")) == len(log.of(K.READY))
    pool.close()


def test_a_hook_may_use_the_pool(make_pool: MakePool, spy: Any) -> None:
    pools: list[PoolV2] = []
    inner = threading.local()

    def enqueue(command: Any, _: Any) -> Ok:
        if not getattr(inner, "within", False):
            inner.within = True
            pools[0].execute("echo", {"value": "from a hook"})
            inner.within = False
        return Ok(command)

    pools.append(make_pool(behaviour=spy(enqueue=enqueue)))
    assert pools[0].execute("echo", {"value": 1}) == 1
    assert pools[0].status().statistics.outcomes == {"result": 2}


def test_the_lease_of_a_hook_is_for_the_hook_s_thread_and_time(make_pool: MakePool, spy: Any, client: Any) -> None:
    kept: list[Any] = []
    errors: list[type[BaseException]] = []

    def init(worker: Any, _: Any) -> Ok:
        kept.append(worker)
        other = client(worker.execute, "ping")
        other.join()
        errors.append(type(other.error))
        return Ok()

    pool = make_pool(behaviour=spy(init_worker=init))
    pool.execute("ping")
    assert errors == [LeaseError]
    with pytest.raises(LeaseError):
        kept[0].execute("ping")
    assert pool.status().statistics.outcomes == {"result": 1}


def test_a_message_hook_that_removes_a_client_s_worker_leads_to_another(
    make_pool: MakePool, spy: Any, gate: threading.Event
) -> None:
    def message(text: str, worker_id: int) -> Ok | Remove:
        if worker_id == 1:
            assert gate.wait(60)
            return Ok(worker_id)
        return Remove("does not know it")

    spied = spy(init_worker=lambda worker, _: Ok(worker.worker_id), message=message)
    pool = make_pool(behaviour=spied, workers=2)
    pool.warm_up()
    with pool.checkout() as one, pool.checkout() as two:
        for lease in sorted((one, two), key=lambda lease: lease.worker_id):
            lease.end()
    pool.broadcast("hello")
    spied.wait_for("message")
    with pool.checkout(checkout_timeout_s=20.0) as worker:
        assert worker.worker_id == 3
    gate.set()
    assert spied.wait_for("terminate_worker") == ("does not know it", 2)


def test_a_hook_that_is_slow_leaves_a_late_client_no_worker(
    make_pool: MakePool, spy: Any, gate: threading.Event, until: Any, client: Any
) -> None:
    spied = spy(checkout=lambda *_: Ok(gate.wait(60)))
    pool = make_pool(behaviour=spied)
    pool.warm_up()
    caller = client(pool.execute, "ping", timeout_s=0.3)
    spied.wait_for("checkout")
    with pytest.raises(CheckoutTimeout):
        pool.execute("ping", checkout_timeout_s=0.01)
    until(lambda: [w.worker_id for w in pool.status().workers if w.state == "leased"] == [], "it was taken back")
    gate.set()
    with pytest.raises((CallTimeout, WorkerCrashed)):
        caller.result()
