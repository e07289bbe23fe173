"""A task's lease: one worker for the time of its block, for one task at a time, and what ends it early."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from poolproof.bridge import CallTimeout, CheckoutTimeout, CommandError, EventKind, LeaseError, WorkerCrashed
from poolproof.pool_v2.aio.pool import AsyncLease, AsyncPool
from poolproof.pool_v2.running.engine import Engine

MakeAsyncPool = Callable[..., AsyncPool]
OnLoop = Callable[..., Any]


def test_a_lease_is_one_worker_for_the_time_of_the_block(make_async_pool: MakeAsyncPool, on_loop: OnLoop) -> None:
    pool = make_async_pool(workers=2)

    async def use() -> None:
        async with pool.checkout() as worker:
            for _ in range(3):
                who = await worker.execute("pid")
                assert (who["pid"], who["worker_id"]) == (worker.pid, worker.worker_id)
            assert [w.worker_id for w in pool.status().workers if w.state == "leased"] == [worker.worker_id]
            with pytest.raises(CommandError, match="as asked"):
                await worker.execute("fail")
        assert "leased" not in {w.state for w in pool.status().workers}
        with pytest.raises(LeaseError, match="has ended"):
            await worker.execute("ping")
        with pytest.raises(LeaseError, match="entered already"):
            await worker.__aenter__()

    on_loop(use())
    assert pool.status().statistics.outcomes == {"result": 3, "CommandError": 1}


def test_a_block_that_raises_ends_its_worker_and_the_exception_goes_on(
    make_async_pool: MakeAsyncPool, on_loop: OnLoop, log: Any
) -> None:
    pool = make_async_pool(log)
    error = ValueError("mine")

    pids: list[int] = []

    async def use() -> None:
        lease = pool.checkout()

        async def block() -> None:
            async with lease:
                pids.append(lease.pid)
                raise error

        with pytest.raises(ValueError, match="mine") as caught:
            await block()
        assert caught.value is error
        pids.append((await pool.execute("pid"))["pid"])

    on_loop(use())
    assert pids[0] != pids[1]
    assert log.wait_for(EventKind.KILL, pid=pids[0]).detail == "ValueError: mine"


def test_a_lease_waits_its_turn_and_no_longer_than_it_may(make_async_pool: MakeAsyncPool, on_loop: OnLoop) -> None:
    pool = make_async_pool()

    async def use() -> None:
        async with pool.checkout() as worker:
            with pytest.raises(CheckoutTimeout, match="'mine'"):
                async with pool.checkout("mine", checkout_timeout_s=0.02):
                    raise AssertionError("there is one worker")
            assert (await worker.execute("pid"))["pid"] == worker.pid
        assert pool.status().waiting == 0

    on_loop(use())


def test_a_lease_s_own_limit_ends_its_worker(make_async_pool: MakeAsyncPool, on_loop: OnLoop, soon: Any) -> None:
    pool = make_async_pool()

    async def use() -> None:
        await pool.warm_up()
        async with pool.checkout(timeout_s=0.2) as worker:
            with pytest.raises(CallTimeout):
                await worker.execute("sleep", {"seconds": 60})
        async with pool.checkout(timeout_s=60.0) as worker:
            with pytest.raises(CallTimeout):
                await worker.execute("sleep", {"seconds": 60}, timeout_s=0.1)
        await soon(lambda: pool.health_check().healthy, "it is replaced")

    on_loop(use())


def test_a_lease_serves_one_call_at_a_time_on_its_own_loop(make_async_pool: MakeAsyncPool, on_loop: OnLoop) -> None:
    pool = make_async_pool()

    async def elsewhere(worker: AsyncLease) -> None:
        with pytest.raises(LeaseError, match="another loop"):
            await worker.execute("ping")

    async def use() -> None:
        async with pool.checkout() as worker:
            first = asyncio.create_task(worker.execute("sleep", {"seconds": 0.05, "nonce": 7}))
            await asyncio.sleep(0)
            with pytest.raises(LeaseError, match="in use by another task"):
                await worker.execute("ping")
            assert (await first)["nonce"] == 7
            await asyncio.to_thread(asyncio.run, elsewhere(worker))
            assert await worker.execute("echo", {"value": 8}) == 8

    on_loop(use())


@pytest.mark.parametrize("impatient", [False, True])
def test_a_block_that_ends_under_a_call_of_another_task_ends_that_call_first(
    make_async_pool: MakeAsyncPool, on_loop: OnLoop, soon: Any, impatient: bool
) -> None:
    pool = make_async_pool()

    async def block(ready: asyncio.Event) -> asyncio.Task[Any]:
        async with pool.checkout() as worker:
            other = asyncio.create_task(worker.execute("sleep", {"seconds": 600}))
            await asyncio.sleep(0)
            ready.set()
        return other

    async def use() -> None:
        ready = asyncio.Event()
        task = asyncio.create_task(block(ready))
        await ready.wait()
        if impatient:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            with pytest.raises(WorkerCrashed):
                await (await task)
        assert await pool.execute("echo", {"value": 1}) == 1
        await soon(lambda: pool.status().statistics.in_flight == 0, "the call is over")

    on_loop(use())


def test_a_worker_that_ends_between_two_calls_of_a_lease_is_replaced_meanwhile(
    make_async_pool: MakeAsyncPool, on_loop: OnLoop
) -> None:
    pool = make_async_pool()

    async def use() -> None:
        async with pool.checkout() as worker:
            pid = worker.pid
            os.kill(pid, signal.SIGKILL)
            assert (await pool.execute("pid", checkout_timeout_s=20.0))["pid"] != pid
            with pytest.raises(WorkerCrashed, match="between two calls"):
                await worker.execute("ping")

    on_loop(use())
    assert pool.status().statistics.outcomes == {"result": 1, "WorkerCrashed": 1}


def test_a_checkout_of_a_dead_worker_gets_another_one(
    make_async_pool: MakeAsyncPool, on_loop: OnLoop, gone: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_async_pool()
    pool.threads.warm_up()
    pid = pool.status().workers[0].pid
    enter = Engine.enter

    def unlucky(engine: Engine, *args: Any, **options: Any) -> None:
        enter(engine, *args, **options)
        if not gone(pid):
            os.kill(pid, signal.SIGKILL)
            until(lambda: gone(pid), "the worker is dead")

    monkeypatch.setattr(Engine, "enter", unlucky)

    async def use() -> int:
        async with pool.checkout(checkout_timeout_s=20.0) as worker:
            return int((await worker.execute("pid"))["pid"])

    assert on_loop(use()) != pid


def test_a_lease_that_nobody_entered_has_no_worker(make_async_pool: MakeAsyncPool, on_loop: OnLoop) -> None:
    lease = make_async_pool(lazy=True).checkout()
    with pytest.raises(LeaseError, match="not entered"):
        on_loop(lease.execute("ping"))
    with pytest.raises(LeaseError, match="not entered"):
        _ = lease.pid
