"""A map of small calls: a worker gets several at once, and each is still a call of its own."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest

from poolproof.bridge import PoolConfig
from poolproof.bridge.worker.handlers.pickles import Runner, dump
from poolproof.pool_v2 import PoolExecutor
from poolproof.pool_v2.executor.callables import NotPicklable, unpack_each
from poolproof.pool_v2.executor.pending import MOST_CALLS, Batch, Pending
from tests.waiting import wait_until

LIMIT_S = 20.0


@pytest.fixture
def executor() -> Iterator[PoolExecutor]:
    with PoolExecutor(2) as made:
        list(made.map(abs, range(20)))  # the workers are initialized, and the size of a call is known
        yield made


def calls_of(executor: PoolExecutor) -> int:
    return executor.pool.status().statistics.submitted


def test_small_calls_go_together_and_come_back_in_order(executor: PoolExecutor) -> None:
    before = calls_of(executor)
    assert list(executor.map(pow, range(3000), range(3000, 6000), [97] * 3000)) == [
        pow(one, one + 3000, 97) for one in range(3000)
    ]
    assert calls_of(executor) - before < 1500


def test_a_chunksize_of_one_and_a_limit_of_time_keep_calls_apart(executor: PoolExecutor) -> None:
    for user, options in ((executor, {"chunksize": 1}), (executor.with_timeout(LIMIT_S), {})):
        before = calls_of(executor)
        assert list(user.map(abs, range(100), **options)) == list(range(100))
        assert calls_of(executor) - before >= 100
    with PoolExecutor(2, max_tasks_per_child=3) as limited:
        pids = list(limited.map(_pid, range(12)))
        assert all(pids.count(pid) <= 3 for pid in pids)


def _pid(_: int) -> int:
    return os.getpid()


def _odd_one_out(number: int) -> Any:
    if number == 700:
        raise ValueError(f"number {number}")
    if number == 701:
        return threading.Lock()
    return number


def test_what_is_raised_belongs_to_its_own_call(executor: PoolExecutor) -> None:
    results = executor.map(_odd_one_out, range(1000))
    assert [next(results) for _ in range(700)] == list(range(700))
    with pytest.raises(ValueError, match="number 700") as raised:
        next(results)
    assert "_odd_one_out" in str(raised.value.__cause__)
    results = executor.map(_odd_one_out, [*range(500), 701, 5])
    assert [next(results) for _ in range(500)] == list(range(500))
    with pytest.raises(NotPicklable, match="the result cannot be pickled"):
        next(results)


def test_an_argument_that_cannot_be_pickled_or_read_spoils_no_other_call(executor: PoolExecutor) -> None:
    for bad in (threading.Lock(), _Unreadable()):
        results = executor.map(_kind, [*range(300), bad])
        assert [next(results) for _ in range(300)] == ["int"] * 300
        with pytest.raises(NotPicklable):
            next(results)


class _Unreadable:
    def __reduce__(self) -> Any:
        return (int, ("no number",))


def _kind(value: object) -> str:
    return type(value).__name__


def _slow_from_400(number: int) -> float:
    if number >= 400:
        time.sleep(0.05)
    return os.getpid()


def test_calls_for_which_a_worker_had_no_time_go_to_others(executor: PoolExecutor) -> None:
    pids = list(executor.map(_slow_from_400, range(420)))
    assert len(set(pids[400:])) == 2, "both workers have a part"


def test_a_shutdown_runs_what_was_put_back(executor: PoolExecutor) -> None:
    results = executor.map(_slow_from_400, range(420))
    executor.shutdown(wait=False)
    assert len(list(results)) == 420


def test_waiting_calls_are_cancelled_with_their_iterator(executor: PoolExecutor, tmp_path: Path) -> None:
    results = executor.map(_note, [(str(tmp_path), number) for number in range(2000)])
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]
    wait_until(lambda: not executor.pool.status().statistics.in_flight, "what ran has ended")
    assert len(list(tmp_path.iterdir())) < 2000


def _note(what: tuple[str, int]) -> int:
    folder, number = what
    Path(folder, str(number)).touch()
    return number


def _die_at_300(number: int) -> int:
    if number == 300:
        os._exit(7)
    return number


def test_the_death_of_a_worker_fails_what_it_ran_and_the_executor_goes_on(executor: PoolExecutor) -> None:
    results = executor.map(_die_at_300, range(600))
    with pytest.raises(BrokenProcessPool):
        list(results)
    assert list(executor.map(abs, range(-300, 0))) == list(range(300, 0, -1))


def test_large_results_are_parts_of_one_answer_or_of_several(executor: PoolExecutor) -> None:
    assert [len(one) for one in executor.map(bytes, [50_000] * 60)] == [50_000] * 60
    small = PoolConfig(workers=1, max_frame_bytes=100_000)
    with PoolExecutor(config=small) as made:
        list(made.map(abs, range(50)))
        assert [len(one) for one in made.map(bytes, [30_000] * 40)] == [30_000] * 40


@pytest.mark.parametrize("threads", [1, 4])
def test_a_batch_takes_as_many_as_take_the_time_and_leaves_some_for_the_others(threads: int) -> None:
    batch = Batch()
    pending: dict[int, Pending] = {}
    for number in range(1000):
        pending[number] = Pending(pending, number, abs, (1,), {}, None, False, batch)
        batch.waiting.append(number)
    assert batch.take(pending, threads) == [], "nothing is known of their size"
    batch.ran(1, 0.001, 100)
    assert len(batch.take(pending, threads)) == 4
    batch.ran(10, 0.0001, 1000)
    before = len(batch.waiting)
    assert len(batch.take(pending, threads)) == min(MOST_CALLS, before // (2 * threads)) - 1
    batch.ran(1, 0.0001, 600_000)
    assert batch.take(pending, threads) == [], "they are large"
    batch.ran(1, 5.0, 100)
    assert batch.take(pending, threads) == [], "they are slow"
    batch.ran(1, 0.001, 100)
    for future in list(pending.values()):
        future.cancel()
    assert batch.take(pending, threads) == []


def test_a_worker_answers_at_least_one_call_and_stops_in_time() -> None:
    runner = Runner()
    data, _ = dump((abs, [(-1,), (-2,), (-3,)]))
    assert unpack_each(runner.run_each(data, (), 0.0), abs) == [(1, None)]
    assert unpack_each(runner.run_each(data, (), 60.0), abs) == [(1, None), (2, None), (3, None)]
    assert unpack_each(runner.run_each(b"no pickle", (), 60.0), abs) is None
