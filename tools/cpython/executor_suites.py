"""Runs CPython's own tests of ProcessPoolExecutor on PoolExecutor, and says which deviations they find.

To be run by a CPython from 3.12 on that has its tests (the package `test`) and poolproof:

    python tools/cpython/executor_suites.py [MODULE ...]

A deviation that `DEVIATIONS` does not declare is a failure; docs/reference/executor.md says what they mean. The tests
are those of workers that are new processes ("spawn"); PoolExecutor has no others. Of the standard library's private
attributes, `Executor` has that by which the tests look at workers.
"""

from __future__ import annotations

import concurrent.futures
import importlib
import os
import queue
import signal
import sys
import time
import unittest
from collections.abc import Callable
from typing import Any

import psutil

from poolproof.pool_v2 import PoolExecutor

MODULES = ("test_init", "test_wait", "test_as_completed", "test_process_pool", "test_shutdown", "test_deadlock")
PACKAGE = "test.test_concurrent_futures."
PRIVATE = "reads private attributes of the standard library's executor"
GOES_ON = "a worker that dies fails its own call alone, and the executor goes on"
UNREADABLE = "what cannot be pickled or read is a NotPicklable on its own future, and the executor goes on"
STARTS_LATER = "submit does not start a process itself: the pool does, a moment later"
DEVIATIONS = {
    "FailingInitializerTest.test_initializer": PRIVATE,
    "test_del_shutdown": PRIVATE,
    "test_max_tasks_per_child_defaults_to_spawn_context": PRIVATE,
    "test_shutdown_deadlock_pickle": PRIVATE,
    "test_shutdown_no_wait": PRIVATE,
    "test_saturation": STARTS_LATER,
    "test_processes_terminate": STARTS_LATER,
    "test_error_at_task_unpickle": UNREADABLE,
    "test_exit_at_task_unpickle": UNREADABLE,
    "test_error_during_result_unpickle_in_result_handler": UNREADABLE,
    "test_exit_during_result_unpickle_in_result_handler": UNREADABLE,
    "test_exit_during_result_pickle_on_worker": UNREADABLE,
    "test_submit_after_interpreter_shutdown": "the RuntimeError is an ExecutorShutdown, and a traceback names it so",
    "test_traceback": "the cause of an error is a RemoteTraceback, not the private class of the standard library",
    "test_killed_child": GOES_ON,
    "test_cancel_futures": "no call is taken ahead, so a shutdown before the first worker is ready cancels all",
    "test_python_finalization_error": "the threads start with the executor, so it cannot be made when none can start",
}
"""The end of a test's name, and why it cannot hold."""


class Worker:
    """A worker process, with the methods of multiprocessing's Process that the tests use."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._process = psutil.Process(pid)

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process.is_running()

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end."""
        psutil.wait_procs([self._process], timeout)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._process.terminate()

    def kill(self) -> None:
        """Send SIGKILL."""
        self._process.kill()


class Executor(PoolExecutor):
    """A PoolExecutor that shows its workers where the standard library's tests look for them."""

    @property
    def _processes(self) -> dict[int, Worker]:
        pids = [worker.pid for worker in self.pool.status().workers if worker.pid]
        return {pid: Worker(pid) for pid in pids if psutil.pid_exists(pid)}


def put_sleep_put(seen: Any) -> None:  # noqa: ANN401 - a manager's proxy
    """Say that the call has begun, and after a long time that it has ended."""
    seen.put("started")
    time.sleep(60)
    seen.put("finished")


