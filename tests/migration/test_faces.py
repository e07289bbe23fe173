"""Whatever is called: executors, callables, tasks, leases, batches and streams go where the migration stands."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import pytest

from poolproof.bridge import CheckoutTimeout, CommandError, ConfigError, PoolConfig, PoolError, Sent, SessionLost
from poolproof.migration import (
    AsyncMigratingPool,
    Guardrails,
    MigratingExecutor,
    MigratingPool,
    Plan,
    Position,
    StateFile,
    migrating,
)
from poolproof.migration.followers.registry import find_followers
from poolproof.pool_v2 import AsyncPool, PoolExecutor, PoolV2

Eventually = Callable[..., Any]
LAX = Guardrails(max_latency_ratio=10**6, latency_slack_s=60)
"""This machine is not the tests' own."""
WHY = {"why": "a test"}


class Counted(Executor):
    """An executor that counts its calls, or refuses them."""

    def __init__(self, inner: Executor) -> None:
        self.inner = inner
        self.calls = 0
        self.refuses = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if self.refuses:
            raise RuntimeError("cannot schedule new futures after shutdown")
        self.calls += 1
        return self.inner.submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self.inner.shutdown(wait=wait, cancel_futures=cancel_futures)


def test_an_executor_shares_its_calls_and_rolls_back(until: Eventually) -> None:
    v1, v2 = Counted(ThreadPoolExecutor(2)), Counted(ThreadPoolExecutor(2))
    plan = Plan(begin="canary:25", guardrails=LAX)
    with MigratingExecutor(v1, v2, plan) as executor:
        assert list(executor.map(abs, range(-100, 0))) == list(range(100, 0, -1))
        assert (v1.calls, v2.calls) == (75, 25)
        until(lambda: executor.report().served.calls == {"v1": 75, "v2": 25}, "each call is counted")
        v2.refuses = True
        assert [executor.submit(abs, -1).result() for _ in range(4)] == [1] * 4
        executor.switch.change("v2", **WHY)
        assert [executor.submit(abs, -1).result() for _ in range(5)] == [1] * 5, "v1 serves what v2 refuses"
        until(lambda: executor.position == Position(), "five refusals in a row are a breach")
        assert "errors: the last 5 calls of v2 all failed" in executor.report().last_breach
        v1.refuses = True
        with pytest.raises(RuntimeError, match="after shutdown"):
            executor.submit(abs, 1)


def test_a_process_pool_migrates_live_to_a_pool_executor_without_a_failed_or_wrong_call(until: Eventually) -> None:
    plan = Plan(guardrails=LAX)
    with MigratingExecutor(ProcessPoolExecutor(1), PoolExecutor(1), plan) as executor:
        wrong: list[str] = []
        done = itertools.count()
        over = threading.Event()

        def work() -> None:
            for number in itertools.count(1):
                if over.is_set():
                    return
                found = executor.submit(pow, number, 2).result(60)
                if found != number**2:
                    wrong.append(f"{found} for {number}")
                next(done)

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for position in ("canary:50", "v2", "v1", "v2"):
            executor.switch.change(position, **WHY)
            until(lambda: sum(executor.report().served.calls.values()) >= 20, "calls at each position")
        served = executor.report().served
        over.set()
        for thread in threads:
            thread.join(60)
        assert wrong == []
        assert served.calls["v1"] == 0
        assert served.failed == {"v1": 0, "v2": 0}


def test_a_callable_shares_its_calls_counts_failures_and_follows_the_state(tmp_path: Any, until: Eventually) -> None:
    asked: Counter[str] = Counter()

    def old(value: int) -> int:
        asked["old"] += 1
        return value

    def new(value: int) -> int:
        asked["new"] += 1
        if value < 0:
            raise ValueError(value)
        return value

    plan = Plan(state_file=str(tmp_path / "s.json"), guardrails=LAX)
    with migrating(old, new, plan) as call:
        assert vars(call)["__name__"] == "old"
        [follower] = find_followers(StateFile(tmp_path / "s.json").followers_path)
        assert follower.record.name == "old"
        StateFile(tmp_path / "s.json").write(Position.canary(10), who="anna", why="go")
        until(lambda: str(call.position) == "canary:10", "it follows")
        assert [call(n) for n in range(100)] == list(range(100))
        assert asked == {"old": 90, "new": 10}
        call.switch.change("v2", **WHY)
        for _ in range(5):
            with pytest.raises(ValueError, match="-1"):
                call(-1)
        until(lambda: str(call.position) == "v1", "it rolls back")
        assert "the latest error: ValueError" in call.report().last_breach
        assert call(-1) == -1
    with pytest.raises(ConfigError, match="two different callables"):
        migrating(old, old)


