"""A call that fails leaves nothing to the garbage collector: no stack, ticket or descriptor lives on until it runs."""

from __future__ import annotations

import asyncio
import functools
import gc
import itertools
import os
import signal
import time
from collections.abc import Callable
from types import FrameType, GeneratorType
from typing import Any

import pytest

from poolproof import bridge, pool_v2
from poolproof.bridge import (
    CallTimeout,
    CheckoutTimeout,
    CommandError,
    InvalidRequest,
    PoolClosed,
    PoolError,
    WorkerCrashed,
)
from poolproof.bridge.processes.channel import Channel
from poolproof.pool_v2 import Lease, PoolV2
from poolproof.pool_v2.aio.io import AsyncTicket
from poolproof.pool_v2.aio.pool import AsyncPool
from poolproof.pool_v2.aio.streaming import AsyncStream
from poolproof.pool_v2.calls.io import ThreadTicket
from poolproof.pool_v2.calls.streaming import Stream
from poolproof.pool_v2.core.ticket import Ticket
from tests.waiting import stop

OWN_DIRS = tuple(os.path.dirname(str(package.__file__)) for package in (bridge, pool_v2))
TIMES = 5
PATIENCE = 60


def left() -> list[object]:
    """The pool's tickets, leases, errors, frames and generators that still exist."""
    kinds = (Ticket, ThreadTicket, AsyncTicket, Lease, Stream, AsyncStream, *PoolError.__subclasses__())
    return [each for each in gc.get_objects() if type(each) in kinds or is_own(each)]


def is_own(each: object) -> bool:
    """Whether this is a frame or a generator of the pool's code."""
    code = each.f_code if isinstance(each, FrameType) else each.gi_code if isinstance(each, GeneratorType) else None
    return code is not None and code.co_filename.startswith(OWN_DIRS)


def uncollected(fail: Callable[[], object], *errors: type[PoolError]) -> int:
    """How many more of these there are after a few calls that fail, without the collector."""

    def often() -> None:
        for _ in range(TIMES):
            try:
                fail()
            except errors:
                continue
            pytest.fail("it did not fail")

    often()
    gc.collect()
    gc.disable()
    try:
        before = len(left())
        often()
        for _ in range(PATIENCE):  # a worker that is replaced meanwhile has its own
            if len(left()) <= before:
                break
            time.sleep(0.05)
        return len(left()) - before
    finally:
        gc.enable()


@pytest.fixture
def pool(make_pool: Any) -> PoolV2:
    made: PoolV2 = make_pool(workers=1, zygote=True)
    made.execute("ping")
    return made


def test_a_refused_command(pool: PoolV2) -> None:
    assert uncollected(lambda: pool.execute("no_such_command"), CommandError) <= 0
    assert uncollected(lambda: pool.execute("no_such_command", session="s"), CommandError) <= 0


def test_a_request_that_cannot_be_sent(pool: PoolV2) -> None:
    assert uncollected(lambda: pool.execute("echo", {"value": float("nan")}), InvalidRequest) <= 0


def test_a_wait_in_vain(pool: PoolV2, pid_of: Any, client: Any, until: Any) -> None:
    pid = pid_of(pool)
    stop(pid)
    holder = client(pool.execute, "ping")
    until(lambda: pool.status().workers[0].state == "leased", "the worker is taken")
    try:
        assert uncollected(lambda: pool.execute("ping", checkout_timeout_s=0.01), CheckoutTimeout) <= 0
    finally:
        os.kill(pid, signal.SIGCONT)
    holder.result()


def test_a_call_that_takes_too_long(pool: PoolV2) -> None:
    slow = {"seconds": 60}
    assert uncollected(lambda: pool.execute("sleep", slow, timeout_s=0.1), CallTimeout, CheckoutTimeout) <= 0


def test_a_lease(pool: PoolV2) -> None:
    def use() -> None:
        with pool.checkout() as worker:
            worker.execute("no_such_command")

    assert uncollected(use, CommandError) <= 0


