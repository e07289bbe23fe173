"""V2's asyncio face: its interface, its leases, its end; and that threads share it."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from poolproof.bridge import CircuitOpen, ConfigError, EventKind, PoolClosed, PoolConfig
from poolproof.pool_v2 import PoolV2
from poolproof.pool_v2.aio.pool import AsyncPool
from poolproof.pool_v2.core.behaviour import WorkerBehaviour
from tests.waiting import stop

MakeAsyncPool = Callable[..., AsyncPool]
OnLoop = Callable[..., Any]


def test_a_pool_lives_for_the_time_of_its_block(on_loop: OnLoop, until: Any, gone: Any) -> None:
    async def use() -> list[Any]:
        async with AsyncPool(PoolConfig(workers=2)) as pool:
            assert await pool.warm_up() == 2
            assert pool.health_check().healthy
            answers = [
                await pool.execute("echo", {"value": 1}),
                await pool.execute_anonymous("echo", {"value": 2}),
                await pool.execute_in_session("s", "append", {"key": "k", "value": 3}),
                await pool.execute("get", {"key": "k"}, session="s"),
            ]
            (session,) = pool.sessions()
            assert (session.session_id, session.operations) == ("s", 2)
            assert await pool.end_session("s")
            assert not await pool.end_session("s")
            pids = [worker.pid for worker in pool.status().workers]
        assert pool.status().state == "closed"
        assert pool.status().statistics.outcomes == {"result": 5}
        with pytest.raises(PoolClosed):
            await pool.execute("ping")
        return [*answers, pids]

    one, two, three, four, pids = on_loop(use())
    assert (one, two, three["values"], four["value"]) == (1, 2, [3], [3])
    until(lambda: all(gone(pid) for pid in pids), "its workers have ended")


def test_the_faces_take_the_same_arguments() -> None:
    for name in ("execute", "execute_in_session", "execute_anonymous", "checkout", "warm_up", "close", "end_session"):
        one, other = inspect.signature(getattr(AsyncPool, name)), inspect.signature(getattr(PoolV2, name))
        assert list(one.parameters.values())[1:] == list(other.parameters.values())[1:], name  # without self
    assert AsyncPool.version == PoolV2.version
    assert AsyncPool.capabilities == PoolV2.capabilities


def test_an_import_of_the_room_alone_brings_no_asyncio() -> None:
    code = "import poolproof.pool_v2, sys; assert 'asyncio' not in sys.modules; assert poolproof.pool_v2.AsyncPool"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_behaviour_is_refused() -> None:
    with pytest.raises(ConfigError, match="takes no `behaviour`"):
        AsyncPool(PoolConfig(), behaviour=WorkerBehaviour())
    with PoolV2(PoolConfig(lazy=True), behaviour=WorkerBehaviour()) as pool:
        with pytest.raises(ConfigError, match="cannot share pool"):
            AsyncPool.over(pool)


def test_impossible_times_are_refused(make_async_pool: MakeAsyncPool, on_loop: OnLoop) -> None:
    pool = make_async_pool(lazy=True)
    bad: tuple[dict[str, Any], ...] = ({"timeout_s": 0}, {"checkout_timeout_s": -1})
    for options in bad:
        with pytest.raises(ConfigError):
            on_loop(pool.execute("ping", **options))
        with pytest.raises(ConfigError):
            pool.checkout(**options)
    assert pool.status().statistics.submitted == 0


def test_no_call_uses_a_thread_of_its_own(make_async_pool: MakeAsyncPool, on_loop: OnLoop) -> None:
    pool = make_async_pool(workers=2)

    async def use() -> set[threading.Thread]:
        loop = asyncio.get_running_loop()
        await pool.warm_up()
        before, found = set(threading.enumerate()), set[threading.Thread]()

        async def call(value: int) -> None:
            assert await pool.execute("echo", {"value": value}) == value
            found.update(threading.enumerate())

        await asyncio.gather(*(call(value) for value in range(100)))
        assert loop._default_executor is None  # type: ignore[attr-defined]
        return found - before

    assert on_loop(use()) == set()


def test_workers_that_do_not_start_fail_the_warm_up(make_async_pool: MakeAsyncPool, on_loop: OnLoop) -> None:
    pool = make_async_pool(worker_command=(sys.executable, "-c", "pass"), start_failures_to_open=2)
    with pytest.raises(CircuitOpen, match="too many workers failed to start"):
        on_loop(pool.warm_up())


def test_a_pool_is_dropped_without_a_close(on_loop: OnLoop, until: Any, gone: Any) -> None:
    async def use() -> int:
        pool = AsyncPool(PoolConfig(workers=1))
        return int((await pool.execute("pid"))["pid"])

    pid = on_loop(use())
    until(lambda: gone(pid), "the worker of the dropped pool has ended")


# The end.


def test_a_close_lets_the_loop_finish_its_calls_and_refuses_the_waiting_ones(
    make_async_pool: MakeAsyncPool, on_loop: OnLoop, log: Any, soon: Any
) -> None:
    pool = make_async_pool(log)

    async def use() -> None:
        await pool.warm_up()
        pid = pool.status().workers[0].pid
        stop(pid)
        running = asyncio.create_task(pool.execute("ping", {"nonce": 1}))
        await soon(lambda: log.of(EventKind.SEND), "the first call is at work")
        waiting = asyncio.create_task(pool.execute("ping"))
        await soon(lambda: pool.status().waiting == 1, "the second waits")
        closing = asyncio.gather(pool.close(20.0), pool.close(20.0))
        await soon(lambda: pool.status().state == "closing", "it closes")
        os.kill(pid, signal.SIGCONT)
        await closing
        with pytest.raises(PoolClosed, match="before the call began"):
            await waiting
        assert (await running)["nonce"] == 1

    on_loop(use())
    assert pool.status().statistics.outcomes == {"result": 1, "PoolClosed": 1}


def test_a_close_ends_what_does_not_end_in_time(
    make_async_pool: MakeAsyncPool, on_loop: OnLoop, log: Any, soon: Any
) -> None:
    pool = make_async_pool(log)

    async def use() -> None:
        running = asyncio.create_task(pool.execute("sleep", {"seconds": 600}, timeout_s=600))
        await soon(lambda: log.of(EventKind.SEND), "the call is at work")
        await pool.close(0.01)
        with pytest.raises(PoolClosed) as caught:
            await running
        assert caught.value.sent == "yes"

    on_loop(use())


def test_a_close_whose_task_is_cancelled_is_done_all_the_same(
    make_async_pool: MakeAsyncPool, on_loop: OnLoop, until: Any
) -> None:
    pool = make_async_pool()

    async def use() -> None:
        async with pool.checkout():
            closing = asyncio.create_task(pool.close(0.01))
            await asyncio.sleep(0)
            closing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await closing

    on_loop(use())
    until(lambda: pool.status().state == "closed", "it is closed")


def test_what_a_close_raises_is_raised(
    make_async_pool: MakeAsyncPool, on_loop: OnLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_async_pool()
    with monkeypatch.context() as patch:
        patch.setattr(pool._engine, "close", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            on_loop(pool.close())


def test_a_forked_child_cannot_use_it(make_async_pool: MakeAsyncPool, on_loop: OnLoop) -> None:
    pool = make_async_pool()
    pid = on_loop(pool.execute("pid"))["pid"]
    child = os.fork()
    if child == 0:
        status = 1
        try:
            coroutine = pool.execute("ping")
            coroutine.send(None)
        except PoolClosed:
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert on_loop(pool.execute("pid"))["pid"] == pid


def test_the_example_of_the_page_works(capsys: pytest.CaptureFixture[str]) -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "asyncio.md"
    [program] = re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)
    exec(program, {})
    first, second = capsys.readouterr().out.splitlines()
    assert first == str(list(range(10)))
    assert "'value': 1" in second
