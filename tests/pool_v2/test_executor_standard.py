"""What the standard library says of a process pool's executor holds for PoolExecutor as for ProcessPoolExecutor."""

from __future__ import annotations

import collections
import copy
import gc
import operator
import os
import pickle
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    as_completed,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psutil
import pytest

from poolproof.pool_v2 import PoolExecutor
from tests.waiting import wait_until

LIMIT_S = 20.0
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
Make = Callable[..., Executor]


def build(kind: str, max_workers: int = 2, **options: Any) -> Executor:
    """An executor of this kind."""
    if kind == "standard":
        return ProcessPoolExecutor(max_workers, get_context("fork"), **options)
    return PoolExecutor(max_workers, **options)


@pytest.fixture(scope="module", params=["standard", "pool"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which executor a test is about: each test has both."""
    return str(request.param)


@pytest.fixture(scope="module")
def executor(kind: str) -> Iterator[Executor]:
    """One of two workers, for tests that leave it as it was."""
    with build(kind) as executor:
        yield executor


@pytest.fixture
def make(kind: str, family: Callable[[], set[psutil.Process]]) -> Iterator[Make]:
    """Build executors of two workers; at the end they are shut down and have left no process and no thread."""
    made: list[Executor] = []
    threads = set(threading.enumerate())
    children = family()

    def build_one(max_workers: int = 2, **options: Any) -> Executor:
        made.append(build(kind, max_workers, **options))
        return made[-1]

    yield build_one
    for executor in made:
        executor.shutdown()
    made.clear()
    gc.collect()
    wait_until(lambda: set(threading.enumerate()) <= threads, "no thread is left behind")
    wait_until(lambda: family() <= children, "no process is left behind")


class Gate:
    """Calls that last until they are let go: each reads a pipe of its own, by the standard library's functions."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: list[tuple[Path, Future[str]]] = []

    def occupy(self, executor: Executor, times: int = 1) -> list[Future[str]]:
        """Submit calls that last until `open`, and wait until each of them runs."""
        for number in range(times):
            pipe = self._path / f"pipe-{number}"
            os.mkfifo(pipe)
            self._held.append((pipe, executor.submit(pipe.read_text)))
        wait_until(lambda: all(future.running() for _, future in self._held), "the calls run")
        return [future for _, future in self._held]

    def open(self) -> None:
        """Let all of them go on."""
        for pipe, future in self._held:
            fds: list[int] = []
            wait_until(lambda pipe=pipe, fds=fds: _open_for_writing(pipe, fds), "the call reads")  # type: ignore[misc]
            os.write(fds[0], b"open")
            os.close(fds[0])
            wait([future], LIMIT_S)


def _open_for_writing(pipe: Path, fds: list[int]) -> bool:
    try:
        fds.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:  # nobody has opened it for reading yet
        return False
    return True


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    """Nothing is held yet."""
    return Gate(tmp_path)


def test_a_call_gives_its_result(executor: Executor) -> None:
    assert executor.submit(pow, 2, exp=10).result(LIMIT_S) == 1024


def test_the_argument_names_of_submit_are_free(executor: Executor) -> None:
    assert executor.submit(dict, self=1, fn=2).result(LIMIT_S) == {"self": 1, "fn": 2}


def test_the_callable_of_submit_is_given_by_position(executor: Executor) -> None:
    with pytest.raises(TypeError):
        executor.submit(fn=dict)  # type: ignore[call-arg]


def test_an_exception_arrives_as_itself_with_its_remote_traceback_as_the_cause(executor: Executor) -> None:
    future = executor.submit(int, "nine")
    with pytest.raises(ValueError, match="nine") as caught:
        future.result(LIMIT_S)
    assert type(caught.value) is ValueError
    assert f"ValueError: {caught.value}" in str(caught.value.__cause__)


def test_a_call_that_leaves_costs_only_itself(executor: Executor) -> None:
    assert isinstance(executor.submit(exec, "raise SystemExit(3)").exception(LIMIT_S), SystemExit)
    assert executor.submit(abs, -1).result(LIMIT_S) == 1


def test_map_gives_results_in_order(executor: Executor) -> None:
    assert list(executor.map(pow, range(10), range(10))) == list(map(pow, range(10), range(10)))
    assert list(executor.map(pow, range(40), range(40), chunksize=7)) == list(map(pow, range(40), range(40)))
    assert list(executor.map(abs, [])) == []
    assert list(executor.map(abs, [], chunksize=3)) == []


def test_map_ends_with_its_shortest_iterable(executor: Executor) -> None:
    assert list(executor.map(pow, [2, 3, 4], [1, 2])) == [2, 9]


def test_map_refuses_chunks_of_nothing(executor: Executor) -> None:
    with pytest.raises(ValueError, match="chunksize"):
        executor.map(abs, [1], chunksize=0)


@pytest.mark.parametrize("chunksize", [1, 2])
def test_map_raises_the_exception_of_an_item_when_its_turn_comes(executor: Executor, chunksize: int) -> None:
    results = executor.map(divmod, [1, 1, 1, 1], [1, 1, 0, 1], chunksize=chunksize)
    assert [next(results), next(results)] == [(1, 0), (1, 0)]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert list(results) == []


def test_map_submits_before_its_first_result_is_asked_for(executor: Executor, tmp_path: Path) -> None:
    made = tmp_path / "made"
    results = executor.map(os.mkdir, [made])
    wait_until(made.exists, "the call is run")
    assert list(results) == [None]


def test_map_times_out_and_cancels_the_rest(executor: Executor, gate: Gate) -> None:
    holders = gate.occupy(executor, 2)
    results = executor.map(abs, range(20), timeout=0.05)
    with pytest.raises(TimeoutError):
        next(results)
    assert list(results) == []
    gate.open()
    assert [holder.result() for holder in holders] == ["open", "open"]


def test_the_results_of_a_map_are_not_kept(executor: Executor) -> None:
    result: Any
    for result in executor.map(collections.Counter, [[1], [2], [3]]):
        kept = weakref.ref(result)
        del result
        gc.collect()
        assert kept() is None


def test_a_running_call_cannot_be_cancelled(executor: Executor, gate: Gate) -> None:
    [future] = gate.occupy(executor)
    assert future.running()
    assert not future.cancel()
    gate.open()
    assert future.result(LIMIT_S) == "open"
    assert not future.cancel()


def test_a_cancelled_call_never_runs(make: Make, gate: Gate, tmp_path: Path) -> None:
    executor = make(1)
    [holder] = gate.occupy(executor)
    fillers = [executor.submit(abs, -1) for _ in range(3)]  # what the standard library takes ahead
    future = executor.submit(os.mkdir, tmp_path / "never")
    assert future.cancel()
    assert future.cancel(), "a second time is the same"
    assert future.cancelled()
    assert future.done()
    gate.open()
    assert holder.result(LIMIT_S) == "open"
    assert wait(fillers, LIMIT_S).not_done == set()
    executor.shutdown()
    assert not (tmp_path / "never").exists()
    with pytest.raises(CancelledError):
        future.result()


def test_callbacks_are_called_once_with_their_future(executor: Executor) -> None:
    told: list[Future[Any]] = []
    called = threading.Event()
    future = executor.submit(abs, -1)
    future.add_done_callback(told.append)
    future.add_done_callback(lambda _: called.set())
    assert called.wait(LIMIT_S)
    assert told == [future]
    future.add_done_callback(told.append)
    assert told == [future, future], "one that comes late is called at once"


def test_a_callback_may_submit_more(make: Make) -> None:
    executor = make(1)
    more: list[Future[int]] = []
    called = threading.Event()

    def go_on(_: Future[int]) -> None:
        more.append(executor.submit(abs, -2))
        called.set()

    executor.submit(abs, -1).add_done_callback(go_on)
    assert called.wait(LIMIT_S)
    assert more[0].result(LIMIT_S) == 2


def test_as_completed_gives_every_future_once(executor: Executor) -> None:
    futures = [executor.submit(abs, -number) for number in range(30)]
    futures[5].cancel()
    given = list(as_completed(futures, LIMIT_S))
    assert sorted(map(id, given)) == sorted(map(id, futures))


def test_wait_tells_the_done_from_the_others(executor: Executor, gate: Gate) -> None:
    holders: list[Any] = gate.occupy(executor)
    quick = executor.submit(abs, -1)
    assert wait([*holders, quick], LIMIT_S, FIRST_COMPLETED) == ({quick}, set(holders))
    failing = executor.submit(operator.truediv, 1, 0)
    assert wait([*holders, failing], LIMIT_S, FIRST_EXCEPTION) == ({failing}, set(holders))
    gate.open()
    assert wait(holders, LIMIT_S).not_done == set()


def test_a_shutdown_runs_what_was_submitted(make: Make) -> None:
    executor = make()
    futures = [executor.submit(abs, -number) for number in range(50)]
    executor.shutdown()
    assert all(future.done() for future in futures)
    assert [future.result() for future in futures] == list(range(50))


def test_a_shutdown_may_not_wait(make: Make, gate: Gate) -> None:
    executor = make()
    [holder] = gate.occupy(executor)
    behind = executor.submit(abs, -1)
    executor.shutdown(wait=False)
    assert holder.running()
    gate.open()
    assert holder.result(LIMIT_S) == "open"
    assert behind.result(LIMIT_S) == 1


def test_a_shutdown_may_cancel_what_waits(make: Make, gate: Gate) -> None:
    executor = make(1)
    [holder] = gate.occupy(executor)
    waiting = [executor.submit(abs, -1) for _ in range(50)]
    executor.shutdown(wait=False, cancel_futures=True)
    gate.open()
    assert holder.result(LIMIT_S) == "open"
    wait_until(lambda: all(future.done() for future in waiting), "what waits is cancelled")
    assert sum(future.cancelled() for future in waiting) >= len(waiting) - 3, "what was taken ahead is run"


def test_nothing_can_be_submitted_after_the_shutdown(make: Make) -> None:
    executor = make()
    executor.shutdown()
    executor.shutdown()
    with pytest.raises(RuntimeError, match="after"):
        executor.submit(abs, -1)
    with pytest.raises(RuntimeError, match="after"):
        executor.map(abs, [-1])


def test_a_with_block_ends_with_a_shutdown(make: Make) -> None:
    with make() as executor:
        future = executor.submit(abs, -1)
    assert future.done()
    with pytest.raises(RuntimeError):
        executor.submit(abs, -1)


def test_an_exception_leaves_the_with_block_unchanged(make: Make) -> None:
    with pytest.raises(KeyError, match="mine"), make():
        raise KeyError("mine")


def test_the_initializer_runs_in_every_worker_before_its_first_call(make: Make) -> None:
    executor = make(initializer=exec, initargs=("import os; os.environ['INITIALIZED'] = 'at first'",))
    assert set(executor.map(os.getenv, ["INITIALIZED"] * 20)) == {"at first"}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_initializer_that_fails_breaks_its_calls(make: Make) -> None:
    future = make(1, initializer=exec, initargs=("raise LookupError('no model')",)).submit(abs, -1)
    assert isinstance(future.exception(LIMIT_S), BrokenProcessPool)


def test_a_worker_s_death_is_a_broken_process_pool(make: Make) -> None:
    future = make(1).submit(exec, "import os; os._exit(3)")
    with pytest.raises(BrokenProcessPool):
        future.result(LIMIT_S)


@pytest.mark.parametrize("value", [2, "text", [1, (2, {3})], None, b"\0" * 300_000])
def test_a_value_comes_back_as_it_was(executor: Executor, value: object) -> None:
    assert executor.submit(copy.copy, value).result(LIMIT_S) == value


def test_what_cannot_be_pickled_costs_its_future_only(executor: Executor) -> None:
    bad = executor.submit(lambda: 1)
    good = executor.submit(abs, -1)
    assert isinstance(bad.exception(LIMIT_S), pickle.PicklingError | AttributeError | TypeError)
    result = executor.submit(threading.Lock)
    assert isinstance(result.exception(LIMIT_S), pickle.PicklingError | TypeError)
    assert good.result(LIMIT_S) == 1
    assert executor.submit(abs, -1).result(LIMIT_S) == 1


def test_impossible_options_are_refused(make: Make) -> None:
    with pytest.raises(ValueError, match="max_workers"):
        make(0)
    with pytest.raises(TypeError, match="initializer must be a callable"):
        make(initializer=1)


def test_an_executor_that_is_dropped_runs_what_it_was_given_and_ends(make: Make) -> None:
    # The fixture keeps a reference, so this one is built by itself.
    kind: Any = type(make())
    executor = kind(1)
    futures = [executor.submit(abs, -number) for number in range(20)]
    gone = weakref.ref(executor)
    gc.disable()
    try:
        del executor
        assert gone() is None, "no cycle keeps it until the next collection"
    finally:
        gc.enable()
    assert [future.result(LIMIT_S) for future in futures] == list(range(20))


STANDARD_TEXTS: dict[str, Callable[[Make], object]] = {
    "max_workers must be greater than 0": lambda make: make(0),
    "max_tasks_per_child must be an integer": lambda make: make(1, max_tasks_per_child="1"),
    "max_tasks_per_child must be >= 1": lambda make: make(1, max_tasks_per_child=0),
    "initializer must be a callable": lambda make: make(1, initializer="print"),
    "chunksize must be >= 1.": lambda make: make(1).map(abs, [1], chunksize=0),
    "cannot schedule new futures after shutdown": lambda make: _submit_late(make(1)),
}


def _submit_late(executor: Executor) -> None:
    executor.shutdown()
    executor.submit(abs, -1)


@pytest.mark.parametrize("text", STANDARD_TEXTS)
def test_errors_have_the_standard_text(make: Make, text: str) -> None:
    with pytest.raises((ValueError, TypeError, RuntimeError)) as caught:
        STANDARD_TEXTS[text](make)
    assert str(caught.value) == text


def test_the_arguments_of_the_constructor_have_the_standard_order(kind: str) -> None:
    cls = ProcessPoolExecutor if kind == "standard" else PoolExecutor
    with cls(1, get_context("spawn"), os.putenv, ("INITIALIZED", "yes")) as executor:
        assert executor.submit(abs, -1).result(LIMIT_S) == 1


def test_the_number_of_workers_is_told_as_other_packages_read_it(make: Make) -> None:
    assert make(3)._max_workers == 3  # type: ignore[attr-defined]


def test_a_manager_s_proxies_work_in_calls(make: Make) -> None:
    executor = make(1)
    with get_context("spawn").Manager() as manager:
        numbers, lock = manager.list([1]), manager.Lock()
        assert executor.submit(numbers.append, 2).result(LIMIT_S) is None
        assert executor.submit(lock.acquire).result(LIMIT_S)
        assert (list(numbers), lock.acquire(False)) == ([1, 2], False)


def test_a_bare_lock_is_refused_in_a_call(make: Make) -> None:
    future = make(1).submit(operator.truth, get_context("spawn").Lock())
    with pytest.raises((RuntimeError, pickle.PicklingError), match=r"should only be shared .* through inheritance"):
        future.result(LIMIT_S)