class ForcedShutdown:
    """What CPython 3.14 tests of `terminate_workers` and `kill_workers`."""

    executor_type: type[PoolExecutor]
    get_context: Callable[[], Any]

    def test_forced_shutdown_ends_a_running_call(self) -> None:
        """A call that has begun never ends."""
        for end in ("terminate_workers", "kill_workers"):
            with self.subTest(end), self.get_context().Manager() as manager:  # type: ignore[attr-defined]
                seen = manager.Queue()
                with self.executor_type(1) as executor:
                    future = executor.submit(put_sleep_put, seen)
                    assert seen.get(timeout=60) == "started"
                    [worker] = executor._processes.values()  # type: ignore[attr-defined]
                    getattr(executor, end)()
                    worker.join(60)
                    assert not worker.is_alive()
                    assert isinstance(future.exception(60), concurrent.futures.BrokenExecutor)
                    try:
                        seen.get(timeout=0.01)
                    except queue.Empty:
                        continue
                    raise AssertionError("the call has ended")

    def test_forced_shutdown_after_a_worker_has_died_or_before_one_has_started(self) -> None:
        """Both are no error."""
        for end in ("terminate_workers", "kill_workers"):
            with self.subTest(end):  # type: ignore[attr-defined]
                with self.executor_type(1) as executor:
                    getattr(executor, end)()
                with self.executor_type(1) as executor:
                    future = executor.submit(os._exit, 0)
                    assert isinstance(future.exception(60), concurrent.futures.process.BrokenProcessPool)
                    getattr(executor, end)()

    def test_forced_shutdown_refuses_further_calls(self) -> None:
        """And ends idle workers."""
        for end in ("terminate_workers", "kill_workers"):
            with self.subTest(end), self.executor_type(1) as executor:  # type: ignore[attr-defined]
                assert executor.submit(signal.getsignal, signal.SIGINT).exception(60) is None
                [worker] = executor._processes.values()  # type: ignore[attr-defined]
                getattr(executor, end)()
                try:
                    executor.submit(time.sleep, 0)
                except RuntimeError:
                    worker.join(60)
                    assert not worker.is_alive()
                    continue
                raise AssertionError("a call was accepted")


def load(modules: list[str]) -> unittest.TestSuite:
    """Load these modules of CPython's suite, with PoolExecutor in the place of ProcessPoolExecutor."""
    concurrent.futures.ProcessPoolExecutor = Executor  # type: ignore[assignment,misc]
    util = importlib.import_module(f"{PACKAGE}util")
    suite, loader = unittest.TestSuite(), unittest.TestLoader()
    for name in modules:
        module = importlib.import_module(PACKAGE + name)
        if hasattr(module, "assert_python_ok"):
            module.assert_python_ok = in_scripts(module.assert_python_ok)
        for case in vars(module).values():
            if isinstance(case, type) and issubclass(case, unittest.TestCase) and "ProcessPoolSpawn" in case.__name__:
                suite.addTests(loader.loadTestsFromTestCase(case))
    bases = (ForcedShutdown, util.ProcessPoolSpawnMixin, util.BaseTestCase)
    suite.addTests(loader.loadTestsFromTestCase(type("ForcedShutdownTest", bases, {})))
    return suite


def in_scripts(run: Callable[..., Any]) -> Callable[..., Any]:
    """Let the programs that the tests start import PoolExecutor too."""

    def run_changed(*words: str, **options: Any) -> Any:  # noqa: ANN401
        changed = "from poolproof.pool_v2 import PoolExecutor as Executor"
        return run(*(word.replace("from concurrent.futures import Executor", changed) for word in words), **options)

    return run_changed


def main() -> int:
    """Run the tests. Returns 0 if no deviation was found that is not declared."""
    suite = load(sys.argv[1:] or list(MODULES))
    names = [test.id() for test in suite]  # type: ignore[union-attr]
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    failed = {test.id() for test, _ in (*result.failures, *result.errors)}
    declared = {name: why for name in names for end, why in DEVIATIONS.items() if name.endswith(end)}
    told = [
        f"{len(names)} tests of CPython {sys.version.split()[0]}, {len(failed)} deviations, {len(declared)} declared"
    ]
    for name in sorted(failed | declared.keys()):
        why = declared.get(name, "NOT DECLARED")
        told.append(f"{'.'.join(name.split('.')[-2:])}: {why}{'' if name in failed else ' (not found now)'}")
    sys.stdout.write("\n".join(told) + "\n")
    return int(not failed <= declared.keys())


if __name__ == "__main__":
    sys.exit(main())
