"""The path of a call by a task: its outcomes, its place in the queue beside threads, sessions and handovers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from poolproof.bridge import (
    CallTimeout,
    CheckoutTimeout,
    CommandError,
    EventKind,
    InvalidRequest,
    QueueFull,
    SessionLost,
    WorkerCrashed,
)
from poolproof.pool_v2.aio.pool import AsyncPool
from poolproof.pool_v2.running.engine import Engine

MakeAsyncPool = Callable[..., AsyncPool]
OnLoop = Callable[..., Any]


async def kill_worker(pool: AsyncPool, log: Any, soon: Any) -> None:
    """Kill the one worker and wait for its burial."""
    (worker,) = pool.status().workers
    os.kill(worker.pid, signal.SIGKILL)
    await soon(lambda: [e for e in log.of(EventKind.REAP) if e.worker == worker.worker_id], "it is released")


# Outcomes.


def test_a_call_takes_the_same_steps_as_a_thread_s(make_async_pool: MakeAsyncPool, on_loop: OnLoop, log: Any) -> None:
    pool = make_async_pool(log)
    pool.threads.warm_up()
    log.events.clear()

    on_loop(pool.execute("echo", {"value": 1}))
    pool.threads.execute("echo", {"value": 1})

    first, second = ([(e.kind, e.worker, e.pid, e.detail) for e in log.of(*EventKind, call=n)] for n in (1, 2))
    assert len(first) == 6
    assert first == second


def test_each_outcome_is_counted_once(make_async_pool: MakeAsyncPool, on_loop: OnLoop) -> None:
    pool = make_async_pool(max_queue=0)

    async def use() -> None:
        await pool.warm_up()
        await pool.execute("ping")
        with pytest.raises(CommandError, match="as asked"):
            await pool.execute("fail")
        with pytest.raises(InvalidRequest):
            await pool.execute("echo", {"value": object()})
        async with pool.checkout():
            with pytest.raises(QueueFull):
                await pool.execute("ping")
        with pytest.raises(CallTimeout) as caught:
            await pool.execute("sleep", {"seconds": 60}, timeout_s=0.1)
        assert (caught.value.sent, caught.value.worker_id) == ("yes", 1)

    on_loop(use())
    statistics = pool.status().statistics
    assert statistics.outcomes == dict.fromkeys(("result", "CommandError", "InvalidRequest", "QueueFull"), 1) | {
        "CallTimeout": 1
    }
    assert (statistics.submitted, statistics.in_flight) == (5, 0)


def test_a_worker_that_dies_costs_its_call_only_and_its_last_words_are_told(
    make_async_pool: MakeAsyncPool, on_loop: OnLoop
) -> None:
    pool = make_async_pool()

    async def use() -> None:
        with pytest.raises(WorkerCrashed, match="leaving in the middle of a call, as asked") as caught:
            await pool.execute("exit", {"code": 3})
        assert caught.value.sent == "yes"
        assert await pool.execute("echo", {"value": 1}) == 1

    on_loop(use())


def test_a_worker_found_dead_at_the_first_byte_costs_the_call_nothing(
    make_async_pool: MakeAsyncPool, on_loop: OnLoop, log: Any, gone: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_async_pool(log)
    pool.threads.warm_up()
    (worker,) = pool.status().workers
    enter = Engine.enter

    def unlucky(engine: Engine, *args: Any, **options: Any) -> None:
        enter(engine, *args, **options)
        if not gone(worker.pid):  # the worker dies between the grant and the first byte
            os.kill(worker.pid, signal.SIGKILL)
            until(lambda: gone(worker.pid), "the worker is dead")

    monkeypatch.setattr(Engine, "enter", unlucky)

    assert on_loop(pool.execute("pid"))["pid"] != worker.pid
    kinds = [e.kind for e in log.of(EventKind.ACCEPT, EventKind.SEND, EventKind.DONE)]
    assert kinds == [EventKind.ACCEPT, EventKind.ACCEPT, EventKind.SEND, EventKind.DONE]


def test_a_stranger_that_holds_a_dead_workers_stdout_does_not_hold_its_task(
    make_async_pool: MakeAsyncPool, on_loop: OnLoop, tmp_path: Path
) -> None:
    strangers = tmp_path / "strangers"
    script = (
        "import os, subprocess, sys\n"
        "stranger = subprocess.Popen(['setsid', 'sleep', '60'], close_fds=False)\n"
        f"open({str(strangers)!r}, 'a').write(f'{{stranger.pid}} ')\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'poolproof.bridge.worker.program'])\n"
    )
    pool = make_async_pool(worker_command=(sys.executable, "-c", script))
    try:
        with pytest.raises(WorkerCrashed, match="ended its stream before it answered"):
            on_loop(pool.execute("exit", {"code": 1}, timeout_s=60.0))
        assert on_loop(pool.execute("echo", {"value": 1})) == 1
    finally:
        pool.threads.close()
        for pid in strangers.read_text().split():
            with contextlib.suppress(ProcessLookupError):  # the pool ends what its dead workers have left
                os.kill(int(pid), signal.SIGKILL)


def test_an_offer_past_the_call_s_deadline_is_a_checkout_timeout(
    make_async_pool: MakeAsyncPool, on_loop: OnLoop
) -> None:
    pool = make_async_pool()

    async def use() -> None:
        async with pool.checkout():
            with pytest.raises(CheckoutTimeout, match="was free before the checkout deadline") as caught:
                await pool.execute("ping", timeout_s=0.03)
            assert caught.value.holders
        assert await pool.execute("echo", {"value": 1}) == 1

    on_loop(use())


# Action.


def test_a_thousand_tasks_are_served_by_four_workers_in_their_order(
    make_async_pool: MakeAsyncPool, on_loop: OnLoop, log: Any
) -> None:
    pool = make_async_pool(log, workers=4)

    async def use() -> list[Any]:
        await pool.warm_up()
        return await asyncio.gather(*(pool.execute("echo", {"value": n}, checkout_timeout_s=20.0) for n in range(1000)))

    assert on_loop(use()) == list(range(1000))
    accepted = [e.call for e in log.of(EventKind.ACCEPT)]
    assert accepted == sorted(accepted)
    assert pool.status().statistics.outcomes == {"result": 1000}


def test_tasks_and_threads_stand_in_one_queue(
    make_async_pool: MakeAsyncPool, on_loop: OnLoop, log: Any, client: Any, until: Any, soon: Any
) -> None:
    pool = make_async_pool(log)
    threads: list[Any] = []
    tasks: list[Any] = []

    async def use() -> None:
        async with pool.checkout():
            for n in range(12):
                if n % 3:
                    tasks.append(asyncio.create_task(pool.execute("echo", {"value": n})))
                else:
                    threads.append(client(pool.threads.execute, "echo", {"value": n}))
                await soon(lambda n=n: pool.status().waiting == n + 1, "it waits")
        assert await asyncio.gather(*tasks) == [1, 2, 4, 5, 7, 8, 10, 11]

    on_loop(use())
    assert [thread.result() for thread in threads] == [0, 3, 6, 9]
    offered = [e.call for e in log.of(EventKind.OFFER) if e.call > 1]
    assert len(offered) == 12
    assert offered == sorted(offered)


def test_loops_and_threads_use_one_pool_at_the_same_time(make_async_pool: MakeAsyncPool, client: Any) -> None:
    pool = make_async_pool(workers=3)
    barrier = threading.Barrier(4)

    async def tasks(base: int) -> bool:
        async def many(start: int) -> list[Any]:
            return [await pool.execute("echo", {"value": base + start + n}) for n in range(25)]

        answers = await asyncio.gather(*(many(100 * k) for k in range(4)))
        return answers == [[base + 100 * k + n for n in range(25)] for k in range(4)]

    def loop(base: int) -> bool:
        barrier.wait()
        return asyncio.run(tasks(base))

    def thread(base: int) -> bool:
        barrier.wait()
        return all(pool.threads.execute("echo", {"value": base + n}) == base + n for n in range(100))

    workers = [client(work, base) for work, base in [(loop, 0), (loop, 1000), (thread, 2000), (thread, 3000)]]
    assert all(worker.result() for worker in workers)
    assert pool.status().statistics.outcomes == {"result": 400}


# Sessions.


@pytest.mark.parametrize("affinity", ["strict", "prefer", "none"])
def test_a_session_s_calls_meet_its_state_on_whichever_worker(
    make_async_pool: MakeAsyncPool, on_loop: OnLoop, affinity: str
) -> None:
    pool = make_async_pool(workers=2, session_affinity=affinity)

    async def one(name: str) -> list[int]:
        for n in range(5):
            values = (await pool.execute_in_session(name, "append", {"key": "k", "value": n}))["values"]
        return list(values)

    async def use() -> list[list[int]]:
        await pool.warm_up()
        return await asyncio.gather(*(one(f"s{k}") for k in range(4)))

    assert on_loop(use()) == [list(range(5))] * 4
    assert {(s.operations, s.version) for s in pool.sessions()} == {(5, 5)}


def test_the_calls_of_one_session_by_many_tasks_run_one_after_another(
    make_async_pool: MakeAsyncPool, on_loop: OnLoop
) -> None:
    pool = make_async_pool(workers=2, session_affinity="none")

    async def use() -> list[Any]:
        return await asyncio.gather(
            *(pool.execute_in_session("s", "append", {"key": "k", "value": n}) for n in range(20))
        )

    answers = on_loop(use())
    assert [answer["values"] for answer in answers] == [list(range(n + 1)) for n in range(20)]


def test_the_state_of_a_lost_worker_is_handed_over(
    make_async_pool: MakeAsyncPool, on_loop: OnLoop, log: Any, soon: Any
) -> None:
    pool = make_async_pool(log)

    async def use() -> None:
        for n in range(3):
            answer = await pool.execute_in_session("s", "append", {"key": "k", "value": n})
            assert answer["values"] == list(range(n + 1))
            await kill_worker(pool, log, soon)

    on_loop(use())
    assert pool.sessions()[0].version == 3


def test_a_full_log_is_replaced_by_a_snapshot(
    make_async_pool: MakeAsyncPool, on_loop: OnLoop, log: Any, soon: Any
) -> None:
    pool = make_async_pool(log, session_log_bytes=600, snapshot_commands=("snapshot_session", "restore_session"))

    async def use() -> Any:
        for n in range(30):
            await pool.execute_in_session("s", "append", {"key": "k", "value": n})
        await kill_worker(pool, log, soon)
        return await pool.execute_in_session("s", "get", {"key": "k"})

    assert on_loop(use())["value"] == list(range(30))


def test_a_snapshot_that_breaks_its_worker_costs_the_worker_and_not_the_call(
    make_async_pool: MakeAsyncPool, on_loop: OnLoop
) -> None:
    pool = make_async_pool(session_log_bytes=0, snapshot_commands=("bad_frame", "restore_session"))

    async def use() -> None:
        answer = await pool.execute_in_session("s", "append", {"key": "k", "value": 1})
        assert answer["values"] == [1]
        with pytest.raises(SessionLost, match="had outgrown session_log_bytes"):
            await pool.execute_in_session("s", "get", {"key": "k"})
        assert await pool.execute("echo", {"value": 1}) == 1

    on_loop(use())
    assert pool.status().statistics.outcomes == {"result": 2, "SessionLost": 1}


def test_a_failed_clean_up_still_ends_the_session(make_async_pool: MakeAsyncPool, on_loop: OnLoop) -> None:
    pool = make_async_pool(checkout_timeout_s=0.05)

    async def use() -> None:
        await pool.warm_up()
        await pool.execute_in_session("s", "append", {"key": "k", "value": 1})
        async with pool.checkout():
            assert await pool.end_session("s")
        answer = await pool.execute_in_session("s", "append", {"key": "k", "value": 2})
        assert answer["values"] == [2]

    on_loop(use())
