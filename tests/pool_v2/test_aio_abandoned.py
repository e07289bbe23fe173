"""V2 and cancelled tasks whose workers are kept: the supervisor reads what they owe, and they serve the next call."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from poolproof.bridge import CommandError, EventKind, LeaseError
from poolproof.pool_v2.aio.pool import AsyncPool

MakeAsyncPool = Callable[..., AsyncPool]
OnLoop = Callable[..., Any]
Way = Callable[[asyncio.Task[Any]], Awaitable[None]]
MakeCase = Callable[..., "Case"]


def keeping(pool: AsyncPool) -> AsyncPool:
    return AsyncPool.over(pool.threads, keep_on_cancel=True)


async def by_cancel(call: asyncio.Task[Any]) -> None:
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    assert call.cancelled()


async def by_wait_for(call: asyncio.Task[Any]) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(call, 0.0)


async def by_timeout(call: asyncio.Task[Any]) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.0):
            await call


class Case:
    """A pool of one worker that is stopped when a task has sent it something, so that it is cancelled for sure."""

    def __init__(self, pool: AsyncPool, log: Any, soon: Any) -> None:
        self.pool = pool
        self._log = log
        self._soon = soon

    async def pid(self) -> int:
        """The process that serves the next call."""
        return int((await self.pool.execute("pid", checkout_timeout_s=30.0))["pid"])

    async def abandon(self, call: Coroutine[Any, Any, Any], *, requests: int = 1, way: Way = by_cancel) -> int:
        """Cancel `call` when it has sent so many requests, and return the worker's pid. It answers only afterwards."""
        pid = await self.send(call, requests, way)
        assert [worker.state for worker in self.pool.status().workers] == ["leased"], "it has not answered"
        os.kill(pid, signal.SIGCONT)
        return pid

    async def send(self, call: Coroutine[Any, Any, Any], requests: int, way: Way = by_cancel) -> int:
        """`abandon`, without the worker's answer."""
        pid = await self.pid()
        submitted = self.pool.status().statistics.submitted
        await self._soon(lambda: len(self._log.of(EventKind.DONE)) == submitted, "the log is complete")
        before = len(self._log.of(EventKind.SEND))
        os.kill(pid, signal.SIGSTOP)
        task = asyncio.create_task(call)
        await self._soon(lambda: len(self._log.of(EventKind.SEND)) == before + requests, "all is sent")
        await way(task)
        return pid


@pytest.fixture
def case(make_async_pool: MakeAsyncPool, log: Any, soon: Any) -> Callable[..., Case]:
    """Make a case with these options of the pool."""
    return lambda **options: Case(keeping(make_async_pool(log, workers=1, **options)), log, soon)


@pytest.mark.parametrize("way", [by_cancel, by_wait_for, by_timeout])
def test_a_cancelled_call_can_keep_its_worker(case: MakeCase, on_loop: OnLoop, log: Any, way: Way) -> None:
    one = case()
    pool = one.pool

    async def use() -> None:
        pid = await one.abandon(pool.execute("echo", {"value": 1}), way=way)
        assert await one.pid() == pid

    on_loop(use())
    log.wait_for(EventKind.DONE, count=3)
    assert log.of(EventKind.KILL) == []
    mine = [event.kind for event in log.of(EventKind.SEND, EventKind.RECEIVE, EventKind.CHECKIN) if event.call == 2]
    assert mine == [EventKind.SEND, EventKind.RECEIVE, EventKind.CHECKIN]
    statistics = pool.status().statistics
    assert (statistics.outcomes, statistics.in_flight) == ({"Cancelled": 1, "result": 2}, 0)


def test_twenty_cancelled_calls_cost_no_worker(make_async_pool: MakeAsyncPool, on_loop: OnLoop, log: Any) -> None:
    pool = keeping(make_async_pool(log, workers=2))

    async def use() -> list[Any]:
        await pool.warm_up()
        pids = {worker.pid for worker in pool.status().workers}
        calls = [asyncio.create_task(pool.execute("sleep", {"seconds": 0.005})) for _ in range(20)]
        while not log.of(EventKind.RECEIVE):
            await asyncio.sleep(0.001)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert [await pool.execute("echo", {"value": n}) for n in range(50)] == list(range(50))
        assert {worker.pid for worker in pool.status().workers} == pids
        return [event.detail for event in log.of(EventKind.KILL)]

    assert on_loop(use()) == []


def test_a_large_response_that_nobody_wants_is_read_and_dropped(
    make_async_pool: MakeAsyncPool, on_loop: OnLoop, log: Any, soon: Any
) -> None:
    pool = keeping(make_async_pool(log))

    async def use() -> None:
        pid = (await pool.execute("pid"))["pid"]
        call = asyncio.create_task(pool.execute("blob", {"bytes": 5_000_000}))
        await soon(lambda: len(log.of(EventKind.SEND)) == 2, "it is sent")
        call.cancel()
        assert (await pool.execute("pid"))["pid"] == pid

    on_loop(use())


