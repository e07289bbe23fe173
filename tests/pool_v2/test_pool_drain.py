"""V2's drain: new calls are refused, those that have begun end by themselves, and then the pool is closed."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from poolproof.bridge import EventKind, PoolClosed
from poolproof.pool_v2 import PoolV2
from poolproof.pool_v2.aio.pool import AsyncPool

MakePool = Callable[..., PoolV2]


def test_a_drain_finishes_the_running_and_the_waiting_calls(
    make_pool: MakePool, log: Any, pid_of: Any, held: Any, client: Callable[..., Any], until: Any
) -> None:
    pool = make_pool(log)
    holder, release = held(pool, pid_of(pool))
    waiters = [client(pool.execute, "echo", {"value": n}, checkout_timeout_s=60.0) for n in range(3)]
    until(lambda: pool.status().waiting == 3, "three calls wait")

    drainers = [client(pool.drain), client(pool.drain, 60.0)]
    until(lambda: pool.status().state == "draining", "it drains")

    with pytest.raises(PoolClosed, match="is draining") as caught:
        pool.execute("ping")
    assert caught.value.sent == "no"
    with pytest.raises(PoolClosed, match="is draining"):
        pool.checkout()
    with pytest.raises(PoolClosed, match="is draining"):
        pool.resize(2)
    assert pool.health_check().reasons == ("the pool is draining",)
    assert all(waiter.thread.is_alive() for waiter in waiters)
    release()
    assert [holder.result()["pid"] > 0, *(waiter.result() for waiter in waiters)] == [True, 0, 1, 2]
    assert [drainer.result() for drainer in drainers] == [True, True]
    assert pool.status().state == "closed"
    assert log.of(EventKind.KILL)[-1].detail == "retired"
    statistics = pool.status().statistics
    assert (statistics.outcomes, statistics.in_flight) == ({"result": 4, "PoolClosed": 1}, 0)


def test_a_drain_ends_at_its_timeout(make_pool: MakePool, log: Any, client: Callable[..., Any], until: Any) -> None:
    pool = make_pool(log)
    pool.warm_up()
    running = client(pool.execute, "sleep", {"seconds": 600}, timeout_s=600.0)
    log.wait_for(EventKind.SEND)
    waiting = client(pool.execute, "ping", timeout_s=600.0, checkout_timeout_s=600.0)
    until(lambda: pool.status().waiting == 1, "a call waits")

    assert pool.drain(0.05) is False

    for caller in (running, waiting):
        with pytest.raises(PoolClosed):
            caller.result()
    assert pool.status().state == "closed"


def test_a_drain_waits_for_leases_and_streams(make_pool: MakePool, client: Callable[..., Any], until: Any) -> None:
    pool = make_pool(workers=2)
    parts = pool.execute_stream("parts", {"count": 3})
    with pool.checkout() as worker:
        drainer = client(pool.drain)
        until(lambda: pool.status().state == "draining", "it drains")
        assert worker.execute("echo", {"value": 1}) == 1
        assert len(list(parts)) == 3
        assert drainer.thread.is_alive(), "the lease has not ended"
    assert drainer.result() is True


def test_a_call_that_a_dead_worker_never_got_is_tried_again_while_the_pool_drains(
    make_pool: MakePool, log: Any, pid_of: Any, held: Any, client: Callable[..., Any], until: Any
) -> None:
    pool = make_pool(log)
    pid = pid_of(pool)
    holder, _ = held(pool, pid)
    waiter = client(pool.execute, "echo", {"value": 1}, checkout_timeout_s=60.0)
    until(lambda: pool.status().waiting == 1, "a call waits")
    drainer = client(pool.drain)
    until(lambda: pool.status().state == "draining", "it drains")
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(Exception, match=f"pid {pid}"):
        holder.result()
    assert waiter.result() == 1
    assert drainer.result() is True


def test_a_close_ends_a_drain(make_pool: MakePool, log: Any, client: Callable[..., Any], until: Any) -> None:
    pool = make_pool(log)
    pool.warm_up()
    running = client(pool.execute, "sleep", {"seconds": 600}, timeout_s=600.0)
    log.wait_for(EventKind.SEND)
    drainer = client(pool.drain)
    until(lambda: pool.status().state == "draining", "it drains")
    pool.close(0.0)
    drainer.result()
    with pytest.raises(PoolClosed):
        running.result()


def test_a_drain_of_a_closed_pool_is_over_at_once(make_pool: MakePool) -> None:
    pool = make_pool()
    pool.close()
    assert pool.drain(1.0) is True


def test_tasks_drain_a_pool_while_their_loop_goes_on(
    make_async_pool: Callable[..., AsyncPool], on_loop: Any, soon: Any
) -> None:
    pool = make_async_pool()

    async def work() -> list[Any]:
        await pool.warm_up()
        calls = [asyncio.create_task(pool.execute("echo", {"value": n})) for n in range(20)]
        await soon(lambda: pool.status().statistics.submitted == 20, "all calls have begun")
        assert await pool.drain(60.0) is True
        with pytest.raises(PoolClosed):
            await pool.execute("ping")
        return await asyncio.gather(*calls)

    assert on_loop(work()) == list(range(20))