def test_a_coroutine_function_is_measured_until_it_ends() -> None:
    async def old(value: int) -> int:
        return value

    async def new(value: int) -> int:
        await asyncio.sleep(0)
        if value < 0:
            raise ValueError(value)
        return value

    async def use() -> None:
        with migrating(old, new, Plan(begin="v2", guardrails=LAX)) as call:
            assert await call(3) == 3
            with pytest.raises(ValueError, match="-1"):
                await call(-1)
            assert call.report().served.calls == {"v1": 0, "v2": 2}
            assert call.report().served.failed["v2"] == 1

    asyncio.run(use())


# MigratingPool with what only some pools have.


@pytest.fixture
def two() -> Iterator[MigratingPool]:
    """A migrating pool over two PoolV2 with one worker each."""
    config = PoolConfig(workers=1)
    with MigratingPool(PoolV2(config), PoolV2(config), Plan(begin="canary:50", guardrails=LAX)) as pool:
        yield pool


def test_leases_batches_and_streams_go_where_the_migration_stands(two: MigratingPool) -> None:
    with two.checkout() as worker:
        assert worker.execute("echo", {"value": 1}) == 1
        served = two.report().served.calls
        assert sum(served.values()) == 1, "the calls of a lease are counted, the checkout is not"
        two.roll_back(**WHY)
        assert worker.execute("echo", {"value": 2}) == 2, "a lease stays where it is"
    two.change("v2", **WHY)
    assert two.execute_many("echo", [{"value": n} for n in range(5)]) == list(range(5))
    assert two.report().served.calls == {"v1": 0, "v2": 5}
    found = two.execute_many("fail", [{}, {}], return_errors=True)
    assert [type(error) for error in found] == [CommandError, CommandError]
    with pytest.raises(CommandError):
        two.execute_many("fail", [{}])
    with two.execute_stream("echo", {"value": 3}) as parts:
        assert list(parts) == [3]
    two.execute_stream("echo", {"value": 3}).close()
    with pytest.raises(ConfigError, match="no streams in sessions"):
        two.execute_stream("echo", {"value": 3}, session="s")
    assert two.execute_many("append", [{"key": "k", "value": n} for n in range(2)], session="s")[1]["values"] == [0, 1]
    two.roll_back(**WHY)
    assert two.execute("append", {"key": "k", "value": 2}, session="s")["values"] == [0, 1, 2], "it was handed over"


def test_a_pool_without_batches_runs_them_one_by_one_and_one_without_leases_says_so(scripted: Any) -> None:
    with MigratingPool(scripted("v1"), scripted("v2"), Plan(begin="v2")) as pool:
        assert pool.execute_many("echo", [{"value": n} for n in range(3)], timeout_s=9) == [0, 1, 2]
        assert pool.report().served.calls == {"v1": 0, "v2": 3}
        with pytest.raises(CommandError, match="as asked"):
            pool.execute_many("fail", [{}, {}])
        found = pool.execute_many("fail", [{}], return_errors=True)
        assert isinstance(found[0], CommandError)
        for call in (pool.checkout, lambda: pool.execute_stream("echo")):
            with pytest.raises(ConfigError, match=r"needs two pools that have it, and v2 \(ScriptedPool\) has none"):
                call()
        assert pool.report().served.calls == {"v1": 0, "v2": 6}


# AsyncMigratingPool.


