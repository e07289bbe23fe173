"""Runs the calls of a PoolExecutor: a limited number of threads, each of which runs one call at a time in the pool.

Pickling is in `callables`. A call for which a worker is idle needs none of these threads: see `parking`. Rules:
1. There are at most as many threads as workers; a waiting call costs a record and no thread. A thread that takes a
   call and leaves no other thread idle first starts a new one. A client's thread does not, as it may be interrupted.
2. Removing a call from `_pending` gives the right to decide about it: a thread then runs it, or `cancel` withdraws it.
3. Calls are taken in the order of submission. Shutdown appends an end mark to the queue, so all calls before it run; as
   long as a call runs that `submit` has begun, its end does that, because it may still need one of these threads.
4. The last thread to exit closes the pool.
5. Only the dispatch threads take `_lock`. A client takes no lock, because it may be interrupted anywhere.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import signal
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from typing import Any

from poolproof.bridge import CommandError, InvalidRequest, PoolConfig
from poolproof.bridge.wire.exchange import Steps
from poolproof.pool_v2.executor.callables import (
    CALL,
    ExecutorShutdown,
    Initialization,
    InitializerFailed,
    NotPicklable,
    as_broken,
    despite_interrupts,
    pack,
    request_of,
    request_of_each,
    unpack,
    unpack_each,
)
from poolproof.pool_v2.executor.initialized import InitializedWorkers, Refused
from poolproof.pool_v2.executor.parking import PARKING, Parking
from poolproof.pool_v2.executor.pending import CHUNK_S, Batch, Pending
from poolproof.pool_v2.pool import PoolV2

logger = logging.getLogger(__name__)
_living: weakref.WeakSet[Dispatch] = weakref.WeakSet()
_ending = threading.Event()


class Dispatch:
    """The queued and running calls of one executor. All methods may be called from any thread."""

    def __init__(
        self, pool: PoolV2, config: PoolConfig, *, initialization: Initialization, cancel_running: bool = False
    ) -> None:
        self.pool = pool
        self._owner_pid = os.getpid()
        self._cancel_running = cancel_running
        self._workers = InitializedWorkers(
            pool,
            initialization,
            leases_only=config.max_requests is not None or cancel_running,
            failures_to_break=config.start_failures_to_open,
            on_broken=self._break,
        )
        self._ended_by = ""
        self._broken = ""
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._pending: dict[int, Pending] = {}
        self._queue: SimpleQueue[int | Pending | None] = SimpleQueue()
        self._parking = Parking(self._queue.put)
        self._threads: list[threading.Thread] = []
        self._reader: threading.Thread | None = None
        self._busy = 0
        self._left = 0
        self._shut = False
        _living.add(self)
        try:
            self._start_thread()
        except RuntimeError:  # no thread can be started
            self._parking.close()
            raise

    def submit(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        timeout_s: float | None,
        batch: Batch | None = None,
    ) -> Future[Any]:
        """Put a call at the end of the queue. Raises ExecutorShutdown, or InitializerFailed after repeated failures.

        A worker may run several calls of one `batch` at once; all of them have the same function and no timeout.
        """
        self._require_owner()
        number = next(self._numbers)
        future = Pending(self._pending, number, function, args, kwargs, timeout_s, self._cancel_running, batch)
        # No lock, because an interrupt must not leave a lock held. The second check finds a call queued after the end
        # mark.
        if self._may_begin(future):
            self._begin(future)
            return future
        self._check_open()
        self._pending[number] = future
        if batch is not None:
            batch.waiting.append(number)
        self._queue.put(number)
        if (self._shut or self._broken) and self._pending.pop(number, None) is not None:
            self._check_open()
        return future

    def _may_begin(self, future: Pending) -> bool:
        # Whether this thread itself begins the call: a worker is idle, and no call waits before it.
        if self._reader is None or self._pending or future.batch is not None or future.timeout_s is not None:
            return False
        return self._workers.ready and self.pool.has_idle

    def _begin(self, future: Pending) -> None:
        try:
            self._parking.begin(future, self._steps(future), self._check_open)
        finally:
            self._end_if_done()

    @property
    def runs_batches(self) -> bool:
        """Whether a worker may get several calls at once: not if its calls are limited, or one of them may be ended."""
        return not self._workers.leases_only

    def _check_open(self) -> None:
        if self._broken:
            raise InitializerFailed(self._broken)
        if self._shut or _ending.is_set():
            event = "interpreter shutdown" if _ending.is_set() else "shutdown"
            raise ExecutorShutdown(f"cannot schedule new futures after {event}")

    def shut_down(self, *, cancel_futures: bool = False) -> None:
        """Accept no more calls; with `cancel_futures`, cancel the waiting calls. Idempotent; does not wait."""
        self._require_owner()
        self._mark_end()
        if cancel_futures:
            for future in list(self._pending.values()):
                future.cancel()

    def end_workers(self, signum: signal.Signals) -> None:
        """Shut down, cancel the waiting calls, and send `signum` to the workers that run a call. Does not wait."""
        self.shut_down(cancel_futures=True)
        self._ended_by = signum.name
        self.pool.end_workers(signum)

    def join(self) -> None:
        """Wait until all calls have run and the pool is closed. If called in a dispatch thread, skips that thread."""
        for thread in self._threads:  # the loop also visits threads that are appended meanwhile
            if thread is not threading.current_thread():
                thread.join()
        if self._reader is not None and self._reader is not threading.current_thread():
            self._reader.join()

    def let_go(self) -> None:
        """Handle a dropped executor: run the waiting calls, then end. May be called anywhere, under any lock."""
        if self.owned():
            self._mark_end()

    def owned(self) -> bool:
        """Return whether this process created the executor."""
        return os.getpid() == self._owner_pid

    def _require_owner(self) -> None:
        if not self.owned():
            raise ExecutorShutdown(
                f"executor {self.pool.name!r} belongs to process {self._owner_pid}, not to its forked child"
            )

    def _mark_end(self) -> None:
        self._shut = True
        self._end_if_done()

    def _end_if_done(self) -> None:
        # Puts the end mark, unless a call runs that may still need a dispatch thread: its end puts it then.
        if self._shut and self._parking.all_done():
            self._queue.put(None)

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._serve, name=f"{self.pool.name}-dispatch-{len(self._threads)}")
        thread.start()
        self._threads.append(thread)

    # The dispatch threads.

    def _serve(self) -> None:
        while (number := self._queue.get()) is not None:
            future = number if isinstance(number, Pending) else self._pending.pop(number, None)
            if future is not None:
                self._leave_one_idle()
                try:
                    if future is number:
                        self._parking.finish(future)
                    elif future.batch is None:
                        self._carry_out(future)
                    else:
                        self._carry_out_chunk([future, *future.batch.take(self._pending, len(self._threads))])
                except BaseException:
                    # A callback raised a BaseException that is no Exception. This thread has no caller to raise it to.
                    logger.exception("executor %r: a callback of a call has failed", self.pool.name)
                del future, number  # an idle thread keeps no reference to a result
                with self._lock:
                    self._busy -= 1
        self._queue.put(None)  # the end mark for the next thread
        self._parking.end()
        self._leave()

    def _read(self) -> None:
        self._parking.read()
        self._leave()

    def _leave(self) -> None:
        with self._lock:
            self._left += 1
            last = self._left == len(self._threads) + (self._reader is not None)
        if last:
            self._parking.close()
            self.pool.close()

    def _leave_one_idle(self) -> None:
        with self._lock:
            self._busy += 1
            if self._busy == len(self._threads) < self.pool.size:
                try:
                    self._start_thread()
                except RuntimeError as error:  # the existing threads do the work
                    logger.warning("executor %r has only %d threads: %s", self.pool.name, self._busy, error)
            if self._reader is None and self._workers.ready:
                reader = threading.Thread(target=self._read, name=f"{self.pool.name}-reader")
                with contextlib.suppress(RuntimeError):  # otherwise dispatch threads run all calls
                    reader.start()
                    self._reader = reader

    def _steps(self, future: Pending) -> Steps[None]:
        # A call that a client's thread begins. If an interrupt ends it there, its future gets the interrupt, too.
        interrupt: BaseException | None = None
        try:
            value, error, interrupt = yield from self._exchange(future)
            future.complete(value, error)
            if interrupt is not None:
                raise interrupt
        except Refused:
            self._queue_again(future)
        except BaseException as failure:
            if not future.done():
                future.complete(None, self._told(failure))
            if not isinstance(failure, Exception):
                raise
        finally:
            self._parking.ended(future)
            self._end_if_done()
            value = error = interrupt = None  # the error's traceback holds this frame
            del future

    def _exchange(self, future: Pending) -> Steps[tuple[Any, BaseException | None, BaseException | None]]:
        # Returns the result or the exception of the callable, and an interrupt that came while it was read.
        call = future.call
        assert call is not None, "only a cancel takes it away"
        future.set_running_or_notify_cancel()
        packed, interrupt = despite_interrupts(partial(pack, *call))
        if interrupt is not None:
            raise interrupt
        answer = yield from self.pool.steps(PARKING, CALL, request_of(packed))
        self._workers.require_initialized(answer)
        future.call = None
        (value, error), interrupt = despite_interrupts(partial(future.context.run, unpack, answer, call[0]))
        return value, error, None if isinstance(error, NotPicklable) else interrupt

    def _carry_out(self, future: Pending) -> None:
        if not future.begun and not future.set_running_or_notify_cancel():
            return
        assert future.call is not None, "only a cancel takes it away"
        call, future.call = future.call, None
        try:
            value, error = future.context.run(self._run, call, future.timeout_s, future)
        except BaseException as failure:
            value, error = None, self._told(failure)
        try:
            future.complete(value, error)
        finally:
            del call, value, error, future  # the error's traceback holds this frame

    def _carry_out_chunk(self, futures: list[Pending]) -> None:
        left = [future for future in futures if future.begun or future.set_running_or_notify_cancel()]
        futures.clear()
        while left:
            found = left[0].context.run(self._run_each, left)
            if found is None:  # one of them prevents the others
                for future in left:
                    future.begun = True
                    self._carry_out(future)
                return
            done, left = left[: len(found)], left[len(found) :]
            while done:
                future = done.pop(0)
                future.call = None
                future.complete(*found.pop(0))
            left = self._put_back(left)

    def _put_back(self, futures: list[Pending]) -> list[Pending]:
        # The calls that a worker had no time for. Returns those that this thread must run itself.
        for future in futures:
            self._queue_again(future)
        if not self._shut:
            return []
        # An end mark may come before them.
        return [future for future in futures if self._pending.pop(future.number, None) is not None]

    def _queue_again(self, future: Pending) -> None:
        future.begun = True
        self._pending[future.number] = future
        self._queue.put(future.number)

    def _run_each(self, futures: list[Pending]) -> list[tuple[Any, BaseException | None]] | None:
        # Returns the results of the first of these calls, or None if they can only be run alone.
        first = futures[0]
        assert first.call is not None, "only a cancel takes it away"
        assert first.batch is not None, "it was taken for its batch"
        function = first.call[0]
        calls = [future.call[1] for future in futures if future.call is not None]
        try:
            request = request_of_each(function, calls, CHUNK_S)
        except NotPicklable:
            return None
        try:
            answer, took_s = self._workers.run(request, None, first)
            found = unpack_each(answer, function)
        except (CommandError, InvalidRequest):  # the calls or their results are too large for one frame
            return None
        except BaseException as failure:
            return [(None, self._told(failure)) for _ in futures]
        if found is not None:
            first.batch.ran(len(found), took_s, len(request["call"]))
        return found

    def _run(
        self,
        call: tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]],
        timeout_s: float | None,
        future: Pending,
    ) -> tuple[Any, BaseException | None]:
        request = request_of(pack(*call, caught=BaseException))
        answer, _ = self._workers.run(request, timeout_s, future)
        return unpack(answer, call[0])

    def _told(self, error: BaseException) -> BaseException:
        ended_by = f"executor {self.pool.name!r} ended its workers by {self._ended_by}" if self._ended_by else ""
        return as_broken(error, ended_by)

    def _break(self, reason: str) -> None:
        self._broken = f"executor {self.pool.name!r}: {reason}"
        for number in list(self._pending):
            future = self._pending.pop(number, None)
            if future is not None and (future.begun or future.set_running_or_notify_cancel()):
                future.set_exception(InitializerFailed(self._broken))


def _finish_all() -> None:
    # At the end of the program, run the submitted calls, as the standard library's executors do.
    _ending.set()
    owned = [dispatch for dispatch in list(_living) if dispatch.owned()]
    for dispatch in owned:
        dispatch.shut_down()
    for dispatch in owned:
        dispatch.join()


# Not `atexit`: its callbacks run after the interpreter has joined its threads, when no new thread can be started.
threading._register_atexit(_finish_all)  # type: ignore[attr-defined]
