"""PoolExecutor beyond the standard: what a death, a deadline, an initializer, a fork or an interrupt costs."""

from __future__ import annotations

import gc
import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import resource_sharer
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import psutil
import pytest

from poolproof import pool_v2
from poolproof.bridge import (
    CallTimeout,
    CircuitOpen,
    CommandError,
    ConfigError,
    PoolClosed,
    PoolConfig,
    Sent,
    WorkerCrashed,
)
from poolproof.pool_v2 import PoolExecutor
from poolproof.pool_v2.calls.lease import Lease
from poolproof.pool_v2.executor.callables import INITIALIZE
from poolproof.pool_v2.executor.executor import (
    CallCrashed,
    ExecutorShutdown,
    InitializerFailed,
    NotPicklable,
    WorkersUnavailable,
)

LIMIT_S = 20.0
MANY = 10_000
CALLS = """
import os, signal, threading, time
begun = []
kept = []

def begin(*seconds):
    begun.append(os.getpid())
    time.sleep(sum(seconds))
    return threading.Lock()  # nobody asks for what an initializer returns

def count_begun():
    return len(begun), begun == [os.getpid()]

def work_until_killed(path):
    with open(path, "w") as note:
        note.write(str(os.getpid()))
    signal.pause()

def keep(*values):
    kept[:] = values

def try_lock():
    free = kept[0].acquire(False)
    if free:
        kept[0].release()
    return free

def put_kept(value):
    kept[1].put(value)

def fail_once(path):
    if not os.path.exists(path):
        open(path, "w").close()
        raise LookupError("no model yet")
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A module that only this process's path leads to."""
    name = f"calls_of_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(CALLS)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module(name)
    del sys.modules[name]


@pytest.fixture
def make(until: Callable[..., Any], family: Callable[[], set[psutil.Process]]) -> Iterator[Callable[..., PoolExecutor]]:
    """Build executors; at the end they are shut down and have left no process and no thread."""
    made: list[PoolExecutor] = []
    threads = set(threading.enumerate())

    def build(max_workers: int = 1, **options: Any) -> PoolExecutor:
        made.append(PoolExecutor(max_workers, **options))
        return made[-1]

    yield build
    for executor in made:
        executor.shutdown(cancel_futures=True)
    made.clear()
    gc.collect()
    until(lambda: set(threading.enumerate()) <= threads, "no thread is left behind")
    until(lambda: not family(), "no process is left behind")


@pytest.fixture
def hold(
    make: Callable[..., PoolExecutor], tmp_path: Path, until: Callable[..., Any]
) -> Iterator[Callable[[PoolExecutor], tuple[Future[str], Callable[[], None]]]]:
    """Begin a call that lasts until the returned function is called, or the test has ended."""
    keepers: list[int] = []

    def begin(executor: PoolExecutor) -> tuple[Future[str], Callable[[], None]]:
        pipe = tmp_path / f"pipe-{len(keepers)}"
        os.mkfifo(pipe)
        keeper = os.open(pipe, os.O_RDWR)  # so that neither end waits for the other
        keepers.append(keeper)
        future = executor.submit(pipe.read_text)
        until(future.running, "the call runs")
        # The reader must have opened the pipe before the keeper closes it, else what was written is lost.
        until(lambda: _users(pipe) >= 2, "the call reads")

        def let_go() -> None:
            keepers.remove(keeper)
            os.write(keeper, b"let go")
            os.close(keeper)

        return future, let_go

    yield begin
    for keeper in keepers:
        os.close(keeper)


def _users(pipe: Path) -> int:
    found = 0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        folder = f"/proc/{process.pid}/fd"
        try:
            found += sum(os.path.realpath(f"{folder}/{fd}") == str(pipe) for fd in os.listdir(folder))
        except OSError:  # it has ended
            continue
    return found