def test_a_closed_pool(pool: PoolV2) -> None:
    pool.close()

    assert uncollected(lambda: pool.execute("ping"), PoolClosed) <= 0


def proven(pool: PoolV2) -> PoolV2:
    """Let the pool's worker answer a call, so that its end in the next call is no early one."""
    pool.execute("ping", checkout_timeout_s=20.0)
    return pool


def test_a_worker_that_dies(pool: PoolV2) -> None:
    for session in (None, "s"):
        assert (
            uncollected(
                lambda session=session: proven(pool).execute("exit", session=session, checkout_timeout_s=20.0),  # type: ignore[misc]
                WorkerCrashed,
            )
            <= 0
        )


def test_a_call_that_is_tried_again(pool: PoolV2, monkeypatch: pytest.MonkeyPatch) -> None:
    write_some = Channel.write_some

    def to_a_dead_one(transport: Channel, data: Any) -> int:
        if not transport.exited() and next(turns):
            transport.kill()
            while not transport.exited():
                time.sleep(0.001)
        return write_some(transport, data)

    turns = itertools.cycle([True, False])
    monkeypatch.setattr(Channel, "write_some", to_a_dead_one)
    assert uncollected(lambda: pool.execute("no_such_command", checkout_timeout_s=20.0), CommandError) <= 0


def test_a_batch_and_a_stream(pool: PoolV2) -> None:
    assert uncollected(lambda: pool.execute_many("fail", [{}, {}]), CommandError) <= 0
    assert uncollected(lambda: list(pool.execute_stream("fail")), CommandError) <= 0
    assert uncollected(lambda: list(proven(pool).execute_stream("exit", checkout_timeout_s=20.0)), WorkerCrashed) <= 0
    assert uncollected(lambda: proven(pool).execute_many("exit", [{}, {}], checkout_timeout_s=20.0), WorkerCrashed) <= 0


def test_one_that_was_written_ahead(pool: PoolV2, client: Any, until: Any) -> None:
    def fail() -> None:
        lease = pool.checkout()
        waiter = client(pool.execute, "no_such_command")
        until(lambda: pool.status().waiting, "it waits")
        lease.end()
        try:
            waiter.result()
        finally:
            waiter.error = None
            del waiter

    assert uncollected(fail, CommandError) <= 0


def test_calls_of_tasks(make_async_pool: Callable[..., AsyncPool]) -> None:
    pool = make_async_pool(workers=1, zygote=True)

    async def in_vain() -> None:
        async with pool.checkout():
            await pool.execute("ping", checkout_timeout_s=0.01)

    async def dies() -> None:
        await pool.execute("ping", checkout_timeout_s=20.0)
        await pool.execute("exit", checkout_timeout_s=20.0)

    async def stream() -> None:
        async with pool.execute_stream("fail") as parts:
            async for _ in parts:
                pass

    async def fails(call: Callable[[], Any], error: type[PoolError]) -> None:
        try:
            await call()
        except (error, CheckoutTimeout):
            return
        pytest.fail("it did not fail")

    def often(runner: asyncio.Runner, call: Callable[[], Any], error: type[PoolError]) -> None:
        runner.run(fails(call, error))  # asyncio itself keeps an error that leaves its task
        raise error("it has failed")

    with asyncio.Runner() as runner:
        calls: list[tuple[Callable[[], Any], type[PoolError]]] = [
            (lambda: pool.execute("no_such_command"), CommandError),
            (lambda: pool.execute("no_such_command", session="s"), CommandError),
            (lambda: pool.execute("sleep", {"seconds": 60}, timeout_s=0.1), CallTimeout),
            (dies, WorkerCrashed),
            (lambda: pool.execute_many("fail", [{}, {}], checkout_timeout_s=20.0), CommandError),
            (in_vain, CheckoutTimeout),
            (stream, CommandError),
        ]
        for call, error in calls:
            assert uncollected(functools.partial(often, runner, call, error), error) <= 0, error
