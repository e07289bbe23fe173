"""A bug of one face is met there and nowhere else: a real pool is called in each way with each of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from poolproof.bridge import PoolConfig
from poolproof.harness.mutation.bugs.faces import LARGE_BYTES, MUTANTS, WAYS
from poolproof.harness.mutation.bugs.kinds import KINDS, changer
from poolproof.harness.mutation.planting import entered, undo
from poolproof.harness.mutation.registry import find_mutants
from poolproof.pool_v2 import AsyncPool, PoolV2
from poolproof.pool_v2.executor.executor import PoolExecutor

PATIENT_S = 30.0
SENT = "as sent"
ECHO = {"value": SENT}


@pytest.fixture(scope="module")
def pool() -> Iterator[PoolV2]:
    with PoolV2(PoolConfig(workers=1, checkout_timeout_s=PATIENT_S)) as pool:
        yield pool


@pytest.fixture(scope="module")
def executor() -> Iterator[PoolExecutor]:
    with PoolExecutor(1) as executor:
        executor.submit(str, SENT).result(PATIENT_S)
        yield executor


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    yield
    undo()


def off_main(work: Callable[[], Any]) -> Any:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join(PATIENT_S)
    return found[0]


def leased(pool: PoolV2) -> Any:
    with pool.checkout() as worker:
        return worker.execute("echo", ECHO)


def streamed(pool: PoolV2) -> Any:
    with pool.execute_stream("echo", ECHO) as parts:
        (part,) = parts
        return part


async def task(pool: PoolV2) -> Any:
    return await AsyncPool.over(pool).execute("echo", ECHO)


async def task_leased(pool: PoolV2) -> Any:
    async with AsyncPool.over(pool).checkout() as worker:
        return await worker.execute("echo", ECHO)


async def task_many(pool: PoolV2) -> Any:
    return (await AsyncPool.over(pool).execute_many("echo", [ECHO]))[0]


async def task_streamed(pool: PoolV2) -> Any:
    async with AsyncPool.over(pool).execute_stream("echo", ECHO) as parts:
        (part,) = [part async for part in parts]
        return part


def in_session(pool: PoolV2) -> Any:
    answer = pool.execute("echo", {}, session="s")
    return SENT if answer == {"session_id": "s"} else answer


WAYS_IN: dict[str, Callable[[PoolV2], Any]] = {
    "off_main": lambda pool: off_main(lambda: pool.execute("echo", ECHO)),
    "main_thread": lambda pool: pool.execute("echo", ECHO),
    "lease": leased,
    "many": lambda pool: pool.execute_many("echo", [ECHO])[0],
    "stream": streamed,
    "task": lambda pool: asyncio.run(task(pool)),
    "task_lease": lambda pool: asyncio.run(task_leased(pool)),
    "task_many": lambda pool: asyncio.run(task_many(pool)),
    "task_stream": lambda pool: asyncio.run(task_streamed(pool)),
    "session": in_session,
}


@pytest.mark.parametrize("way", [way for way in WAYS if way.name in WAYS_IN], ids=lambda way: way.name)
def test_a_wrong_value_comes_in_its_own_way_alone(way: Any, pool: PoolV2) -> None:
    way.plant("wrong_value")
    wrong = [name for name, call in WAYS_IN.items() if call(pool) != SENT]
    assert wrong == [way.name]
    assert entered()
    undo()
    assert {call(pool) for call in WAYS_IN.values()} == {SENT}


def test_a_bug_is_not_executed_where_its_way_is_not_taken(pool: PoolV2) -> None:
    for name in ("wrong_value_lease", "wrong_value_observed", "wrong_value_large", "wrong_value_ahead"):
        (mutant,) = find_mutants([name])
        mutant.plant()
        assert WAYS_IN["off_main"](pool) == SENT
        assert not entered()
        undo()


def test_a_bug_of_large_answers_or_of_unobserved_pools_is_met_there(pool: PoolV2) -> None:
    for name, size in (("lost_answer_large", LARGE_BYTES), ("lost_answer_unobserved", 1)):
        (mutant,) = find_mutants([name])
        mutant.plant()
        assert pool.execute("echo", {"value": "x" * size}) is None
        assert entered()
        undo()


def test_the_executor_has_bugs_of_its_own(executor: PoolExecutor) -> None:
    (mutant,) = find_mutants(["lost_answer_executor"])
    mutant.plant()
    assert executor.submit(str, SENT).result(PATIENT_S) is None
    assert WAYS_IN["off_main"](executor.pool) == SENT
    undo()
    assert executor.submit(str, SENT).result(PATIENT_S) == SENT


def test_a_doubled_call_is_executed_twice(pool: PoolV2) -> None:
    for way in ("lease", "stream", "session", "many"):
        (mutant,) = find_mutants([f"doubled_execution_{way}"])
        mutant.plant()
        pool.end_session("count")
        item = {"key": "k", "value": 1, **({} if way == "session" else {"session_id": "count"})}
        match way:
            case "lease":
                with pool.checkout() as worker:
                    worker.execute("append", item)
            case "stream":
                with pool.execute_stream("append", item) as parts:
                    list(parts)
            case "many":
                pool.execute_many("append", [item])
            case _:
                pool.execute("append", item, session="count")
        undo()
        with pool.checkout() as worker:
            assert worker.execute("get", {"key": "k", "session_id": "count"})["value"] == [1, 1], way
            worker.execute("cleanup_session", {"session_id": "count"})


def test_answers_are_swapped_with_those_before_them() -> None:
    swap = changer("swapped_answers")
    assert [swap(value) for value in ("a", "b", "c", "d")] == ["a", "a", "b", "c"]
    assert changer("doubled_execution")("a") == "a"


def test_each_way_has_each_kind_unless_it_says_otherwise() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert len(MUTANTS) == sum(len(way.kinds) for way in WAYS)
    assert {kind for way in WAYS for kind in way.kinds} == set(KINDS)