def test_ten_thousand_calls_from_one_thread_need_no_more_threads_than_workers(
    make: Callable[..., PoolExecutor],
) -> None:
    before = threading.active_count()
    executor = make(2)
    futures = [executor.submit(abs, -number) for number in range(MANY)]
    most = threading.active_count()
    assert wait(futures, 60.0).not_done == set()
    assert [future.result() for future in futures] == list(range(MANY))
    names = [thread.name for thread in threading.enumerate() if "-dispatch-" in thread.name]
    assert len(names) == 2
    assert most - before < 10
    statistics = executor.pool.status().statistics
    assert statistics.submitted == sum(statistics.outcomes.values()), "nothing is in flight"


def test_a_death_costs_its_own_call_only(make: Callable[..., PoolExecutor], hold: Any) -> None:
    executor = make(2)
    other, let_go = hold(executor)
    dying = executor.submit(exec, "import os; os._exit(3)")
    behind = executor.submit(abs, -1)
    error = dying.exception(LIMIT_S)
    assert isinstance(error, WorkerCrashed)
    assert isinstance(error, BrokenProcessPool)
    assert isinstance(error, CallCrashed)
    assert error.sent is Sent.YES
    assert behind.result(LIMIT_S) == 1
    assert not other.done()
    let_go()
    assert other.result(LIMIT_S) == "let go"
    assert executor.submit(abs, -2).result(LIMIT_S) == 2


def test_a_crash_of_the_interpreter_shows_what_the_worker_last_said(make: Callable[..., PoolExecutor]) -> None:
    error = make().submit(exec, "import os, sys; sys.stderr.write('out of luck'); os.abort()").exception(LIMIT_S)
    assert isinstance(error, CallCrashed)
    assert "out of luck" in str(error)


def test_a_call_s_deadline_ends_its_worker_and_no_other(
    make: Callable[..., PoolExecutor], hold: Any, until: Any
) -> None:
    executor = make(2)
    other, let_go = hold(executor)
    assert executor.pool.warm_up() == 2
    before = {worker.pid for worker in executor.pool.status().workers}
    late = executor.with_timeout(0.2).submit(time.sleep, 60)
    error = late.exception(LIMIT_S)
    assert isinstance(error, CallTimeout)
    let_go()
    assert other.result(LIMIT_S) == "let go"
    assert executor.submit(abs, -1).result(LIMIT_S) == 1

    def kept() -> int:
        return len(before & {worker.pid for worker in executor.pool.status().workers})

    until(lambda: kept() == 1, "the one that was late is gone, and the other's worker is not")


def test_a_deadline_does_not_count_the_start_and_the_initializer(
    make: Callable[..., PoolExecutor], calls: ModuleType
) -> None:
    executor = make(initializer=calls.begin, initargs=(1.5,), timeout_s=1.0)
    assert executor.submit(abs, -1).result(LIMIT_S) == 1


def test_a_deadline_does_not_count_the_queue(make: Callable[..., PoolExecutor]) -> None:
    executor = make(timeout_s=1.0)
    futures = [executor.submit(time.sleep, 0.3) for _ in range(4)]
    began = time.monotonic()
    assert [future.result(LIMIT_S) for future in futures] == [None] * 4
    assert time.monotonic() - began >= 1.0, "the last has waited for longer than it may run"


def test_the_default_deadline_can_be_lifted(make: Callable[..., PoolExecutor]) -> None:
    for executor in (make(timeout_s=0.1), make(config=PoolConfig(call_timeout_s=0.1))):
        assert isinstance(executor.submit(time.sleep, 60).exception(LIMIT_S), CallTimeout)
        assert executor.with_timeout(None).submit(time.sleep, 0.2).result(LIMIT_S) is None


def test_a_view_with_a_timeout_keeps_its_executor_and_shares_its_end(
    until: Callable[..., Any], family: Callable[[], set[psutil.Process]]
) -> None:
    view = PoolExecutor(1).with_timeout(30.0)
    gc.collect()
    assert view.submit(abs, -1).result(LIMIT_S) == 1
    view.shutdown()
    with pytest.raises(RuntimeError):
        view.with_timeout(None).submit(abs, -1)
    until(lambda: not family(), "no process is left behind")