def test_the_deadline_of_a_cancelled_call_ends_its_worker(
    make_async_pool: MakeAsyncPool, on_loop: OnLoop, log: Any, soon: Any
) -> None:
    pool = keeping(make_async_pool(log))

    async def use() -> None:
        pid = (await pool.execute("pid"))["pid"]
        call = asyncio.create_task(pool.execute("sleep", {"seconds": 600}, timeout_s=2.0))
        await soon(lambda: len(log.of(EventKind.SEND)) == 2, "it is sent")
        call.cancel()
        assert (await pool.execute("pid", checkout_timeout_s=30.0))["pid"] != pid
        assert log.wait_for(EventKind.KILL).detail == "CallTimeout"

    on_loop(use())


def test_a_request_that_was_not_sent_whole_ends_its_worker_all_the_same(
    make_async_pool: MakeAsyncPool, on_loop: OnLoop, soon: Any, gone: Any
) -> None:
    pool = keeping(make_async_pool())

    async def use() -> None:
        pid = (await pool.execute("pid"))["pid"]
        os.kill(pid, signal.SIGSTOP)
        call = asyncio.create_task(pool.execute("echo", {"value": "x" * 1_000_000}))
        await soon(lambda: pool.status().workers[0].state == "leased", "it writes")
        call.cancel()
        await soon(lambda: gone(pid), "the worker is dead")
        assert (await pool.execute("pid", checkout_timeout_s=30.0))["pid"] != pid

    on_loop(use())


def test_a_pool_closes_while_it_awaits_the_response_of_a_cancelled_call(
    make_async_pool: MakeAsyncPool, on_loop: OnLoop, log: Any, soon: Any
) -> None:
    pool = keeping(make_async_pool(log))

    async def use() -> None:
        call = asyncio.create_task(pool.execute("sleep", {"seconds": 600}, timeout_s=600.0))
        await soon(lambda: log.of(EventKind.SEND), "it is at work")
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await pool.close(0.05)

    on_loop(use())
    assert pool.status().state == "closed"


def test_a_cancelled_batch_keeps_its_worker(case: MakeCase, on_loop: OnLoop, log: Any) -> None:
    one = case()

    async def use() -> None:
        items = [{"value": number} for number in range(5)]
        pid = await one.abandon(one.pool.execute_many("echo", items), requests=5)
        assert await one.pid() == pid

    on_loop(use())
    log.wait_for(EventKind.DONE, count=7)
    (checkin,) = [event for event in log.of(EventKind.CHECKIN) if event.call == 2]
    received = [event.call for event in log.of(EventKind.RECEIVE) if event.at_ns <= checkin.at_ns]
    assert received == [1, 2, 3, 4, 5, 6], "in the order in which they were sent"
    (worker,) = one.pool.status().workers
    assert worker.served == 7
    assert one.pool.status().statistics.outcomes == {"Cancelled": 5, "result": 2}


def test_a_batch_whose_last_request_was_sent_in_part_ends_its_worker(
    case: MakeCase, on_loop: OnLoop, soon: Any, gone: Any
) -> None:
    one = case()

    async def use() -> None:
        items: list[dict[str, Any]] = [{"value": 1}, {"value": "x" * 1_000_000}]
        pid = await one.send(one.pool.execute_many("echo", items), requests=1)
        await soon(lambda: gone(pid), "it is ended, though it does not read")
        assert await one.pid() != pid

    on_loop(use())


@pytest.mark.parametrize("where", ["in a part", "between two parts"])
def test_a_cancelled_stream_keeps_its_worker(case: MakeCase, on_loop: OnLoop, log: Any, where: str) -> None:
    one = case()

    async def use() -> None:
        pid, begun = await one.pid(), asyncio.Event()

        async def read() -> None:
            async with one.pool.execute_stream("parts", {"count": 40, "bytes": 20_000, "pause_s": 0.002}) as parts:
                async for _ in parts:
                    begun.set()
                    if where == "between two parts":
                        await asyncio.sleep(600)

        task = asyncio.create_task(read())
        await begun.wait()
        await by_cancel(task)
        assert await one.pid() == pid

    on_loop(use())
    assert log.of(EventKind.KILL) == []
    assert one.pool.status().statistics.outcomes == {"Cancelled": 1, "result": 2}


@pytest.mark.parametrize(("leave", "timeout_s"), [("aclose", 600.0), ("cancel", 1.0)])
def test_a_stream_without_end_ends_its_worker_when_it_is_closed_or_at_its_deadline(
    case: MakeCase, on_loop: OnLoop, leave: str, timeout_s: float
) -> None:
    one = case()

    async def use() -> None:
        pid = await one.pid()
        parts = one.pool.execute_stream("parts", {"count": 1_000_000, "pause_s": 0.005}, timeout_s=timeout_s)
        await anext(parts)
        if leave == "aclose":
            await parts.aclose()
        else:
            task = asyncio.ensure_future(anext(parts))
            await asyncio.sleep(0)
            await by_cancel(task)
        assert await one.pid() != pid

    on_loop(use())


