"""Calls that the thread of `submit` begins: which threads take part, and what an interrupt, a fork or a death costs."""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import TimeoutError as WaitTimeout
from concurrent.futures import wait
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

import pytest

from poolproof.bridge import PoolConfig
from poolproof.pool_v2 import PoolExecutor
from poolproof.pool_v2.executor.executor import CallCrashed
from poolproof.pool_v2.executor.pending import Pending

LIMIT_S = 30.0
MOST_STEPS = 400
"""More lines than a call has in the thread of its client."""
STEPS_BETWEEN = 9
HERE = str(Path(__file__).parents[2])


class Traced:
    """A value that notes the thread in which it is pickled, and the one in which it is read again."""

    pickled: ClassVar[list[int]] = []
    read: ClassVar[list[int]] = []

    def __reduce__(self) -> tuple[Any, ...]:
        Traced.pickled.append(threading.get_ident())
        return _read_traced, ()


def _read_traced() -> Traced:
    Traced.read.append(threading.get_ident())
    return Traced()


def give(value: object) -> object:
    return value


def wait_for(path: str) -> str:
    while not os.path.exists(path):
        pass
    return path


@pytest.fixture
def executor() -> Iterator[PoolExecutor]:
    """An executor with two workers that are initialized and idle, so that the next `submit` begins its call."""
    with PoolExecutor(2, config=PoolConfig(lazy=True, max_frame_bytes=2**30, shared_memory_bytes=0)) as executor:
        make_ready(executor)
        yield executor


def make_ready(executor: PoolExecutor) -> None:
    """Call until `submit` begins the call itself."""
    for _ in range(200):
        future = executor.submit(abs, -1)
        assert future.result(LIMIT_S) == 1
        if begun_by_submit(future):
            return
    pytest.fail("no call was begun by `submit`")


def begun_by_submit(future: object) -> bool:
    assert isinstance(future, Pending)
    return future.helper is not None


def test_the_thread_that_submits_and_waits_does_all(executor: PoolExecutor) -> None:
    Traced.pickled.clear()
    Traced.read.clear()
    assert isinstance(executor.submit(give, Traced()).result(LIMIT_S), Traced)
    assert Traced.pickled == Traced.read == [threading.get_ident()]


def test_without_a_waiting_client_another_thread_reads_the_result(executor: PoolExecutor) -> None:
    Traced.read.clear()
    told = threading.Event()
    future = executor.submit(give, Traced())
    future.add_done_callback(lambda future: told.set())
    assert told.wait(LIMIT_S)
    assert begun_by_submit(future)
    assert Traced.read != [threading.get_ident()]
    assert isinstance(future.result(), Traced)


def test_a_client_that_waits_in_vain_leaves_the_call_to_the_reader(executor: PoolExecutor, tmp_path: Path) -> None:
    path = tmp_path / "go on"
    future = executor.submit(wait_for, str(path))
    assert begun_by_submit(future)
    for timeout_s in (0, 0.05):
        with pytest.raises(WaitTimeout):
            future.result(timeout_s)
        with pytest.raises(WaitTimeout):
            future.exception(timeout_s)
    assert future.running()
    path.touch()
    assert wait([future], LIMIT_S).done == {future}
    assert future.result() == str(path)


def test_an_interrupt_of_a_client_that_waits_does_not_affect_the_call(
    executor: PoolExecutor, tmp_path: Path, default_sigint: None
) -> None:
    path = tmp_path / "go on"
    future = executor.submit(wait_for, str(path))
    assert begun_by_submit(future)
    interrupt = threading.Timer(0.2, signal.pthread_kill, (threading.get_ident(), signal.SIGINT))
    interrupt.start()
    with pytest.raises(KeyboardInterrupt):
        future.result(LIMIT_S)
    interrupt.join()
    path.touch()
    assert wait([future], LIMIT_S).done == {future}
    assert future.result() == str(path)


def test_an_interrupt_anywhere_costs_at_most_its_call(executor: PoolExecutor) -> None:
    interrupted = 0
    for step in range(1, MOST_STEPS, STEPS_BETWEEN):
        futures: list[Any] = []
        interrupted += not _call_and_interrupt(executor, step, futures)
        assert wait(futures, LIMIT_S).not_done == set(), f"step {step}: its future is done"
        make_ready(executor)
    assert interrupted > 10, "the call has so many steps"
    executor.shutdown()
    assert executor.pool.status().state == "closed"