def test_whoever_waits_for_a_cancelled_call_is_told_at_once(make: Callable[..., PoolExecutor], hold: Any) -> None:
    executor = make()
    holder, let_go = hold(executor)
    called = threading.Event()
    future = executor.submit(abs, -1)
    future.add_done_callback(lambda _: called.set())
    assert future.cancel()
    assert called.is_set()
    assert wait([future], LIMIT_S).done == {future}
    assert not holder.done()
    let_go()
    assert holder.result(LIMIT_S) == "let go"


def test_a_cancelled_call_is_not_kept_until_its_turn(make: Callable[..., PoolExecutor], hold: Any) -> None:
    executor = make()
    holder, let_go = hold(executor)
    argument = {1, 2}
    kept = weakref.ref(argument)
    future = executor.submit(len, argument)
    del argument
    assert kept() is not None
    future.cancel()
    gc.collect()
    assert kept() is None
    let_go()
    assert holder.result(LIMIT_S) == "let go"


def test_a_shutdown_with_cancel_tells_whoever_waits(make: Callable[..., PoolExecutor], hold: Any) -> None:
    executor = make()
    holder, let_go = hold(executor)
    waiting = [executor.submit(abs, -1) for _ in range(20)]
    executor.shutdown(wait=False, cancel_futures=True)
    assert wait(waiting, LIMIT_S).not_done == set()
    assert all(future.cancelled() for future in waiting)
    let_go()
    assert holder.result(LIMIT_S) == "let go"


def test_the_initializer_runs_once_in_each_worker_a_replaced_one_too(
    make: Callable[..., PoolExecutor], calls: ModuleType
) -> None:
    executor = make(initializer=calls.begin)
    assert [executor.submit(calls.count_begun).result(LIMIT_S) for _ in range(3)] == [(1, True)] * 3
    first = executor.submit(os.getpid).result(LIMIT_S)
    assert isinstance(executor.submit(exec, "import os; os._exit(1)").exception(LIMIT_S), CallCrashed)
    assert executor.submit(calls.count_begun).result(LIMIT_S) == (1, True)
    assert executor.submit(os.getpid).result(LIMIT_S) != first


@pytest.mark.parametrize(("order", "served"), [(None, 1), ("rotate", 2), ("hot", 1)])
def test_the_worker_that_served_last_gets_the_next_call_unless_told_otherwise(
    make: Callable[..., PoolExecutor], order: str | None, served: int
) -> None:
    executor = make(2, config=PoolConfig(idle_order=order))
    executor.pool.warm_up()
    assert len({executor.submit(os.getpid).result(LIMIT_S) for _ in range(10)}) == served


@pytest.mark.parametrize("replaced", [False, True])
def test_no_call_is_refused_once_each_worker_has_met_a_few(
    make: Callable[..., PoolExecutor], until: Callable[..., Any], replaced: bool
) -> None:
    """If idle workers take turns, a call that one has refused may be repeated by another, again and again."""
    executor = make(2, config=PoolConfig(idle_order="rotate"))
    executor.pool.warm_up()
    if replaced:
        for number in range(6):
            executor.submit(abs, -number).result(LIMIT_S)
        dead = executor.pool.status().workers[0].pid
        os.kill(dead, signal.SIGKILL)
        until(lambda: dead not in {worker.pid for worker in executor.pool.status().workers}, "it is gone")
        executor.pool.warm_up()
    for number in range(6):
        assert executor.submit(abs, -number).result(LIMIT_S) == number
    before = executor.pool.status().statistics.submitted
    for number in range(10):
        assert executor.submit(abs, -number).result(LIMIT_S) == number
    assert executor.pool.status().statistics.submitted == before + 10


