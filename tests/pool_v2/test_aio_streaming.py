"""Streams and batches of tasks: the rules of a thread's, on a loop that goes on meanwhile."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest

from poolproof.bridge import (
    CallTimeout,
    CheckoutTimeout,
    CommandError,
    EventKind,
    InvalidRequest,
    LeaseError,
    PoolClosed,
    PoolError,
    WorkerCrashed,
)
from poolproof.pool_v2.aio.pool import AsyncPool

MakeAsyncPool = Callable[..., AsyncPool]
OnLoop = Callable[..., Any]
ENDLESS = {"count": 100_000, "bytes": 1000}


async def served_by(pool: AsyncPool) -> Any:
    return (await pool.execute("pid", checkout_timeout_s=20.0))["pid"]


async def settled(pool: AsyncPool) -> dict[str, int]:
    async with asyncio.timeout(20.0):
        while pool.status().statistics.in_flight:
            await asyncio.sleep(0.01)
    return pool.status().statistics.outcomes


def test_the_parts_come_in_order_and_the_worker_serves_again(make_async_pool: MakeAsyncPool, on_loop: OnLoop) -> None:
    pool = make_async_pool(workers=1)

    async def use() -> None:
        pid = await served_by(pool)
        async with pool.execute_stream("parts", {"count": 300, "bytes": 500}) as parts:
            assert parts.worker_id == pool.status().workers[0].worker_id
            assert [part["index"] async for part in parts] == list(range(300))
        assert [part async for part in pool.execute_stream("parts", {"count": 0})] == []
        assert [part async for part in pool.execute_stream("echo", {"value": [1, None]})] == [[1, None]]
        assert await served_by(pool) == pid

    on_loop(use())
    assert pool.status().statistics.outcomes == {"result": 5}


def test_the_loop_goes_on_between_two_parts(make_async_pool: MakeAsyncPool, on_loop: OnLoop) -> None:
    pool = make_async_pool(workers=2)

    async def use() -> None:
        await pool.warm_up()
        parts = pool.execute_stream("parts", {"count": 2, "pause_s": 2.0})
        await anext(parts)
        waiting = asyncio.ensure_future(anext(parts))
        assert await pool.execute("echo", {"value": 1}) == 1
        with pytest.raises(LeaseError, match="in use by another task"):
            await anext(parts)
        assert (await waiting)["index"] == 1
        with pytest.raises(StopAsyncIteration):
            await anext(parts)

    on_loop(use())
    assert pool.status().statistics.outcomes == {"result": 2}


def test_an_error_comes_where_it_happened(make_async_pool: MakeAsyncPool, on_loop: OnLoop) -> None:
    pool = make_async_pool(workers=1)

    async def use() -> None:
        pid = await served_by(pool)
        parts = pool.execute_stream("parts", {"count": 5, "fail_at": 1})
        assert (await anext(parts))["index"] == 0
        with pytest.raises(CommandError, match="part 1 failed as asked"):
            await anext(parts)
        assert await served_by(pool) == pid
        parts = pool.execute_stream("parts", {"count": 5, "exit_at": 1})
        assert (await anext(parts))["index"] == 0
        with pytest.raises(WorkerCrashed) as told:
            await anext(parts)
        assert told.value.sent == "yes"
        pid = await served_by(pool)
        late = pool.execute_stream("parts", {"count": 2, "pause_s": 60}, timeout_s=2.0)
        with pytest.raises(CallTimeout):
            _ = [part async for part in late]
        assert await served_by(pool) != pid

    on_loop(use())
    assert pool.status().statistics.outcomes == {"result": 4, "CommandError": 1, "WorkerCrashed": 1, "CallTimeout": 1}


@pytest.mark.parametrize("leave", ["aclose", "raise", "cancel", "drop"])
def test_a_stream_that_is_left_early_costs_its_worker_and_nothing_else(
    make_async_pool: MakeAsyncPool, on_loop: OnLoop, leave: str
) -> None:
    pool = make_async_pool(workers=1)

    async def endless() -> None:
        async with pool.execute_stream("parts", ENDLESS) as parts:
            async for _ in parts:
                if leave == "raise":
                    raise ZeroDivisionError
                await asyncio.sleep(60)

    async def use() -> None:
        pid = await served_by(pool)
        if leave == "aclose":
            parts = pool.execute_stream("parts", ENDLESS)
            await anext(parts)
            await parts.aclose()
            await parts.aclose()
            with pytest.raises(StopAsyncIteration):
                await anext(parts)
        elif leave == "raise":
            with pytest.raises(ZeroDivisionError):
                await endless()
        elif leave == "cancel":
            task = asyncio.ensure_future(endless())
            while pool.status().workers[0].state != "leased":
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            parts = pool.execute_stream("parts", ENDLESS)
            await anext(parts)
            del parts
            gc.collect()
        assert await served_by(pool) != pid
        assert await settled(pool) == {"result": 2, "Cancelled": 1}

    on_loop(use())


def test_a_close_of_the_pool_ends_a_stream(make_async_pool: MakeAsyncPool, on_loop: OnLoop) -> None:
    pool = make_async_pool(workers=1)

    async def use() -> None:
        parts = pool.execute_stream("parts", ENDLESS)
        await anext(parts)
        await pool.close(0.0)
        with pytest.raises(PoolClosed):
            _ = [part async for part in parts]
        with pytest.raises(PoolClosed):
            await anext(pool.execute_stream("parts", {"count": 1}))

    on_loop(use())
    assert pool.status().statistics.outcomes == {"PoolClosed": 2}


def test_a_session_s_stream_sees_its_state_and_is_handed_over(make_async_pool: MakeAsyncPool, on_loop: OnLoop) -> None:
    pool = make_async_pool(workers=1)

    async def use() -> None:
        await pool.execute_in_session("s", "append", {"key": "list", "value": 1})
        with pytest.raises(ZeroDivisionError):
            async with pool.checkout():
                raise ZeroDivisionError  # which ends the worker
        found = [part async for part in pool.execute_stream("get", {"key": "list"}, session="s")]
        assert [part["value"] for part in found] == [[1]]

    on_loop(use())
    assert pool.sessions()[0].operations == 2


def test_a_batch_gives_its_results_in_order_from_one_worker(make_async_pool: MakeAsyncPool, on_loop: OnLoop) -> None:
    pool = make_async_pool(workers=3)

    async def use() -> None:
        assert await pool.execute_many("echo", ({"value": n} for n in range(1000))) == list(range(1000))
        assert await pool.execute_many("echo", []) == []
        large = [{"value": str(n) * 150_000} for n in range(8)]
        assert await pool.execute_many("echo", large) == [item["value"] for item in large]
        assert len({answer["pid"] for answer in await pool.execute_many("pid", [{}] * 20)}) == 1

    on_loop(use())
    assert pool.status().statistics.outcomes == {"result": 1028}


def test_a_batch_sends_ahead_and_tells_of_each_item(make_async_pool: MakeAsyncPool, on_loop: OnLoop, log: Any) -> None:
    pool = make_async_pool(log, workers=1)
    on_loop(pool.execute_many("sleep", [{"seconds": 0.5}, {"seconds": 0.0}, {"seconds": 0.0}]))
    kinds = [event.kind for event in log.of(EventKind.SEND, EventKind.RECEIVE)]
    assert kinds == [EventKind.SEND] * 3 + [EventKind.RECEIVE] * 3
    with pytest.raises(InvalidRequest, match="item 1"):
        on_loop(pool.execute_many("echo", [{"value": 1}, {"value": object()}]))
    assert len(log.of(EventKind.SEND)) == 3


def test_an_item_that_fails_costs_the_others_nothing(make_async_pool: MakeAsyncPool, on_loop: OnLoop) -> None:
    pool = make_async_pool(workers=1)

    async def use() -> list[Any]:
        with pytest.raises(CommandError, match="item 0 of 2: a"):
            await pool.execute_many("fail", [{"message": "a"}, {"message": "b"}])
        items = [{"count": 1}, {"count": -1}, {"count": 1, "exit_at": 0}, {"count": 1}]
        found = await pool.execute_many("parts", items, return_errors=True)
        assert [type(value) for value in found] == [list, CommandError, WorkerCrashed, WorkerCrashed]
        assert found[2].sent == "yes"
        async with pool.checkout():
            return await pool.execute_many("echo", [{"value": 1}] * 2, return_errors=True, checkout_timeout_s=0.05)

    refused = on_loop(use())
    assert [(type(error), error.sent) for error in refused] == [(CheckoutTimeout, "no")] * 2
    assert all(isinstance(error, PoolError) for error in refused)


def test_a_batch_that_is_cancelled_ends_its_worker(make_async_pool: MakeAsyncPool, on_loop: OnLoop) -> None:
    pool = make_async_pool(workers=1)

    async def use() -> None:
        pid = await served_by(pool)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await pool.execute_many("sleep", [{"seconds": 60}] * 3)
        assert await served_by(pool) != pid
        assert await settled(pool) == {"result": 2, "Cancelled": 3}

    on_loop(use())


def test_a_session_s_batch_changes_its_state_in_order(make_async_pool: MakeAsyncPool, on_loop: OnLoop) -> None:
    pool = make_async_pool(workers=2)

    async def use() -> Any:
        await pool.execute_many("append", [{"key": "list", "value": n} for n in range(5)], session="s")
        await pool.execute("echo", {"value": 1})
        return await pool.execute_in_session("s", "get", {"key": "list"})

    assert on_loop(use())["value"] == [0, 1, 2, 3, 4]
    assert pool.sessions()[0].operations == 6
