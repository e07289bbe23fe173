"""V2 as a `concurrent.futures.Executor`: runs any callable that can be pickled in worker processes.

    with PoolExecutor(4) as executor:
        future = executor.submit(pow, 2, 10)

`poolproof.pool_v2.executor.dispatch` runs the submitted calls. The executor follows the documentation of
ProcessPoolExecutor with two exceptions: the death of a worker fails only the call that it ran, and a call may have a
timeout.
"""

from __future__ import annotations

import signal
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from functools import partial
from itertools import islice
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

import msgspec

from poolproof.bridge import ConfigError, Observer, PoolConfig
from poolproof.bridge.config import duration
from poolproof.bridge.machine.processors import usable_processors
from poolproof.bridge.worker.handlers.callables import run_chunk
from poolproof.bridge.worker.handlers.picklers import Pickler, Wrapping
from poolproof.bridge.worker.handlers.pickles import Setting
from poolproof.pool_v2.executor.callables import (
    CallCrashed,
    ExecutorShutdown,
    Initialization,
    InitializerFailed,
    NotPicklable,
    RemoteTraceback,
    WorkersUnavailable,
)
from poolproof.pool_v2.executor.dispatch import Dispatch
from poolproof.pool_v2.executor.pending import Batch
from poolproof.pool_v2.pool import PoolV2

MAX_FRAME_BYTES = 2**30
"""The frame limit for a call or a result, in bytes."""
MOST_WORKERS = 1024
FIRST_REQUESTS = 2
"""The extra requests of a worker's first call: the refused request and the initialization."""
P = ParamSpec("P")
T = TypeVar("T")
__all__ = [
    "CallCrashed",
    "ExecutorShutdown",
    "InitializerFailed",
    "NotPicklable",
    "PoolExecutor",
    "RemoteTraceback",
    "WorkersUnavailable",
]


