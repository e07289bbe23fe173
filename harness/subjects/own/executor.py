"""Any executor as a subject: concurrent.futures, loky, pebble, multiprocessing.Pool, or a class of the same methods."""

from __future__ import annotations

import contextlib
import gc
import inspect
import itertools
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

from poolproof.bridge import Capability, PoolConfig
from poolproof.bridge.worker.journal import JOURNAL_VARIABLE
from poolproof.harness.model.errors import UsageError
from poolproof.harness.subjects.own.engine import CRASHES, OwnCall, opened
from poolproof.harness.subjects.own.pool import STATISTICS_ARE_OURS, OwnPools
from poolproof.harness.subjects.own.processes import descendants, kill_one
from poolproof.harness.subjects.own.work import Work

Restart = bool | Callable[[Any], object]
WAYS = ("schedule", "submit", "apply_async")
"""The methods by which an executor takes work: of pebble (whose `submit` is another one), of concurrent.futures and
loky, of multiprocessing.Pool."""


def executor_pool(make: Callable[..., Any], *functions: Callable[..., Any], restart: Restart = False) -> OwnPools:
    """Make a factory of pools from an executor's class or factory, and the functions that its workers may run.

    `make` may take the number of workers. The name of a function is the command that runs it, with the arguments of the
    call as keyword arguments. A function with a parameter `session` gets the call's session. With `restart=True` a
    worker process is killed in the scenarios that need it: the pool promises to survive that. A function in its place
    gets the executor and restarts its workers. Raises UsageError without a function, or for two of one name.
    """
    table = {function.__name__: function for function in functions}
    if not functions or len(table) < len(functions):
        raise UsageError("an executor needs at least one function to run, and no two functions of the same name")
    sessions = {name for name, function in table.items() if "session" in inspect.signature(function).parameters}
    capabilities = {Capability.WARM_UP, *({Capability.SESSIONS} if sessions else ())}
    return OwnPools(
        name="executor",
        summary=f"an executor that runs {', '.join(table)}",
        open=lambda config: ExecutorEngine(opened(make, config), table, sessions, config, restart),
        capabilities=frozenset(capabilities | ({Capability.RESTART} if restart else set())),
        cannot_show=STATISTICS_ARE_OURS,
    )


class ExecutorEngine:
    """One executor. A worker's crash may break the whole executor: then every call fails, which scenarios show."""

    refusals: tuple[type[BaseException], ...] = (RuntimeError,)
    cancels_running = False
    crash_is_own = False

    def __init__(
        self,
        executor: Any,  # noqa: ANN401
        table: dict[str, Callable[..., Any]],
        sessions: set[str],
        config: PoolConfig,
        restart: Restart,
    ) -> None:
        way = next((way for way in WAYS if hasattr(executor, way)), None)
        if way is None:
            raise UsageError(f"{executor!r:.80} is no executor: it has none of the methods {', '.join(WAYS)}")
        self.crashes: tuple[type[BaseException], ...] = (*CRASHES, *_foreign_crashes())
        self._executor, self._way, self._table, self._sessions = executor, way, table, sessions
        self._journals = config.env.get(JOURNAL_VARIABLE)
        self._restart = restart
        self._before = descendants()
        self._numbers = itertools.count(1)
        self._kills = itertools.count()

    def submit(self, function: Callable[[Any], Any], argument: OwnCall | float) -> Future[Any]:
        """Run `function` in a worker, with the call and the user's function; if `argument` is a number, with that
        number.
        """
        if not isinstance(argument, OwnCall):
            return self._run(function, argument)
        found = self._table.get(argument.command)
        if found is None:
            raise UsageError(f"{argument.command!r} is no function of this pool; it has {', '.join(self._table)}")
        takes_session = argument.command in self._sessions
        number = next(self._numbers)
        work = Work(
            found,
            argument.command,
            argument.args,
            argument.session,
            takes_session,
            number,
            argument.nonce,
            self._journals,
        )
        return self._run(function, work)

    def _run(self, function: Callable[[Any], Any], argument: object) -> Future[Any]:
        if self._way == "apply_async":
            return _as_future(self._executor, function, argument)
        if self._way == "schedule":
            future: Future[Any] = self._executor.schedule(function, args=[argument])
            return future
        submitted: Future[Any] = self._executor.submit(function, argument)
        return submitted

    def end(self, *, busy: bool) -> None:
        """Close the executor, and wait for its workers unless they are busy."""
        _close(self._executor, busy=busy)
        self._executor = None
        gc.collect()  # multiprocessing closes the pipes of a pool only when the pool is collected

    def restart(self) -> str:
        """Kill one worker process, or let the user's function restart the workers."""
        if callable(self._restart):
            return f"restarted by {getattr(self._restart, '__name__', 'a function')}: {self._restart(self._executor)}"
        return f"SIGKILL to process {kill_one(self._before, next(self._kills))}"


def _close(executor: Any, *, busy: bool) -> None:  # noqa: ANN401
    if hasattr(executor, "shutdown"):
        with contextlib.suppress(TypeError):
            executor.shutdown(wait=not busy, cancel_futures=True)
            return
        executor.shutdown(wait=not busy)
        return
    if busy and hasattr(executor, "terminate"):
        executor.terminate()
    elif busy and hasattr(executor, "stop"):
        executor.stop()
    else:
        executor.close()
    executor.join()


def _as_future(pool: Any, function: Callable[[Any], Any], argument: object) -> Future[Any]:  # noqa: ANN401
    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()
    pool.apply_async(function, (argument,), callback=future.set_result, error_callback=future.set_exception)
    return future


def _foreign_crashes() -> Iterator[type[BaseException]]:
    for module, name in (("pebble", "ProcessExpired"), ("loky.process_executor", "ShutdownExecutorError")):
        if hasattr(sys.modules.get(module), name):
            yield getattr(sys.modules[module], name)