def test_an_initializer_that_fails_once_costs_one_call(
    make: Callable[..., PoolExecutor], calls: ModuleType, tmp_path: Path
) -> None:
    executor = make(initializer=calls.fail_once, initargs=(str(tmp_path / "tried"),))
    error = executor.submit(abs, -1).exception(LIMIT_S)
    assert isinstance(error, InitializerFailed)
    assert isinstance(error, BrokenProcessPool)
    assert "LookupError: no model yet" in str(error)
    assert isinstance(error.__cause__, LookupError)
    assert "in fail_once" in str(error.__cause__.__cause__)
    assert error.sent is Sent.NO
    assert executor.submit(abs, -2).result(LIMIT_S) == 2


@pytest.mark.parametrize("code", ["raise LookupError('no model')", "import os; os._exit(4)"])
def test_an_initializer_that_fails_in_worker_after_worker_breaks_the_executor(
    make: Callable[..., PoolExecutor], code: str
) -> None:
    executor = make(initializer=exec, initargs=(code,), config=PoolConfig(lazy=True, start_failures_to_open=2))
    futures = [executor.submit(abs, -1) for _ in range(50)]
    assert wait(futures, LIMIT_S).not_done == set()
    assert all(isinstance(future.exception(), BrokenProcessPool) for future in futures)
    with pytest.raises(BrokenProcessPool, match="2 workers in a row failed"):
        executor.submit(abs, -1)


