"""Loops that are closed, or stand still, around their tasks: whatever those hold or wait for is taken back."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvloop

from poolproof.bridge import CheckoutTimeout, EventKind
from poolproof.pool_v2.aio.pool import AsyncPool

MakeAsyncPool = Callable[..., AsyncPool]
OnLoop = Callable[..., Any]


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that the test drives, and may close."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def drive(loop: asyncio.AbstractEventLoop, holds: Callable[[], Any], soon: Any) -> None:
    """Run the loop until this holds, and then no further."""
    loop.run_until_complete(soon(holds, "the loop has come so far"))


def test_a_worker_is_taken_from_a_task_whose_loop_was_closed(
    make_async_pool: MakeAsyncPool,
    loop: asyncio.AbstractEventLoop,
    log: Any,
    soon: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    pool = make_async_pool(log)
    task = loop.create_task(pool.execute("sleep", {"seconds": 600}, timeout_s=600.0))
    drive(loop, lambda: log.of(EventKind.SEND), soon)

    loop.close()

    assert pool.threads.execute("echo", {"value": 1}, checkout_timeout_s=20.0) == 1
    assert "was not returned before its thread ended" in caplog.text
    assert pool.status().statistics.in_flight == 1, "the task still is"
    caplog.set_level(logging.CRITICAL, logger="asyncio")  # a task was destroyed but it is pending: that is the test
    del task
    gc.collect()
    assert pool.status().statistics.outcomes == {"result": 1, "Cancelled": 1}
    log.wait_for(EventKind.DONE, call=1)


def test_a_lease_is_taken_from_a_block_whose_loop_was_closed(
    make_async_pool: MakeAsyncPool, loop: asyncio.AbstractEventLoop, soon: Any, caplog: pytest.LogCaptureFixture
) -> None:
    pool = make_async_pool()

    async def block() -> None:
        async with pool.checkout():
            await asyncio.Event().wait()

    task = loop.create_task(block())
    drive(loop, lambda: [w for w in pool.status().workers if w.state == "leased"], soon)
    loop.close()

    assert pool.threads.execute("echo", {"value": 1}, checkout_timeout_s=20.0) == 1
    caplog.set_level(logging.CRITICAL, logger="asyncio")
    del task
    gc.collect()
    assert pool.threads.execute("echo", {"value": 2}) == 2


def test_a_waiting_task_whose_loop_was_closed_leaves_the_queue(
    make_async_pool: MakeAsyncPool, loop: asyncio.AbstractEventLoop, soon: Any, until: Any
) -> None:
    pool = make_async_pool()
    with pool.threads.checkout():
        task = loop.create_task(pool.execute("ping", checkout_timeout_s=600.0, timeout_s=600.0))
        drive(loop, lambda: pool.status().waiting, soon)
        loop.close()
        until(lambda: not pool.status().waiting, "nobody waits")
    assert pool.threads.execute("echo", {"value": 1}) == 1
    assert not task.done()
    task._log_destroy_pending = False  # type: ignore[attr-defined]


def test_an_offer_to_a_closed_loop_goes_to_the_next_in_the_queue(
    make_async_pool: MakeAsyncPool, loop: asyncio.AbstractEventLoop, soon: Any, client: Any, until: Any
) -> None:
    pool = make_async_pool()
    with pool.threads.checkout():
        task = loop.create_task(pool.execute("ping", checkout_timeout_s=600.0, timeout_s=600.0))
        drive(loop, lambda: pool.status().waiting, soon)
        waiting = client(pool.threads.execute, "echo", {"value": 1}, checkout_timeout_s=20.0)
        until(lambda: pool.status().waiting == 2, "both wait")
        loop.close()
    assert waiting.result() == 1
    assert not task.done()
    task._log_destroy_pending = False  # type: ignore[attr-defined]


def test_an_offer_to_a_loop_that_stands_still_is_taken_back_at_the_deadline(
    make_async_pool: MakeAsyncPool, loop: asyncio.AbstractEventLoop, soon: Any
) -> None:
    pool = make_async_pool()
    with pool.threads.checkout():
        task = loop.create_task(pool.execute("ping", timeout_s=0.2))
        drive(loop, lambda: pool.status().waiting, soon)
    assert pool.threads.execute("echo", {"value": 1}, checkout_timeout_s=20.0) == 1
    with pytest.raises(CheckoutTimeout):
        loop.run_until_complete(task)


class UnblockingLoop(asyncio.SelectorEventLoop):
    """A loop that, as libuv's does, puts each descriptor that it watches in non-blocking mode and leaves it so."""

    def add_reader(self, fd: Any, callback: Any, *args: Any) -> Any:  # type: ignore[override]
        os.set_blocking(fd, False)
        return super().add_reader(fd, callback, *args)


