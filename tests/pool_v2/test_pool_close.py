"""How V2 ends: closed once or often, under load or at once, by one thread or several, or just dropped."""

from __future__ import annotations

import gc
import os
import select
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from poolproof.bridge import EventKind, PoolClosed, PoolConfig, Sent, WorkerCrashed
from poolproof.bridge.processes.rundir.orphans import list_pools
from poolproof.pool_v2 import PoolV2
from poolproof.pool_v2.core.ticket import Ticket
from tests.waiting import stop

MakePool = Callable[..., PoolV2]
LONG_GRACE_S = 60.0  # longer than the hard limit of every test


def names() -> set[str]:
    return {record.name for record in list_pools()}


def test_a_closed_pool_leaves_no_worker_no_thread_and_no_name(make_pool: MakePool, gone: Any) -> None:
    pool = make_pool(workers=2)
    pool.warm_up()
    pids = [worker.pid for worker in pool.status().workers]
    assert pool.name in names()

    pool.close()

    assert all(map(gone, pids))
    assert pool.name not in names()
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith(pool.name)]
    assert (pool.status().state, pool.status().workers) == ("closed", ())
    assert pool.health_check().reasons == ("the pool is closed",)


def test_a_pool_can_be_closed_again_and_refuses_calls(make_pool: MakePool, log: Any) -> None:
    pool = make_pool(log)
    pool.close()
    pool.close()

    with pytest.raises(PoolClosed) as caught:
        pool.execute("ping")
    assert caught.value.sent == "no"
    assert len(log.of(EventKind.CLOSE)) == 1


def test_a_pool_can_be_closed_while_its_workers_start(make_pool: MakePool, client: Callable[..., Any]) -> None:
    for _ in range(6):
        pool = make_pool(workers=4)
        client(pool.close, LONG_GRACE_S).join()
        assert pool.status().workers == ()


def test_many_threads_may_close_at_once(make_pool: MakePool, client: Callable[..., Any], log: Any) -> None:
    pool = make_pool(log, workers=2)
    pool.warm_up()

    for closer in [client(pool.close) for _ in range(6)]:
        closer.result()
        assert pool.status().state == "closed", "nobody returns before the end"

    assert len(log.of(EventKind.CLOSE)) == 1


def test_closing_refuses_waiters_at_once_and_lets_the_running_call_finish(
    make_pool: MakePool, log: Any, pid_of: Any, held: Any, client: Callable[..., Any], until: Any
) -> None:
    pool = make_pool(log)
    pid = pid_of(pool)
    holder, release = held(pool, pid)
    waiters = [client(pool.execute, "ping", checkout_timeout_s=LONG_GRACE_S) for _ in range(3)]
    until(lambda: pool.status().waiting == 3, "three calls wait")

    closer = client(pool.close, LONG_GRACE_S)

    for waiter in waiters:
        with pytest.raises(PoolClosed, match="was closed before the call began") as caught:
            waiter.result()
        assert caught.value.sent == "no"
    assert holder.thread.is_alive()
    assert pool.status().state == "closing"
    assert pool.health_check().reasons == ("the pool is closing",)
    release()
    assert holder.result()["pid"] == pid
    closer.result()
    assert log.of(EventKind.KILL)[-1].detail == "retired"


def test_a_call_that_outlasts_the_grace_ends_with_its_worker(
    make_pool: MakePool, log: Any, pid_of: Any, client: Callable[..., Any], gone: Any
) -> None:
    pool = make_pool(log)
    pid = pid_of(pool)
    caller = client(pool.execute, "sleep", {"seconds": 600}, timeout_s=600.0)
    log.wait_for(EventKind.SEND)

    pool.close(0.1)

    assert gone(pid)
    with pytest.raises(PoolClosed, match="was closed during the call") as caught:
        caller.result()
    assert caught.value.sent == "yes"
    assert pool.status().statistics.outcomes == {"PoolClosed": 1}


@pytest.mark.parametrize("sent", list(Sent))
def test_a_call_whose_worker_the_close_has_ended_says_so_however_much_was_sent(make_pool: MakePool, sent: Sent) -> None:
    pool = make_pool()
    ended = WorkerCrashed("worker 1 does not read its requests", sent=sent, worker_id=1)
    assert pool._engine.told(ended) is ended
    pool.close()
    told = pool._engine.told(ended)
    assert (type(told), told.sent) == (PoolClosed, sent)


def test_a_stopped_idle_worker_does_not_hold_the_end_up(make_pool: MakePool, pid_of: Any, gone: Any) -> None:
    pool = make_pool()
    pid = pid_of(pool)
    stop(pid)

    pool.close(0.1)

    assert gone(pid)


def test_the_context_manager_closes_and_lets_the_error_through() -> None:
    with pytest.raises(ZeroDivisionError), PoolV2(PoolConfig(workers=1)) as pool:
        1 / 0  # noqa: B018

    assert pool.status().state == "closed"


def test_a_pool_that_is_dropped_ends_its_workers_busy_ones_too(
    log: Any, client: Callable[..., Any], gone: Any, until: Any
) -> None:
    box = [PoolV2(PoolConfig(workers=2), observer=log)]
    box[0].warm_up()
    name = box[0].name
    pids = [worker.pid for worker in box[0].status().workers]
    child = box[0].execute("spawn_child", {"seconds": 600})["pid"]

    box.clear()
    gc.collect()

    until(lambda: all(map(gone, [*pids, child])), "no worker is left, nor its child")
    until(lambda: name not in names(), "its name is free")
    until(lambda: not [t for t in threading.enumerate() if t.name == "pool-v2-finalizer"], "nothing runs on")


def test_a_pool_that_is_dropped_when_no_thread_can_be_started_ends_its_workers(
    until: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    unraisable: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    monkeypatch.setattr(sys, "excepthook", lambda *args: unraisable.append(args))
    box = [PoolV2(PoolConfig(workers=1))]
    name, pid = box[0].name, box[0].execute("pid")["pid"]
    pidfd = os.pidfd_open(pid)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        box.clear()
        gc.collect()
        assert select.select([pidfd], [], [], 0.05)[0] == [], "it is tried again when there are threads again"

    until(lambda: select.select([pidfd], [], [], 0)[0], "the worker has ended")
    until(lambda: name not in names(), "its name is free")
    os.close(pidfd)
    assert unraisable == []


def test_what_a_client_does_after_the_end_touches_no_descriptor(make_pool: MakePool) -> None:
    pool = make_pool()
    supervisor = pool._engine.supervisor
    pool.close()
    others = [os.open(os.devnull, os.O_WRONLY) for _ in range(20)]  # they get the numbers that the pool gave back

    supervisor.look()
    supervisor.abandon(Ticket(99))
    supervisor.stop()

    for fd in others:
        os.close(fd)