def _call_and_interrupt(executor: PoolExecutor, step: int, futures: list[Any]) -> bool:
    """Interrupt `submit` and `result` before their n-th line in this project. Returns whether they have fewer lines."""
    left = step

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        if not frame.f_code.co_filename.startswith(HERE) or "/tests/" in frame.f_code.co_filename:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
        return trace

    former = sys.gettrace()
    sys.settrace(trace)
    try:
        futures.append(executor.submit(abs, -1))
        return bool(futures[0].result(LIMIT_S) == 1)
    except KeyboardInterrupt:
        return False
    finally:
        sys.settrace(former)


def test_a_worker_s_death_costs_its_call(executor: PoolExecutor) -> None:
    future = executor.submit(os.kill, executor.submit(os.getpid).result(LIMIT_S), signal.SIGKILL)
    also = executor.submit(signal.raise_signal, signal.SIGKILL)
    assert isinstance(also.exception(LIMIT_S), CallCrashed)
    wait([future], LIMIT_S)
    assert executor.submit(abs, -1).result(LIMIT_S) == 1


def test_a_request_that_no_pipe_holds_is_written_by_another_thread(executor: PoolExecutor) -> None:
    numbers = list(range(300_000))
    future = executor.submit(give, numbers)
    assert begun_by_submit(future)
    assert future.result(LIMIT_S) == numbers


def test_a_shutdown_waits_for_the_call(executor: PoolExecutor, tmp_path: Path) -> None:
    path = tmp_path / "go on"
    future = executor.submit(wait_for, str(path))
    assert begun_by_submit(future)
    threading.Timer(0.2, path.touch).start()
    executor.shutdown()
    assert future.done()
    assert future.result() == str(path)


def test_a_callback_may_shut_down(executor: PoolExecutor) -> None:
    ended = threading.Event()

    def shut_down(_: object) -> None:
        executor.shutdown()
        ended.set()

    future = executor.submit(abs, -1)
    future.add_done_callback(shut_down)
    assert ended.wait(LIMIT_S)
    assert future.result() == 1


def test_a_forked_child_does_not_take_the_response(executor: PoolExecutor, tmp_path: Path) -> None:
    path = tmp_path / "go on"
    future = executor.submit(wait_for, str(path))
    assert begun_by_submit(future)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            path.touch()
            future.result(0.5)
        except WaitTimeout:
            status = 3
        finally:
            os._exit(status)
    assert future.result(LIMIT_S) == str(path)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3


@pytest.mark.parametrize("kind", [bytes, bytearray])
@pytest.mark.parametrize("shared_bytes", [0, 2**24])
def test_large_bytes_arrive_as_they_are(kind: Callable[[int], Any], shared_bytes: int) -> None:
    with PoolExecutor(1, config=PoolConfig(max_frame_bytes=2**30, shared_memory_bytes=shared_bytes)) as executor:
        value = kind(200_000)
        for _ in range(3):
            found = executor.submit(give, value).result(LIMIT_S)
            assert type(found) is kind
            assert found == value
        assert executor.submit(type(value).__len__, value).result(LIMIT_S) == 200_000
        assert executor.submit(give, value=value).result(LIMIT_S) == value


def test_workers_that_are_killed_in_large_calls_leave_no_descriptor_and_no_segment(until: Callable[..., Any]) -> None:
    before = _segments()
    options = PoolConfig(lazy=True, max_frame_bytes=2**30, start_failures_to_open=1000)
    killed: set[int] = set()
    with PoolExecutor(2, config=options) as executor:
        for size in (1_000_000, 16_000_000):
            value = bytes(size)
            for _ in range(2):  # a call that begins, calls in the queue, and the deaths of whichever workers run them
                futures = [executor.submit(give, value) for _ in range(4)]
                for worker in executor.pool.status().workers:
                    if worker.pid:
                        with suppress(ProcessLookupError):
                            os.kill(worker.pid, signal.SIGKILL)
                            killed.add(worker.pid)
                for future in futures:
                    error = future.exception(LIMIT_S)
                    assert error is None or isinstance(error, CallCrashed)
        until(lambda: not killed & {worker.pid for worker in executor.pool.status().workers}, "their ends are noticed")
        assert executor.submit(give, value).result(LIMIT_S) == value
        until(
            lambda: len(_segments() - before) <= 2 * 2,
            "a segment of each living worker: its descriptor, and that of its mapping",
        )
        assert executor._dispatch._parking.running == {}
    until(lambda: _segments() <= before, "the executor is closed")


def _segments() -> set[str]:
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the descriptor of the list itself
            found.add(f"{fd} {os.readlink(f'/proc/self/fd/{fd}')} {os.stat(f'/proc/self/fd/{fd}').st_ino}")
    return {segment for segment in found if "memfd:poolproof" in segment}