def test_a_lease_keeps_its_worker_if_its_only_call_is_cancelled(case: MakeCase, on_loop: OnLoop) -> None:
    one = case()

    async def use() -> None:
        async def lease() -> None:
            async with one.pool.checkout() as worker:
                try:
                    await worker.execute("echo", {"value": 1})
                finally:
                    with pytest.raises(LeaseError, match="has ended"):
                        await worker.execute("pid")
                    with pytest.raises(LeaseError, match="has ended"):
                        worker.pid  # noqa: B018 - a property that raises

        pid = await one.abandon(lease())
        assert await one.pid() == pid

    on_loop(use())
    assert one.pool.status().statistics.outcomes == {"Cancelled": 1, "result": 2}


@pytest.mark.parametrize(("calls", "kept"), [(0, True), (1, True), (2, False)])
def test_a_block_that_is_cancelled_keeps_its_worker_unless_it_has_made_several_calls(
    case: MakeCase, on_loop: OnLoop, calls: int, kept: bool
) -> None:
    one = case()

    async def use() -> None:
        pid, begun = await one.pid(), asyncio.Event()

        async def block() -> None:
            async with one.pool.checkout() as worker:
                for number in range(calls):
                    await worker.execute("echo", {"value": number})
                begun.set()
                await asyncio.sleep(600)

        task = asyncio.create_task(block())
        await begun.wait()
        await by_cancel(task)
        assert (await one.pid() == pid) is kept

    on_loop(use())


async def values(pool: AsyncPool) -> Any:
    """The list that the session has."""
    return (await pool.execute_in_session("s", "get", {"key": "k"}))["value"]


def appending(pool: AsyncPool, value: int) -> Coroutine[Any, Any, Any]:
    """A change of the session."""
    return pool.execute_in_session("s", "append", {"key": "k", "value": value})


@pytest.mark.parametrize("many", [False, True])
def test_the_change_of_a_session_s_cancelled_call_is_made_and_handed_over_as_any_other(
    case: MakeCase, on_loop: OnLoop, soon: Any, gone: Any, many: bool
) -> None:
    one = case()

    async def use() -> None:
        await appending(one.pool, 1)
        items = [{"key": "k", "value": 2}, {"key": "k", "value": 3}]
        call = one.pool.execute_many("append", items, session="s") if many else appending(one.pool, 2)
        pid = await one.abandon(call)
        assert await values(one.pool) == [1, 2]
        assert await one.pid() == pid
        os.kill(pid, signal.SIGKILL)
        await soon(lambda: gone(pid), "the worker is dead")
        assert await values(one.pool) == [1, 2]
        (session,) = one.pool.sessions()
        assert (session.version, session.operations) == (2, 4)

    on_loop(use())


def test_a_session_s_cancelled_call_whose_worker_dies_changes_nothing(
    case: MakeCase, on_loop: OnLoop, soon: Any, gone: Any
) -> None:
    one = case()

    async def use() -> None:
        await appending(one.pool, 1)
        call = one.pool.execute_in_session("s", "sleep", {"seconds": 600})
        pid = await one.abandon(call)
        assert not gone(pid)
        os.kill(pid, signal.SIGKILL)
        assert await one.pid() != pid
        assert await values(one.pool) == [1]

    on_loop(use())


def test_a_full_log_takes_one_more_change_of_a_cancelled_call_and_no_second_one(
    case: MakeCase, on_loop: OnLoop
) -> None:
    one = case(session_log_bytes=1)

    async def use() -> None:
        first = await one.abandon(appending(one.pool, 1))
        assert await values(one.pool) == [1]
        second = await one.abandon(appending(one.pool, 2))
        assert first == second, "the first change was recorded"
        assert await one.pid() != second, "the second was not, so its worker has ended"
        assert await values(one.pool) == [1]

    on_loop(use())


def test_a_session_without_an_answered_call_is_forgotten_when_its_cancelled_call_has_failed(
    case: MakeCase, on_loop: OnLoop, soon: Any
) -> None:
    one = case()

    async def use() -> None:
        call = one.pool.execute_in_session("s", "exit", {"code": 3})
        await one.abandon(call)
        await soon(lambda: not one.pool.sessions(), "nothing is left of the session")

    on_loop(use())


def test_an_error_that_nobody_reads_keeps_the_worker(case: MakeCase, on_loop: OnLoop) -> None:
    one = case()

    async def use() -> None:
        pid = await one.abandon(one.pool.execute("fail", {"message": "nobody reads this"}))
        assert await one.pid() == pid
        with pytest.raises(CommandError):
            await one.pool.execute("fail", {"message": "somebody reads this"})

    on_loop(use())