class PoolExecutor(Executor):
    """Runs callables in at most `max_workers` processes (default: the number of processors that this
    program may use, by its affinity and its control groups), which start on demand.

    `mp_context` may be a "spawn" or "forkserver" context of multiprocessing, which changes nothing; workers are always
    new Python processes.
    `initializer(*initargs)` runs once in each worker before its first call, also in a worker that replaces another.
    `max_tasks_per_child` is the maximum number of calls per worker. `timeout_s` limits the run time of every call in
    seconds: at the deadline, the worker is killed and replaced, and the future gets CallTimeout; None sets no limit.
    With `cancel_running`, `cancel` of a future kills and replaces the worker that runs the call.
    `pickler`, such as "cloudpickle", pickles callables, arguments and results in place of the standard library's: a
    module's name, or a module or an object that has `dumps` and `loads`.
    Of several idle workers, the one that served last gets the next call, unless `idle_order` of `config` says "rotate".
    What workers print appears on this process's stdout and stderr, unless `worker_output` of `config` says otherwise.
    `config` has the pool's other options (a zygote, an environment, limits on age and memory ...); its `call_timeout_s`
    is the default of `timeout_s`, its `workers` the default of `max_workers`. `observer` receives every event.

    Raises ConfigError (a ValueError) for invalid options, TypeError for a number that is no int, for an initializer
    that is not callable and for an `mp_context` that is none, NotPicklable if the initializer cannot be pickled, and
    RuntimeError if a worker is importing the main module.
    """

    _wrapping: Wrapping | None = None

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: Any = None,  # noqa: ANN401 - multiprocessing's type has no public name
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        timeout_s: float | None = None,
        cancel_running: bool = False,
        pickler: str | Pickler | None = None,
        config: PoolConfig | None = None,
        observer: Observer | None = None,
    ) -> None:
        if Setting.importing:
            raise RuntimeError(
                "a worker imports the main module, and that starts an executor at once: "
                "put what the program does behind `if __name__ == '__main__':`"
            )
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        _require_new_processes(mp_context)
        config = _configured(config, max_workers, max_tasks_per_child)
        self._timeout_s = config.call_timeout_s if timeout_s is None else duration("timeout_s", timeout_s)
        self._origin: Self | None = None  # no reference to itself: a dropped executor ends at once, without a collector
        if pickler is not None:
            self._wrapping = _wrapping(pickler)
            if initializer is not None:
                initargs = self._wrapping.arguments(initargs, {})
                initializer = self._wrapping.function(initializer)
        first = Initialization(initializer, initargs)
        pool = PoolV2(config, observer=observer)
        try:
            self._dispatch = Dispatch(pool, config, initialization=first, cancel_running=cancel_running)
        except BaseException:
            pool.close()
            raise
        weakref.finalize(self, self._dispatch.let_go).atexit = False  # Dispatch handles the end of the program

    @property
    def pool(self) -> PoolV2:
        """The underlying pool, for `status`, `health_check` and `warm_up`."""
        return self._dispatch.pool

    @property
    def _max_workers(self) -> int:
        # Not public in the standard library either, but dask and joblib read it.
        return self.pool.size

    def with_timeout(self, timeout_s: float | None) -> Self:
        """A view of this executor whose calls may run for `timeout_s` seconds; None sets no limit.

        The view shares everything with the executor, including its shutdown: `executor.with_timeout(2.0).submit(work)`.
        Raises ConfigError if `timeout_s` is invalid.
        """
        other = object.__new__(type(self))
        other._timeout_s = None if timeout_s is None else duration("timeout_s", timeout_s)
        other._origin = self if self._origin is None else self._origin  # keeps the original alive as long as this view
        other._dispatch = self._dispatch
        other._wrapping = self._wrapping
        return other

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Queue `fn(*args, **kwargs)` to run in a worker, first in, first out. The call is pickled when its turn comes.

        As long as the call does not run, `cancel` of its future withdraws it. Raises RuntimeError after the shutdown,
        at the end of the program and in a forked child, and BrokenProcessPool if the initializer failed in too many
        workers in a row.
        """
        return self._submit(fn, args, kwargs)

    def _submit(
        self,
        function: Any,  # noqa: ANN401 - a callable, or what the pickler has wrapped
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        batch: Batch | None = None,
    ) -> Future[Any]:
        if self._wrapping is not None:
            if batch is None:
                function = self._wrapping.function(function)
            args, kwargs = self._wrapping.arguments(args, kwargs), {}
        return self._dispatch.submit(function, args, kwargs, self._timeout_s, batch)

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """Run `map(fn, *iterables)` in workers. Returns an iterator that yields the results in order.

        `timeout` is in seconds from now; at the deadline, `next` raises TimeoutError. `chunksize` items form one call.
        Without a `chunksize`, each item is a call of its own, and a worker gets as many short ones at once as take
        about 5 ms.
        All items are read and submitted now; with `buffersize`, at most that many calls ahead of the consumed results.
        Waiting calls are cancelled when the iterator ends, also by an exception. Raises ValueError for sizes below 1.
        """
        if chunksize is not None and chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError("buffersize must be an integer or None")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        end_s = None if timeout is None else timeout + time.monotonic()
        items = zip(*iterables, strict=False)
        if chunksize is None or chunksize == 1:
            together = chunksize is None and self._timeout_s is None and self._dispatch.runs_batches
            return _results(self, fn, items, buffersize, end_s, Batch() if together else None)
        chunks = iter(lambda: list(islice(items, chunksize)), [])
        calls = ((chunk,) for chunk in chunks)
        return _each(_results(self, partial(run_chunk, fn), calls, buffersize, end_s))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more calls, run the submitted calls, then end the workers. Idempotent.

        With `cancel_futures`, calls that do not run yet are cancelled. Waits for the end, unless `wait` is False.
        """
        self._dispatch.shut_down(cancel_futures=cancel_futures)
        if wait:
            self._dispatch.join()

    def terminate_workers(self) -> None:
        """Shut down without waiting, cancel the waiting calls, and send SIGTERM to each worker that runs a call.

        The futures of the running calls get CallCrashed. A callable that catches SIGTERM goes on to its end.
        """
        self._dispatch.end_workers(signal.SIGTERM)

    def kill_workers(self) -> None:
        """Like `terminate_workers`, with SIGKILL to each worker and its children."""
        self._dispatch.end_workers(signal.SIGKILL)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._dispatch.owned():  # a forked child that leaves the block has nothing to shut down
            self.shutdown(wait=True)


