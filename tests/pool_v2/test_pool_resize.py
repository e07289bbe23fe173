"""V2's resize: a living pool gets more or fewer workers, and no call notices."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from poolproof.bridge import ConfigError, EventKind, PoolClosed
from poolproof.pool_v2 import PoolExecutor, PoolV2
from poolproof.pool_v2.aio.pool import AsyncPool

MakePool = Callable[..., PoolV2]


def test_a_pool_grows_and_shrinks(make_pool: MakePool, until: Any, all_idle: Any) -> None:
    pool = make_pool(workers=2)
    pool.warm_up()
    pool.resize(4)
    assert (pool.size, pool.status().target) == (4, 4)
    assert pool.warm_up() == 4
    pool.resize(1)
    all_idle(pool, 1)
    assert pool.health_check().healthy
    pool.resize(3)
    all_idle(pool, 3)
    assert pool.execute("echo", {"value": 1}) == 1


def test_shrinking_interrupts_no_call_and_takes_effect_although_calls_wait(
    make_pool: MakePool, log: Any, client: Callable[..., Any], until: Any, all_idle: Any
) -> None:
    pool = make_pool(log, workers=3)
    pool.warm_up()
    leases = [pool.checkout() for _ in range(3)]
    waiters = [client(pool.execute, "pid", checkout_timeout_s=60.0) for _ in range(4)]
    until(lambda: pool.status().waiting == 4, "four calls wait")

    pool.resize(1)

    assert [lease.execute("echo", {"value": 1}) for lease in leases] == [1, 1, 1]
    kept, *left = leases
    for lease in left:
        lease.end()
    until(lambda: len(pool.status().workers) == 1, "two workers are gone")
    assert all(waiter.thread.is_alive() for waiter in waiters), "they had no further lease"
    pid = kept.pid
    kept.end()
    assert {waiter.result()["pid"] for waiter in waiters} == {pid}
    assert {event.detail for event in log.of(EventKind.KILL)} == {"retired"}
    all_idle(pool, 1)


def test_growing_serves_the_waiting_calls(make_pool: MakePool, client: Callable[..., Any], until: Any) -> None:
    pool = make_pool(workers=1)
    with pool.checkout():
        waiter = client(pool.execute, "echo", {"value": 1}, checkout_timeout_s=60.0)
        until(lambda: pool.status().waiting == 1, "a call waits")
        pool.resize(2)
        assert waiter.result() == 1


def test_a_worker_that_was_to_leave_stays_if_the_pool_grows_again(make_pool: MakePool, all_idle: Any) -> None:
    pool = make_pool(workers=2)
    pool.warm_up()
    pids = {worker.pid for worker in pool.status().workers}
    leases = [pool.checkout(), pool.checkout()]
    pool.resize(1)
    pool.resize(2)
    for lease in leases:
        lease.end()
    all_idle(pool, 2)
    assert {worker.pid for worker in pool.status().workers} == pids


def test_overflow_comes_on_top_of_the_new_size(
    make_pool: MakePool, client: Callable[..., Any], until: Any, all_idle: Any
) -> None:
    pool = make_pool(workers=1, overflow=1)
    pool.resize(2)
    leases = [pool.checkout(checkout_timeout_s=30.0) for _ in range(3)]
    waiter = client(pool.execute, "echo", {"value": 1}, checkout_timeout_s=60.0)
    until(lambda: pool.status().waiting == 1, "a fourth has to wait")
    for lease in leases:
        lease.end()
    assert waiter.result() == 1
    all_idle(pool, 2)


def test_the_minimum_is_kept_as_far_as_the_size_allows(make_pool: MakePool, all_idle: Any) -> None:
    pool = make_pool(workers=4, min_workers=3, idle_timeout_s=0.01)
    pool.resize(2)
    all_idle(pool, 2)
    pool.resize(4)
    all_idle(pool, 3)


def test_a_lazy_pool_starts_its_new_workers_when_calls_need_them(make_pool: MakePool, log: Any) -> None:
    pool = make_pool(log, workers=1, lazy=True)
    pool.resize(3)
    assert log.of(EventKind.SPAWN) == []
    assert pool.warm_up() == 3


def test_a_session_survives_the_shrinking(make_pool: MakePool, all_idle: Any) -> None:
    pool = make_pool(workers=3)
    pool.warm_up()
    for name in "abcdef":
        pool.execute_in_session(name, "put", {"key": "k", "value": name})
    pool.resize(1)
    all_idle(pool, 1)
    assert [pool.execute_in_session(name, "get", {"key": "k"})["value"] for name in "abcdef"] == list("abcdef")


@pytest.mark.parametrize("size", [0, -1, 1025, 1.5, True])
def test_an_impossible_size_is_refused_and_changes_nothing(make_pool: MakePool, size: Any) -> None:
    pool = make_pool(workers=2, min_workers=1)
    with pytest.raises(ConfigError, match=f"workers {size!r}: must be a whole number from 1 to 1024"):
        pool.resize(size)
    assert pool.size == 2


def test_a_closed_pool_is_not_resized(make_pool: MakePool) -> None:
    pool = make_pool()
    pool.close()
    with pytest.raises(PoolClosed):
        pool.resize(2)


def test_calls_go_on_while_the_pool_is_resized_all_the_time(
    make_pool: MakePool, client: Callable[..., Any], log: Any
) -> None:
    pool = make_pool(log, workers=2, overflow=1, zygote=True)  # starts cost little
    callers = [
        client(lambda n=n: [pool.execute("echo", {"value": v}, checkout_timeout_s=60.0) for v in range(n, n + 50)])
        for n in range(4)
    ]
    size = 0
    while any(caller.thread.is_alive() for caller in callers):
        size = size % 4 + 1
        pool.resize(size)
        callers[0].thread.join(0.002)  # the processor is for the workers that start
    assert [caller.result() for caller in callers] == [list(range(n, n + 50)) for n in range(4)]
    statistics = pool.status().statistics
    assert (statistics.outcomes, statistics.in_flight) == ({"result": 200}, 0)


def test_tasks_resize_their_pool(make_async_pool: Callable[..., AsyncPool], on_loop: Any) -> None:
    pool = make_async_pool(workers=1)

    async def work() -> int:
        async with pool.checkout():
            other = asyncio.create_task(pool.execute("echo", {"value": 1}, checkout_timeout_s=30.0))
            pool.resize(2)
            assert await other == 1
        return await pool.warm_up()

    assert on_loop(work()) == 2


def test_an_executor_uses_the_new_size() -> None:
    with PoolExecutor(1) as executor:
        executor.submit(abs, -1).result(30)
        executor.pool.resize(3)
        assert executor._max_workers == 3
        assert sorted(executor.map(abs, range(100))) == list(range(100))
        assert executor.pool.warm_up() == 3