def test_workers_that_are_killed_before_their_first_call_break_no_executor_without_an_initializer(
    make: Callable[..., PoolExecutor], monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[int] = []
    execute = Lease.execute

    def crash(self: Lease, command: str, *args: Any, **options: Any) -> Any:
        if command == INITIALIZE and len(killed) < 4:
            killed.append(self.worker_id)
            raise WorkerCrashed("it was killed", sent=Sent.YES)
        return execute(self, command, *args, **options)

    monkeypatch.setattr(Lease, "execute", crash)
    executor = make(config=PoolConfig(lazy=True, start_failures_to_open=2))
    errors = [executor.submit(abs, -1).exception(LIMIT_S) for _ in range(4)]
    assert all(isinstance(error, WorkerCrashed) for error in errors)
    assert executor.submit(abs, -2).result(LIMIT_S) == 2


def test_a_worker_runs_no_more_calls_than_it_may(make: Callable[..., PoolExecutor], calls: ModuleType) -> None:
    executor = make(max_tasks_per_child=2, initializer=calls.begin)
    pids = [executor.submit(os.getpid).result(LIMIT_S) for _ in range(5)]
    assert all(pids.count(pid) <= 2 for pid in pids)
    assert pids[0] == pids[1], "its first call takes no other's place"


def test_workers_that_do_not_start_are_a_broken_process_pool(make: Callable[..., PoolExecutor]) -> None:
    executor = make(config=PoolConfig(worker_command=("false",), lazy=True, start_failures_to_open=1))
    error = executor.submit(abs, -1).exception(LIMIT_S)
    assert isinstance(error, WorkersUnavailable)
    assert isinstance(error, CircuitOpen)
    assert isinstance(error, BrokenProcessPool)


@pytest.mark.parametrize("timeout_s", [None, 10.0])
def test_a_worker_that_knows_no_calls_says_so(make: Callable[..., PoolExecutor], timeout_s: float | None) -> None:
    program = (
        "import poolproof.bridge.worker.handlers as h, poolproof.bridge.worker.program as w; h.COMMANDS.pop('call');"
        "raise SystemExit(w.main(['--worker-id', '{worker_id}']))"
    )
    executor = make(config=PoolConfig(worker_command=(sys.executable, "-c", program)), timeout_s=timeout_s)
    error = executor.submit(abs, -1).exception(LIMIT_S)
    assert isinstance(error, CommandError)
    assert "unknown command 'call'" in str(error)
    assert [worker.worker_id for worker in executor.pool.status().workers] == [1], "the worker is well"


def test_twenty_megabytes_go_and_come(make: Callable[..., PoolExecutor]) -> None:
    executor = make()
    data = b"0123456789" * 2_000_000
    assert executor.submit(bytes, len(data)).result(LIMIT_S) == bytes(len(data))
    assert executor.submit(len, data).result(LIMIT_S) == len(data)


def test_an_interrupt_of_a_waiting_client_leaves_the_executor_as_it_is(
    make: Callable[..., PoolExecutor], hold: Any, default_sigint: None
) -> None:
    executor = make()
    holder, let_go = hold(executor)
    interrupt = threading.Thread(target=signal.pthread_kill, args=(threading.get_ident(), signal.SIGINT))

    def wait_for_it() -> None:
        interrupt.start()
        holder.result(LIMIT_S)

    with pytest.raises(KeyboardInterrupt):
        wait_for_it()
    interrupt.join()
    let_go()
    assert holder.result(LIMIT_S) == "let go"
    assert executor.submit(abs, -1).result(LIMIT_S) == 1


def test_an_interrupt_anywhere_in_submit_costs_at_most_that_call(make: Callable[..., PoolExecutor]) -> None:
    executor = make()
    step = 0
    while _interrupt_submit(executor, step):
        assert executor.submit(abs, -step).result(LIMIT_S) == step
        step += 1
    assert step >= 5, "it has at least so many lines"


def _interrupt_submit(executor: PoolExecutor, step: int) -> bool:
    """Interrupt `submit` before its n-th line; False if it has not so many."""
    left = step

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        if frame.f_code.co_name != "submit":
            return None
        if event == "line":
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
        return trace

    former = sys.gettrace()
    sys.settrace(trace)
    try:
        executor.submit(abs, -1)
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(former)
    return False


def test_a_forked_child_is_refused_and_the_parent_goes_on(make: Callable[..., PoolExecutor], until: Any) -> None:
    executor = make()
    assert executor.submit(abs, -1).result(LIMIT_S) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        refused = 0
        try:
            for use in (lambda: executor.submit(abs, -1), lambda: executor.map(abs, [1]), executor.shutdown):
                try:
                    use()
                except ExecutorShutdown as error:
                    refused += isinstance(error, PoolClosed) and "forked child" in str(error)
            del executor, make
            gc.collect()
        finally:
            os._exit(refused)
    assert _status_of(pid, until) == 3, "uses that were refused"
    assert executor.submit(abs, -2).result(LIMIT_S) == 2


def _status_of(pid: int, until: Any) -> int:
    found: list[tuple[int, int]] = []
    until(lambda: found.append(os.waitpid(pid, os.WNOHANG)) or found[-1][0] == pid, "the child ends")
    return os.waitstatus_to_exitcode(found[-1][1])


def test_a_shutdown_in_the_middle_of_a_submit_refuses_the_call(
    make: Callable[..., PoolExecutor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = make()
    dispatch = executor._dispatch
    queue = dispatch._queue

    class Interleaved:
        """A queue that is ended just before something is put into it."""

        get = queue.get

        @staticmethod
        def put(number: int | None) -> None:
            monkeypatch.setattr(dispatch, "_queue", queue)
            executor.shutdown()
            queue.put(number)

    monkeypatch.setattr(dispatch, "_queue", Interleaved)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(os.mkdir, tmp_path / "never")
    executor.shutdown()
    assert not (tmp_path / "never").exists()


def test_a_cancel_that_comes_as_the_call_is_taken_wins(
    make: Callable[..., PoolExecutor], hold: Any, tmp_path: Path
) -> None:
    executor = make()
    _, let_go = hold(executor)
    future = executor.submit(os.mkdir, tmp_path / "never")
    assert Future.cancel(future), "the first half of a cancel; the call is not withdrawn yet"
    let_go()
    assert wait([future], LIMIT_S).done == {future}
    assert executor.submit(abs, -1).result(LIMIT_S) == 1
    assert not (tmp_path / "never").exists()


def test_threads_that_cannot_be_had_are_done_without(
    make: Callable[..., PoolExecutor], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    executor = make(2)

    def refuse() -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(executor._dispatch, "_start_thread", refuse)
        assert list(executor.map(abs, range(-5, 0))) == [5, 4, 3, 2, 1]
    assert "has only 1 threads" in caplog.text
    assert list(executor.map(abs, [-1])) == [1]


def test_a_map_with_a_buffer_reads_only_so_far_ahead(make: Callable[..., PoolExecutor]) -> None:
    taken: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(10):
            taken.append(number)
            yield -number

    results = make().map(abs, numbers(), buffersize=3)
    assert taken == [0, 1, 2]
    assert next(results) == 0
    assert taken == [0, 1, 2, 3]
    assert list(results) == list(range(1, 10))


def test_a_map_with_a_buffer_and_chunks_gives_all(make: Callable[..., PoolExecutor]) -> None:
    assert list(make().map(abs, range(-10, 0), buffersize=2, chunksize=3)) == list(range(10, 0, -1))


def test_a_map_that_is_given_up_cancels_what_waits(
    make: Callable[..., PoolExecutor], tmp_path: Path, until: Any
) -> None:
    executor = make()
    go, never = tmp_path / "go", tmp_path / "never"
    wait_for_go = f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.002)"
    results = executor.map(exec, ["", wait_for_go, f"import os; os.mkdir({str(never)!r})"])
    assert next(results) is None
    del results
    gc.collect()
    go.touch()
    executor.shutdown()
    assert not never.exists()


def test_a_callback_that_raises_ends_nothing(
    make: Callable[..., PoolExecutor], hold: Any, caplog: pytest.LogCaptureFixture
) -> None:
    executor = make()
    _, let_go = hold(executor)

    def leave(_: Future[int]) -> None:
        raise SystemExit("a callback leaves")

    future = executor.submit(abs, -1)
    future.add_done_callback(leave)
    let_go()
    assert future.result(LIMIT_S) == 1
    assert executor.submit(abs, -2).result(LIMIT_S) == 2
    assert "a callback of a call has failed" in caplog.text


def test_a_callback_may_shut_down(make: Callable[..., PoolExecutor], hold: Any) -> None:
    executor = make()
    _, let_go = hold(executor)
    ended = threading.Event()

    def end(_: Future[int]) -> None:
        executor.shutdown()
        ended.set()

    executor.submit(abs, -1).add_done_callback(end)
    let_go()
    assert ended.wait(LIMIT_S)


def test_an_executor_that_was_never_used_ends_when_it_is_dropped(until: Callable[..., Any]) -> None:
    before = set(threading.enumerate())
    executor = PoolExecutor(1)
    assert executor.pool.status().state == "open"
    del executor
    gc.collect()
    until(lambda: set(threading.enumerate()) <= before, "no thread is left behind")


def test_impossible_options_are_refused_by_name() -> None:
    before = set(threading.enumerate())
    for options, named in (
        ({"max_workers": 0}, "max_workers must be"),
        ({"max_tasks_per_child": 0}, "max_tasks_per_child must be"),
        ({"timeout_s": 0}, "timeout_s 0"),
        ({"config": PoolConfig(max_queue=1)}, "max_queue"),
        ({"config": PoolConfig(checkout_timeout_s=1.0)}, "checkout_timeout_s"),
    ):
        with pytest.raises(ConfigError, match=named):
            PoolExecutor(**options)
    with pytest.raises(NotPicklable, match="cannot be pickled"):
        PoolExecutor(1, initializer=lambda: None)
    assert set(threading.enumerate()) <= before


def test_impossible_arguments_are_refused_by_name(make: Callable[..., PoolExecutor]) -> None:
    executor = make()
    with pytest.raises(ConfigError, match="timeout_s -1"):
        executor.with_timeout(-1)
    with pytest.raises(ValueError, match="buffersize must be None or > 0"):
        executor.map(abs, [1], buffersize=0)
    with pytest.raises(TypeError, match="buffersize must be an integer or None"):
        executor.map(abs, [1], buffersize="two")  # type: ignore[arg-type]


def test_the_executor_is_loaded_when_it_is_asked_for() -> None:
    code = """
import sys, poolproof.pool_v2
before = "poolproof.pool_v2.executor.executor" in sys.modules
print(before, poolproof.pool_v2.PoolExecutor is sys.modules["poolproof.pool_v2.executor.executor"].PoolExecutor)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "False True\n", "")
    with pytest.raises(AttributeError, match="no attribute 'Executor'"):
        pool_v2.Executor  # noqa: B018


def _running(
    executor: PoolExecutor, calls: ModuleType, until: Callable[..., Any], tmp_path: Path
) -> tuple[Future[None], int]:
    note = tmp_path / "pid"
    future = executor.submit(calls.work_until_killed, str(note))
    return future, int(until(lambda: note.exists() and note.read_text(), "the call runs"))


@pytest.mark.parametrize("end", [PoolExecutor.terminate_workers, PoolExecutor.kill_workers])
def test_the_workers_can_be_ended_at_once(
    make: Callable[..., PoolExecutor],
    calls: ModuleType,
    until: Callable[..., Any],
    tmp_path: Path,
    end: Callable[[PoolExecutor], None],
) -> None:
    executor = make(1)
    running, pid = _running(executor, calls, until, tmp_path)
    waiting = [executor.submit(abs, -1) for _ in range(5)]
    end(executor)
    with pytest.raises(BrokenProcessPool, match="ended its workers by SIG"):
        running.result(LIMIT_S)
    assert all(future.cancelled() for future in waiting)
    until(lambda: not psutil.pid_exists(pid), "the worker is gone")
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(abs, -1)
    end(executor)


def test_a_running_call_can_be_cancelled_by_option(
    make: Callable[..., PoolExecutor], calls: ModuleType, until: Callable[..., Any], tmp_path: Path
) -> None:
    executor = make(1, cancel_running=True)
    running, pid = _running(executor, calls, until, tmp_path)
    behind = executor.submit(os.getpid)
    told: list[Future[None]] = []
    running.add_done_callback(told.append)
    assert running.cancel()
    assert running.cancelled()
    assert told == [running]
    assert wait([running], LIMIT_S).not_done == set()
    assert behind.result(LIMIT_S) != pid, "the worker was replaced"
    until(lambda: not psutil.pid_exists(pid), "the worker is gone")
    assert running.cancel(), "a second time is the same"
    assert not behind.cancel()


def test_cancelling_running_calls_ends_no_worker_of_another_call(make: Callable[..., PoolExecutor]) -> None:
    executor = make(2, cancel_running=True)
    futures = [executor.submit(time.sleep, 0.001) for _ in range(200)]
    for future in futures[::2]:
        future.cancel()
    wait(futures, LIMIT_S)
    assert all(future.done() for future in futures)
    assert [future.exception() for future in futures[1::2]] == [None] * 100


def test_a_lock_and_a_queue_of_multiprocessing_are_handed_over_to_the_initializer(
    calls: ModuleType,
) -> None:
    context = multiprocessing.get_context("spawn")
    lock, queue = context.Lock(), context.Queue()
    with PoolExecutor(2, initializer=calls.keep, initargs=(lock, queue)) as executor:
        with lock:
            assert executor.submit(calls.try_lock).result(LIMIT_S) is False
        assert executor.submit(calls.try_lock).result(LIMIT_S) is True
        assert list(executor.map(calls.put_kept, range(20))) == [None] * 20
        assert sorted(queue.get(timeout=LIMIT_S) for _ in range(20)) == list(range(20))
    resource_sharer.stop()
    queue.close()
    queue.join_thread()


@pytest.mark.parametrize(
    ("mp_context", "error", "text"),
    [(multiprocessing.get_context("fork"), ConfigError, "do not inherit"), ("spawn", TypeError, "must be a context")],
)
def test_a_context_that_the_executor_cannot_honour_is_refused(
    mp_context: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        PoolExecutor(1, mp_context)