def test_tasks_are_migrated_live_without_a_failed_or_wrong_call() -> None:
    async def use() -> None:
        config = PoolConfig(workers=2)
        plan = Plan(idempotent=frozenset({"echo"}), guardrails=LAX)
        over = asyncio.Event()
        wrong: list[str] = []
        done = itertools.count()

        async def work(pool: AsyncMigratingPool, client: int) -> None:
            held: dict[str, list[str]] = {}
            for number in itertools.count():
                if over.is_set():
                    return
                nonce, session = f"{client}/{number}", f"{client}-{number % 3}-{number // 30}"
                values = held.setdefault(session, [])
                try:
                    if await pool.execute("echo", {"value": nonce}) != nonce:
                        wrong.append(f"{nonce} has another's answer")
                    values.append(nonce)
                    found = await pool.execute("append", {"key": "k", "value": nonce}, session=session)
                    if found["values"] != values:
                        wrong.append(f"{session}: {found['values']} in place of {values}")
                except PoolError as error:
                    wrong.append(f"{nonce}: {type(error).__name__}: {error}")
                next(done)

        async with AsyncMigratingPool(PoolV2(config), AsyncPool(config), plan) as pool:
            tasks = [asyncio.create_task(work(pool, client)) for client in range(3)]
            async with asyncio.timeout(120):
                for position in ("shadow", "canary:50", "v2", "v1", "canary:25", "v2"):
                    pool.change(position, why="under load")
                    goal = next(done) + 20
                    while next(done) < goal + 20 and not wrong:
                        await asyncio.sleep(0.01)
                over.set()
                await asyncio.gather(*tasks)
            assert wrong == []
            assert pool.copies().compared > 0
            assert pool.copies().mismatches == 0
            assert pool.report().served.calls["v2"] > 0
            many = await pool.execute_many("echo", [{"value": n} for n in range(4)])
            assert many == [0, 1, 2, 3]
            async with pool.checkout() as worker:
                assert await worker.execute("echo", {"value": 5}) == 5
            async with pool.execute_stream("echo", {"value": 3}) as parts:
                assert [part async for part in parts] == [3]
            assert [part async for part in pool.execute_stream("echo", {"value": 4})] == [4]

    asyncio.run(use())


def test_a_session_of_tasks_takes_turns_is_lost_rather_than_wrong_and_can_be_ended(scripted: Any) -> None:
    async def use() -> None:
        v1, v2 = scripted("v1"), scripted("v2")
        v1.execute_in_session("old", "append", {"value": 1})
        async with AsyncMigratingPool(v1, v2, Plan(session_wait_s=0.05, guardrails=LAX)) as pool:
            await pool.execute_in_session("s", "append", {"value": 1})
            v1.gate = threading.Event()
            first = asyncio.create_task(pool.execute("append", {"value": 2}, session="s"))
            while v1.asked.count(("append", "s")) < 2:
                await asyncio.sleep(0.001)
            with pytest.raises(CheckoutTimeout, match="another call of the session was running for"):
                await pool.execute("get", session="s")
            v1.gate.set()
            assert (await first)["values"] == [1, 2]
            v1.crash_next = Sent.YES
            with pytest.raises(PoolError):
                await pool.execute("append", {"value": 3}, session="doubt")
            pool.change("v2", **WHY)
            assert (await pool.execute("append", {"value": 3}, session="s"))["values"] == [1, 2, 3]
            assert v2.state["s"] == [1, 2, 3]
            with pytest.raises(SessionLost, match="may have changed the session's state"):
                await pool.execute("get", session="doubt")
            with pytest.raises(SessionLost, match="began before the migration"):
                await pool.execute("get", session="old")
            assert await pool.end_session("doubt")
            assert not await pool.end_session("doubt")
            assert await pool.execute("get", session="doubt") == {"value": []}
            v2.dead = True
            assert await pool.execute_anonymous("echo", {"value": 1}, timeout_s=5) == 1, "v1 serves what v2 refuses"
            assert {status.session_id for status in pool.sessions()} == {"s", "old", "doubt"}

    asyncio.run(use())


def test_what_cannot_be_is_refused(scripted: Any) -> None:
    class Awaitable:
        name = "tasks only"

        async def execute(self) -> None: ...

    one = scripted()
    with pytest.raises(ConfigError, match="two different pools"):
        AsyncMigratingPool(one, one)
    with pytest.raises(ConfigError, match="threads cannot call v2 to copy calls"):
        AsyncMigratingPool(one, Awaitable(), Plan(idempotent=frozenset({"echo"})))
    executor = Counted(ThreadPoolExecutor(1))
    with pytest.raises(ConfigError, match="two different executors"):
        MigratingExecutor(executor, executor)