@pytest.mark.parametrize("loop_factory", [UnblockingLoop, uvloop.new_event_loop])
def test_a_loop_that_unblocks_the_pipes_leaves_them_usable_by_threads(
    make_async_pool: MakeAsyncPool, loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    pool = make_async_pool()
    with contextlib.closing(loop_factory()) as loop:
        for seconds in (0.02, 0.05):
            assert loop.run_until_complete(pool.execute("sleep", {"seconds": seconds})) == {"slept_s": seconds}
            assert pool.threads.execute("sleep", {"seconds": seconds}) == {"slept_s": seconds}
            with pool.threads.checkout() as lease:
                assert lease.execute("sleep", {"seconds": seconds}) == {"slept_s": seconds}
    status = pool.status()
    assert status.statistics.outcomes == {"result": 6}
    assert [worker.served for worker in status.workers] == [6], "no worker was replaced"


KINDS = ["waiting", "exchange", "session", "lease", "lease's call", "batch", "session's batch", "stream", "part"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_coroutine_can_be_finalized_under_the_pool_s_lock(
    make_async_pool: MakeAsyncPool,
    loop: asyncio.AbstractEventLoop,
    log: Any,
    soon: Any,
    client: Any,
    until: Any,
    kind: str,
) -> None:
    pool = make_async_pool(log, workers=2)
    holder = pool.threads.checkout() if kind == "waiting" else None
    if holder is not None:
        other = pool.threads.checkout()

    async def block() -> None:
        async with pool.checkout() as worker:
            if kind == "lease":
                await asyncio.Event().wait()
            await worker.execute("sleep", {"seconds": 600})

    taken: list[Any] = []

    async def stream() -> None:
        async with pool.execute_stream("parts", {"count": 2, "pause_s": 0 if kind == "part" else 60}) as parts:
            async for part in parts:
                taken.append(part)
                await asyncio.Event().wait()

    async def batch(session: str | None) -> None:
        await pool.execute_many("sleep", [{"seconds": 600}] * 2, session=session, timeout_s=600.0)

    count = 1
    if kind.startswith("lease"):
        coroutine: Any = block()
    elif kind in ("stream", "part"):
        coroutine = stream()
    elif kind.endswith("batch"):
        count = 2
        coroutine = batch("s" if kind.startswith("session") else None)
    else:
        session = "s" if kind == "session" else None
        coroutine = pool.execute("sleep", {"seconds": 600}, session=session, timeout_s=600.0, checkout_timeout_s=600.0)
    task = loop.create_task(coroutine)
    begun = {
        "waiting": lambda: pool.status().waiting,
        "lease": lambda: [w for w in pool.status().workers if w.state == "leased"],
        "part": lambda: taken,
    }
    drive(loop, begun.get(kind, lambda: log.of(EventKind.SEND)), soon)
    loop.close()

    def finalize() -> None:
        with pool._engine.lock:
            coroutine.close()

    client(finalize).result()
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    if holder is not None:
        holder.end()
        other.end()
    until(lambda: {w.state for w in pool.status().workers} == {"idle"}, "no worker is held")
    assert pool.status().waiting == 0
    assert not pool.sessions()
    statistics = pool.status().statistics
    assert (statistics.in_flight, statistics.outcomes) == (0, {} if kind == "lease" else {"Cancelled": count})
    if not kind.startswith("lease"):
        log.wait_for(EventKind.DONE, detail="Cancelled")
