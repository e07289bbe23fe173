"""Behaviours in odd cases: a single hook, hooks that end threads or break off calls, sessions, and interrupts."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

from poolproof.bridge import CallTimeout, EventKind, HookError, PoolClosed
from poolproof.pool_v2 import Ok, PoolV2, WorkerBehaviour
from poolproof.pool_v2.calls import transfer
from poolproof.pool_v2.calls.io import ThreadIo

MakePool = Callable[..., PoolV2]
K = EventKind


def test_a_behaviour_with_one_hook_hears_of_every_worker(make_pool: MakePool, log: Any) -> None:
    ends: list[tuple[Any, Any]] = []

    class Mourner(WorkerBehaviour):
        def terminate_worker(self, reason: Any, state: Any) -> None:
            ends.append((reason, state))

    pool = make_pool(log, Mourner(), workers=2)
    pool.warm_up()
    os.kill(log.of(K.SPAWN)[0].pid, signal.SIGKILL)
    log.wait_for(K.READY, count=3)
    pool.warm_up()
    pool.close()
    assert ends == [("exited", None), ("close", None), ("close", None)]


def test_a_broadcast_without_a_behaviour_changes_nothing(make_pool: MakePool, pid_of: Any) -> None:
    pool = make_pool()
    pid = pid_of(pool)
    assert pool.broadcast("hello") == 1
    assert pool.execute("pid")["pid"] == pid
    assert pool._engine.leases.mail == {}
    pool.close()
    with pytest.raises(PoolClosed):
        pool.broadcast("hello")


@pytest.mark.parametrize("hook", ["enqueue", "update"])
def test_what_a_hook_without_a_worker_to_answer_for_raises_is_a_hook_error(
    make_pool: MakePool, spy: Any, log: Any, hook: str
) -> None:
    def fail(*_: Any) -> None:
        raise LookupError("no such thing")

    spied = spy(**{hook: fail})
    pool = make_pool(log, spied)
    with pytest.raises(HookError, match=f"the hook '{hook}' raised LookupError: no such thing") as caught:
        pool.checkout().update("hello")
    assert isinstance(caught.value.__cause__, LookupError)


def test_an_init_hook_that_ends_its_thread_is_a_failed_start(make_pool: MakePool, spy: Any, log: Any) -> None:
    turns = iter([SystemExit(1)])

    def init(worker: Any, _: Any) -> Ok:
        for error in turns:
            raise error
        return Ok()

    pool = make_pool(log, spy(init_worker=init))
    assert pool.execute("echo", {"value": 1}, checkout_timeout_s=20.0) == 1
    assert [e.detail for e in log.of(K.KILL)] == ["start failed"]


def test_an_init_hook_that_breaks_off_a_call_is_a_failed_start_whatever_it_answers(
    make_pool: MakePool, spy: Any, log: Any
) -> None:
    def init(worker: Any, _: Any) -> Ok:
        if worker.worker_id == 1:
            with pytest.raises(CallTimeout):
                worker.execute("sleep", {"seconds": 60}, timeout_s=0.05)
        return Ok("taken")

    spied = spy(init_worker=init)
    pool = make_pool(log, spied)
    assert pool.execute("pid", checkout_timeout_s=20.0)["worker_id"] == 2
    reason, state = spied.wait_for("terminate_worker")
    assert isinstance(reason, CallTimeout)
    assert state == "taken"


def test_an_init_hook_without_a_thread_to_run_in_is_a_failed_start(
    make_pool: MakePool, spy: Any, log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start
    turns = iter([True])

    def refused(self: threading.Thread) -> None:
        if self.name == "pool-v2-init" and next(turns, False):
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", refused)
    pool = make_pool(log, spy())
    assert pool.execute("pid", checkout_timeout_s=20.0)["worker_id"] == 2
    assert pool._engine.housekeeper._initialising == {}


def test_a_ping_hook_that_ends_its_thread_costs_its_worker_alone(make_pool: MakePool, spy: Any, all_idle: Any) -> None:
    error = SystemExit(1)

    def ping(worker: Any, state: Any) -> Ok:
        if worker.worker_id == 1:
            raise error
        return Ok()

    spied = spy(ping=ping)
    pool = make_pool(behaviour=spied, ping_interval_s=0.05)
    assert spied.wait_for("terminate_worker") == (error, None)
    spied.wait_for("ping", count=3)
    all_idle(pool, 1)


def test_a_call_whose_worker_dies_in_its_checkout_hook_goes_to_another(
    make_pool: MakePool, spy: Any, log: Any, until: Any
) -> None:
    killed: list[int] = []

    def checkout(command: str, state: int, _: Any) -> Ok:
        if not killed:
            killed.append(state)
            os.kill(state, signal.SIGKILL)
            log.wait_for(K.REAP, pid=state)
        return Ok(state)

    spied = spy(init_worker=lambda worker, _: Ok(worker.pid), checkout=checkout)
    pool = make_pool(log, spied)
    assert pool.execute("pid", checkout_timeout_s=20.0)["pid"] != killed[0]
    assert pool.status().statistics.outcomes == {"result": 1}
    assert len(spied.of("enqueue")) == 1
    assert len(spied.of("checkout")) == 2


def test_calls_of_a_session_go_by_the_hooks_too(make_pool: MakePool, spy: Any, log: Any) -> None:
    spied = spy(checkout=lambda command, *_: Ok("state", command))
    pool = make_pool(log, spied, workers=2)
    pool.execute_in_session("s", "put", {"key": "k", "value": 1})
    assert pool.execute_in_session("s", "get", {"key": "k"})["value"] == 1
    assert [told[1] for told in spied.of("checkout", "checkin")] == ["put", "put", "get", "get"]
    with pytest.raises(CallTimeout):
        pool.execute_in_session("s", "sleep", {"seconds": 60}, timeout_s=0.1)
    assert isinstance(spied.wait_for("terminate_worker")[0], CallTimeout)
    assert pool.execute_in_session("s", "get", {"key": "k"}, checkout_timeout_s=20.0)["value"] == 1
    assert spied.of("cancelled") == []


@pytest.mark.parametrize("call", ["execute", "checkout"])
def test_an_interrupt_in_a_hook_is_a_client_s_end(make_pool: MakePool, spy: Any, all_idle: Any, call: str) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    spied = spy(checkout=interrupt)
    pool = make_pool(behaviour=spied)
    with pytest.raises(KeyboardInterrupt):
        pool.execute("ping") if call == "execute" else pool.checkout()
    assert spied.of("cancelled") == [("cancelled", "checked_out", None)]
    spied.script = {}
    all_idle(pool, 1)
    assert pool.execute("echo", {"value": 1}) == 1


def test_an_interrupt_at_the_border_of_a_frame_keeps_the_worker_of_a_call_and_checks_it_in(
    make_pool: MakePool, spy: Any, pid_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    spied = spy()
    pool = make_pool(behaviour=spied)
    pid = pid_of(pool)

    take: Any = vars(transfer)["take"]

    def interrupted(*args: Any) -> Any:
        if take(*args) is not None:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(transfer, "take", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pool.execute("ping")
    assert [hook for hook, *_ in spied.told[-2:]] == ["checkin", "cancelled"]
    assert pool.execute("pid")["pid"] == pid
    assert pool.status().statistics.outcomes == {"Cancelled": 1, "result": 1}


def test_an_interrupt_in_the_queue_is_told_as_queued(
    make_pool: MakePool, spy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    spied = spy()
    pool = make_pool(behaviour=spied)

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with pool.checkout() as worker:
        with monkeypatch.context() as patch:
            patch.setattr(ThreadIo, "wait", interrupted)
            with pytest.raises(KeyboardInterrupt):
                pool.execute("ping")
        assert spied.of("cancelled") == [("cancelled", "queued", None)]
        assert pool.status().waiting == 0
        assert worker.execute("echo", {"value": 1}) == 1


def test_an_interrupt_in_a_checkin_hook_ends_the_worker(make_pool: MakePool, spy: Any, all_idle: Any) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    spied = spy(checkin=interrupt)
    pool = make_pool(behaviour=spied)
    worker = pool.checkout()
    with pytest.raises(KeyboardInterrupt):
        worker.end()
    worker.end()
    assert isinstance(spied.wait_for("terminate_worker")[0], KeyboardInterrupt)
    all_idle(pool, 1)
