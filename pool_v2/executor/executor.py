"""V2 as a `concurrent.futures.Executor`: runs any callable that can be pickled in worker processes.

    with PoolExecutor(4) as executor:
        future = executor.submit(pow, 2, 10)

`poolproof.pool_v2.executor.dispatch` runs the submitted calls. The executor follows the documentation of
ProcessPoolExecutor with two exceptions: the death of a worker fails only the call that it ran, and a call may have a
timeout.
"""

from __future__ import annotations

import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from functools import partial
from itertools import islice
from typing import Any, ParamSpec, Self, TypeVar

import msgspec

from poolproof.bridge import ConfigError, Observer, PoolConfig
from poolproof.bridge.config import duration
from poolproof.bridge.machine.processors import usable_processors
from poolproof.bridge.worker.handlers.callables import run_chunk
from poolproof.bridge.worker.handlers.pickles import Setting
from poolproof.pool_v2.executor.callables import (
    CallCrashed,
    ExecutorShutdown,
    InitializerFailed,
    NotPicklable,
    RemoteTraceback,
    WorkersUnavailable,
    pack,
)
from poolproof.pool_v2.executor.dispatch import Dispatch
from poolproof.pool_v2.pool import PoolV2

MAX_FRAME_BYTES = 2**30
"""The frame limit for a call or a result, in bytes. A pickle takes 4/3 of its size on the wire."""
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

    `initializer(*initargs)` runs once in each worker before its first call, also in a worker that replaces another.
    `max_tasks_per_child` is the maximum number of calls per worker. `timeout_s` limits the run time of every call in
    seconds: at the deadline, the worker is killed and replaced, and the future gets CallTimeout; None sets no limit.
    `config` has the pool's other options (a zygote, an environment, limits on age and memory ...); its `call_timeout_s`
    is the default of `timeout_s`, its `workers` the default of `max_workers`. `observer` receives every event.

    Raises ConfigError (a ValueError) for invalid options, TypeError if the initializer is not callable, NotPicklable if
    it cannot be pickled, and RuntimeError if a worker is importing the main module.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        max_tasks_per_child: int | None = None,
        timeout_s: float | None = None,
        config: PoolConfig | None = None,
        observer: Observer | None = None,
    ) -> None:
        if Setting.importing:
            raise RuntimeError(
                "a worker imports the main module, and that starts an executor at once: "
                "put what the program does behind `if __name__ == '__main__':`"
            )
        if initializer is not None and not callable(initializer):
            raise TypeError(f"initializer must be a callable, not {initializer!r}")
        config = _configured(config, max_workers, max_tasks_per_child)
        self._timeout_s = config.call_timeout_s if timeout_s is None else duration("timeout_s", timeout_s)
        self._origin = self
        packed = None if initializer is None else pack(initializer, initargs, {})
        pool = PoolV2(config, observer=observer)
        try:
            self._dispatch = Dispatch(pool, config, initializer=packed)
        except BaseException:
            pool.close()
            raise
        weakref.finalize(self, self._dispatch.let_go).atexit = False  # Dispatch handles the end of the program

    @property
    def pool(self) -> PoolV2:
        """The underlying pool, for `status`, `health_check` and `warm_up`."""
        return self._dispatch.pool

    def with_timeout(self, timeout_s: float | None) -> Self:
        """A view of this executor whose calls may run for `timeout_s` seconds; None sets no limit.

        The view shares everything with the executor, including its shutdown: `executor.with_timeout(2.0).submit(work)`.
        Raises ConfigError if `timeout_s` is invalid.
        """
        other = object.__new__(type(self))
        other._timeout_s = None if timeout_s is None else duration("timeout_s", timeout_s)
        other._origin = self._origin  # keeps the original executor alive as long as this view
        other._dispatch = self._dispatch
        return other

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Queue `fn(*args, **kwargs)` to run in a worker, first in, first out. The call is pickled when its turn comes.

        As long as the call does not run, `cancel` of its future withdraws it. Raises RuntimeError after the shutdown,
        at the end of the program and in a forked child, and BrokenProcessPool if the initializer failed in too many
        workers in a row.
        """
        return self._dispatch.submit(fn, args, kwargs, self._timeout_s)

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """Run `map(fn, *iterables)` in workers. Returns an iterator that yields the results in order.

        `timeout` is in seconds from now; at the deadline, `next` raises TimeoutError. `chunksize` items form one call.
        All items are read and submitted now; with `buffersize`, at most that many calls ahead of the consumed results.
        Waiting calls are cancelled when the iterator ends, also by an exception. Raises ValueError for sizes below 1.
        """
        if chunksize < 1:
            raise ValueError(f"chunksize {chunksize!r}: must be at least 1")
        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError(f"buffersize {buffersize!r}: must be a whole number or None")
        if buffersize is not None and buffersize < 1:
            raise ValueError(f"buffersize {buffersize!r}: must be at least 1, or None")
        end_s = None if timeout is None else timeout + time.monotonic()
        items = zip(*iterables, strict=False)
        if chunksize == 1:
            return _results(self, fn, items, buffersize, end_s)
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


def _configured(config: PoolConfig | None, max_workers: int | None, max_tasks_per_child: int | None) -> PoolConfig:
    changes: dict[str, Any] = {}
    if config is None:
        config = PoolConfig(lazy=True, max_frame_bytes=MAX_FRAME_BYTES)
        changes["workers"] = min(usable_processors(), MOST_WORKERS)
    config.require_defaults(("max_queue", "checkout_timeout_s"), pool="PoolExecutor")
    if max_workers is not None:
        changes["workers"] = max_workers
    if max_tasks_per_child is not None:
        if max_tasks_per_child < 1:
            raise ConfigError(f"max_tasks_per_child {max_tasks_per_child!r}: must be at least 1, or None")
        changes["max_requests"] = max_tasks_per_child + FIRST_REQUESTS
    try:
        return msgspec.structs.replace(config, **changes)
    except ConfigError as error:
        raise ConfigError(
            f"max_workers {max_workers!r}, max_tasks_per_child {max_tasks_per_child!r}: {error}"
        ) from error


def _results(
    executor: PoolExecutor,
    function: Callable[..., T],
    calls: Iterator[tuple[Any, ...]],
    buffersize: int | None,
    end_s: float | None,
) -> Iterator[T]:
    # The first calls are submitted now, not when the first result is requested.
    futures = deque(executor.submit(function, *call) for call in islice(calls, buffersize))
    known = weakref.ref(executor)  # an unfinished iterator does not keep the executor alive
    del executor

    def results() -> Iterator[T]:
        try:
            while futures:
                living = known() if buffersize is not None else None
                if living is not None and (call := next(calls, None)) is not None:
                    futures.append(living.submit(function, *call))
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