def _require_new_processes(mp_context: Any) -> None:  # noqa: ANN401
    if mp_context is None:
        return
    if not callable(getattr(mp_context, "get_start_method", None)):
        raise TypeError(f"mp_context must be a context of multiprocessing or None, not {mp_context!r}")
    if mp_context.get_start_method() == "fork":
        raise ConfigError(
            "mp_context 'fork': the workers of a PoolExecutor are new Python processes and do not inherit the memory "
            "of this program; leave mp_context out, pass what they need in `initargs`, or let a zygote fork them: "
            "config=PoolConfig(zygote=True)"
        )


def _wrapping(pickler: str | Pickler) -> Wrapping:
    try:
        return Wrapping(pickler)
    except (ImportError, TypeError) as error:
        raise ConfigError(f"pickler {pickler!r:.100}: {error}") from error


def _configured(config: PoolConfig | None, max_workers: int | None, max_tasks_per_child: int | None) -> PoolConfig:
    changes: dict[str, Any] = {}
    if config is None:
        config = PoolConfig(lazy=True, max_frame_bytes=MAX_FRAME_BYTES)
        changes["workers"] = min(usable_processors(), MOST_WORKERS)
    if config.worker_output is None:
        changes["worker_output"] = "forward"
    if config.idle_order is None:
        changes["idle_order"] = "hot"
    config.require_defaults(("max_queue", "checkout_timeout_s"), pool="PoolExecutor")
    # The texts are those of the standard library.
    if max_workers is not None:
        if not _is_int(max_workers):
            raise TypeError(f"max_workers must be an integer, not {max_workers!r}")
        if max_workers <= 0:
            raise ConfigError("max_workers must be greater than 0")
        changes["workers"] = max_workers
    if max_tasks_per_child is not None:
        if not _is_int(max_tasks_per_child):
            raise TypeError("max_tasks_per_child must be an integer")
        if max_tasks_per_child <= 0:
            raise ConfigError("max_tasks_per_child must be >= 1")
        changes["max_requests"] = max_tasks_per_child + FIRST_REQUESTS
    try:
        return msgspec.structs.replace(config, **changes)
    except ConfigError as error:
        raise ConfigError(
            f"max_workers {max_workers!r}, max_tasks_per_child {max_tasks_per_child!r}: {error}"
        ) from error


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _results(
    executor: PoolExecutor,
    function: Callable[..., T],
    calls: Iterator[tuple[Any, ...]],
    buffersize: int | None,
    end_s: float | None,
    batch: Batch | None = None,
) -> Iterator[T]:
    # The first calls are submitted now, not when the first result is requested.
    shared: Any = function
    if batch is not None and executor._wrapping is not None:
        shared = executor._wrapping.function(function)  # pickled once for all the calls that a worker gets at once

    def submit(living: PoolExecutor, call: tuple[Any, ...]) -> Future[T]:
        return living._submit(shared, call, {}, batch)

    futures = deque(submit(executor, call) for call in islice(calls, buffersize))
    known = weakref.ref(executor)  # an unfinished iterator does not keep the executor alive
    del executor

    def results() -> Iterator[T]:
        try:
            while futures:
                living = known() if buffersize is not None else None
                if living is not None and (call := next(calls, None)) is not None:
                    futures.append(submit(living, call))
                del living
                yield _result_or_cancel(futures.popleft(), end_s)
        finally:
            for future in futures:
                future.cancel()

    return results()


def _result_or_cancel(future: Future[T], end_s: float | None) -> T:
    try:
        try:
            return future.result(None if end_s is None else end_s - time.monotonic())
        finally:
            future.cancel()
    finally:
        del future  # otherwise the traceback of an exception would keep a reference to the future


def _each(chunks: Iterator[list[T]]) -> Iterator[T]:
    for chunk in chunks:
        chunk.reverse()
        while chunk:
            yield chunk.pop()  # keep no reference to a consumed result
