"""V2 and tasks that are cancelled: in the queue, between hand-off and wake-up, in the exchange, and all at once."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import psutil
import pytest

from poolproof.bridge import EventKind, LeaseError, PoolConfig
from poolproof.pool_v2.aio import io as aio_io
from poolproof.pool_v2.aio.io import TaskIo
from poolproof.pool_v2.aio.pool import AsyncPool
from tests.waiting import Holdings

MakeAsyncPool = Callable[..., AsyncPool]
OnLoop = Callable[..., Any]


async def by_cancel(call: Awaitable[Any], begun: Callable[[], Awaitable[Any]]) -> None:
    task = asyncio.ensure_future(call)
    await begun()
    task.cancel("enough")
    with pytest.raises(asyncio.CancelledError, match="enough"):
        await task


async def by_timeout(call: Awaitable[Any], begun: Callable[[], Awaitable[Any]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(None) as limit:
            begins = asyncio.ensure_future(begun())
            begins.add_done_callback(lambda _: limit.reschedule(0.0))
            await call

    with pytest.raises(TimeoutError):
        await bounded()


async def by_wait_for(call: Awaitable[Any], begun: Callable[[], Awaitable[Any]]) -> None:
    # wait_for begins to count at once, so the call is already under way when it is handed over.
    task = asyncio.ensure_future(call)
    await begun()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(task, 0.0)


WAYS = [by_cancel, by_timeout, by_wait_for]
Way = Callable[[Awaitable[Any], Callable[[], Awaitable[Any]]], Awaitable[None]]


@pytest.mark.parametrize("way", WAYS)
def test_a_task_cancelled_in_its_exchange_ends_its_worker_which_is_replaced(
    make_async_pool: MakeAsyncPool, on_loop: OnLoop, log: Any, soon: Any, gone: Any, way: Way
) -> None:
    pool = make_async_pool(log)

    async def use() -> None:
        await way(
            pool.execute("sleep", {"seconds": 600}, timeout_s=600.0),
            lambda: soon(lambda: log.of(EventKind.SEND), "it is at work"),
        )
        pid = log.of(EventKind.SEND)[0].pid
        await soon(lambda: gone(pid), "the worker is dead")
        assert (await pool.execute("pid"))["pid"] != pid
        assert [e.detail for e in log.of(EventKind.KILL)] == ["dirty"]

    on_loop(use())
    assert pool.status().statistics.outcomes == {"Cancelled": 1, "result": 1}


@pytest.mark.parametrize("way", WAYS)
def test_a_task_cancelled_in_the_queue_leaves_it_at_once_and_nobody_notices(
    make_async_pool: MakeAsyncPool, on_loop: OnLoop, log: Any, soon: Any, way: Way
) -> None:
    pool = make_async_pool(log)

    async def use() -> None:
        async with pool.checkout() as worker:
            first = asyncio.create_task(pool.execute("echo", {"value": 1}))
            await soon(lambda: pool.status().waiting == 1, "one waits")
            await way(pool.execute("ping"), lambda: soon(lambda: pool.status().waiting == 2, "two wait"))
            assert pool.status().waiting == 1
            assert (await worker.execute("pid"))["pid"] == worker.pid
        assert await first == 1

    on_loop(use())
    assert not log.of(EventKind.KILL)
    assert [e.kind for e in log.of(*EventKind, call=3)] == [EventKind.ENQUEUE, EventKind.WITHDRAW, EventKind.DONE]


def test_a_task_cancelled_between_hand_off_and_wake_up_passes_its_worker_on(
    make_async_pool: MakeAsyncPool, on_loop: OnLoop, log: Any, soon: Any
) -> None:
    pool = make_async_pool(log)

    async def use() -> None:
        async with pool.checkout() as worker:
            pid = worker.pid
            unlucky = asyncio.create_task(pool.execute("pid"))
            await soon(lambda: pool.status().waiting == 1, "one waits")
            next_one = asyncio.create_task(pool.execute("pid"))
            await soon(lambda: pool.status().waiting == 2, "two wait")
        unlucky.cancel()  # it was offered the worker at the end of the block, and has not run since
        with pytest.raises(asyncio.CancelledError):
            await unlucky
        assert (await next_one)["pid"] == pid

    on_loop(use())
    kinds = [e.kind for e in log.of(*EventKind, call=2)]
    assert kinds == [EventKind.ENQUEUE, EventKind.OFFER, EventKind.WITHDRAW, EventKind.DONE]
    assert not log.of(EventKind.KILL)


def test_an_offer_from_a_thread_to_a_task_that_is_being_cancelled_is_passed_on(
    make_async_pool: MakeAsyncPool, on_loop: OnLoop, log: Any, soon: Any, client: Any
) -> None:
    pool = make_async_pool(log)

    async def use() -> None:
        lease = pool.threads.checkout()
        unlucky = asyncio.create_task(pool.execute("ping"))
        await soon(lambda: pool.status().waiting == 1, "one waits")
        unlucky.cancel()
        client(lease.end).join()  # the offer comes while the cancelled task has not run yet
        with pytest.raises(asyncio.CancelledError):
            await unlucky
        assert await pool.execute("echo", {"value": 1}) == 1

    on_loop(use())
    assert len(log.of(EventKind.OFFER, call=2)) == 1
    assert not log.of(EventKind.KILL)


@pytest.mark.parametrize("session", [None, "s"])
def test_a_task_cancelled_in_the_moment_in_which_its_answer_comes_costs_its_worker_and_no_session_s_state(
    make_async_pool: MakeAsyncPool, on_loop: OnLoop, monkeypatch: pytest.MonkeyPatch, session: str | None
) -> None:
    # The loop has seen the answer, and nobody has read it: what lies in the pipe belongs to nobody.
    pool = make_async_pool()
    settle = aio_io._settle
    victims: list[asyncio.Task[Any]] = []

    def unlucky(future: asyncio.Future[None]) -> None:
        settle(future)
        if victims:
            victims.pop().cancel()

    monkeypatch.setattr(aio_io, "_settle", unlucky)

    async def use() -> None:
        await pool.execute("append", {"key": "k", "value": 1}, session=session)
        pid = (await pool.execute("pid"))["pid"]
        task = asyncio.create_task(pool.execute("append", {"key": "k", "value": 2}, session=session))
        victims.append(task)
        with pytest.raises(asyncio.CancelledError):
            await task
        values = (await pool.execute("append", {"key": "k", "value": 3}, session=session))["values"]
        assert values == ([1, 3] if session else [3])
        assert (await pool.execute("pid"))["pid"] != pid

    on_loop(use())


def test_a_task_cancelled_in_a_handover_leaves_no_half_state_behind(
    make_async_pool: MakeAsyncPool, on_loop: OnLoop, log: Any, soon: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_async_pool(log)
    read = TaskIo.read
    victims: list[asyncio.Task[Any]] = []
    turns = iter(range(100))

    def unlucky(*args: Any) -> Iterable[Any]:
        if victims and next(turns) == 1:  # in the middle of the handover's three steps
            victims.pop().cancel()
        return read(*args)

    async def use() -> None:
        for n in range(3):
            await pool.execute_in_session("s", "append", {"key": "k", "value": n})
        async with pool.checkout() as worker:
            os.kill(worker.pid, signal.SIGKILL)
        await soon(lambda: log.of(EventKind.REAP), "it is released")
        monkeypatch.setattr(TaskIo, "read", unlucky)
        task = asyncio.create_task(pool.execute_in_session("s", "get", {"key": "k"}))
        victims.append(task)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await pool.execute_in_session("s", "get", {"key": "k"}))["value"] == [0, 1, 2]

    on_loop(use())


def test_a_lease_whose_call_was_cancelled_has_ended_though_its_block_goes_on(
    make_async_pool: MakeAsyncPool, on_loop: OnLoop, log: Any, soon: Any
) -> None:
    pool = make_async_pool(log)

    async def use() -> None:
        await pool.warm_up()
        async with pool.checkout() as worker:
            pid = worker.pid
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(worker.execute("sleep", {"seconds": 600}), 0.05)
            with pytest.raises(LeaseError, match="was broken off"):
                await worker.execute("ping")
            assert (await pool.execute("pid"))["pid"] != pid, "it is replaced before the block ends"
        assert await pool.execute("echo", {"value": 1}) == 1

    on_loop(use())


def test_a_task_cancelled_while_it_waits_for_a_lease_takes_none(
    make_async_pool: MakeAsyncPool, on_loop: OnLoop, soon: Any
) -> None:
    pool = make_async_pool()

    async def block() -> None:
        async with pool.checkout():
            raise AssertionError("it must not come so far")

    async def use() -> None:
        async with pool.checkout():
            task = asyncio.create_task(block())
            await soon(lambda: pool.status().waiting == 1, "it waits")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert pool.status().waiting == 0
        assert await pool.execute("echo", {"value": 1}) == 1

    on_loop(use())


def test_an_end_of_the_loop_with_calls_in_flight_ends_their_workers(
    make_async_pool: MakeAsyncPool, on_loop: OnLoop, log: Any, soon: Any
) -> None:
    pool = make_async_pool(log, workers=2)

    async def leave() -> None:
        for _ in range(5):
            asyncio.ensure_future(pool.execute("sleep", {"seconds": 600}, timeout_s=600.0))  # noqa: RUF006
        await soon(lambda: len(log.of(EventKind.SEND)) == 2, "two are at work")

    on_loop(leave())
    assert pool.status().statistics.outcomes == {"Cancelled": 5}
    assert pool.threads.execute("echo", {"value": 1}) == 1


# All at once.


def test_a_loop_that_is_closed_around_a_session_s_call_is_let_go_and_the_call_counted(
    make_async_pool: MakeAsyncPool, until: Any
) -> None:
    pool = make_async_pool(workers=1)
    pool.threads.warm_up()
    pool.threads.execute_in_session("s", "put", {"key": "k", "value": 1})
    loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []
    blocker = threading.Thread(target=lambda: pool.threads.execute("sleep", {"seconds": 0.3}))
    blocker.start()

    def abandon() -> None:
        loop = asyncio.new_event_loop()
        loops.append(weakref.ref(loop))
        loop.set_exception_handler(lambda *_: None)  # it would tell of the pending task
        task = loop.create_task(pool.execute("ping", session="s", checkout_timeout_s=30.0))
        loop.run_until_complete(asyncio.wait([task], timeout=0.05))
        loop.close()

    other = threading.Thread(target=abandon)
    other.start()
    other.join()
    blocker.join()

    def settled() -> bool:
        gc.collect()
        return pool.status().statistics.in_flight == 0 and loops[0]() is None

    until(settled, "nothing keeps the loop, and its call has an outcome")
    assert pool.threads.execute_in_session("s", "get", {"key": "k"})["value"] == 1


async def one_call(pool: AsyncPool, nonce: int, chance: random.Random) -> None:
    """A call of some kind, whose answer must be its own."""
    kind = chance.randrange(8)
    if kind == 0:
        size = chance.randrange(200_000)
        answer = await pool.execute("blob", {"bytes": size, "nonce": nonce})
        assert (answer["nonce"], len(answer["blob"])) == (nonce, size)
    elif kind == 1:
        value = [nonce, "x" * chance.randrange(200_000)]
        assert await pool.execute("echo", {"value": value}) == value
    elif kind == 2:
        args = {"key": "k", "value": 0, "nonce": nonce}
        assert (await pool.execute_in_session(f"s{nonce % 4}", "append", args))["nonce"] == nonce
    elif kind == 3:
        async with pool.checkout() as worker:
            for _ in range(2):
                assert (await worker.execute("pid", {"nonce": nonce}))["nonce"] == nonce
    else:
        assert (await pool.execute("sleep", {"seconds": 0.0005, "nonce": nonce}))["nonce"] == nonce


async def storm(pool: AsyncPool, chance: random.Random) -> None:
    """200 calls, 60 of them cancelled wherever they are; then all is as before."""
    await pool.warm_up()
    tasks = [asyncio.create_task(one_call(pool, nonce, chance)) for nonce in range(200)]
    victims = chance.sample(tasks, 60)
    spared = [task for task in tasks if task not in victims]
    while victims:
        for _ in range(chance.randrange(6)):
            await asyncio.sleep(0)
        victims.pop().cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(result) for result in results} <= {type(None), asyncio.CancelledError}, results
    assert not any(task.cancelled() for task in spared)

    while [worker.state for worker in pool.status().workers] != ["idle"] * 3:
        await asyncio.sleep(0.001)  # the hard limit of the loop holds for this, too
    assert pool.status().waiting == 0
    assert all([await pool.execute("echo", {"value": n}) == n for n in range(20)])
    statistics = pool.status().statistics
    assert statistics.in_flight == 0
    assert set(statistics.outcomes) == {"result", "Cancelled"}
    assert statistics.submitted == sum(statistics.outcomes.values())


@pytest.mark.parametrize(("seed", "affinity"), [(0, "strict"), (1, "prefer"), (2, "none")])
def test_two_hundred_tasks_that_are_cancelled_anywhere_lose_nothing(
    on_loop: OnLoop, until: Any, family: Callable[[], set[psutil.Process]], seed: int, affinity: str
) -> None:
    gc.collect()
    before = Holdings()

    async def use() -> None:
        async with AsyncPool(PoolConfig(workers=3, session_affinity=affinity, checkout_timeout_s=20.0)) as pool:
            await storm(pool, random.Random(seed))
        assert pool.status().state == "closed"

    on_loop(use())
    gc.collect()
    until(lambda: not family(), "no worker is left")
    before.require_none_gained()
