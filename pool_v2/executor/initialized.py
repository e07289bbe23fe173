"""Runs the requests of an executor in workers that are initialized.

A worker that is not initialized refuses a call. Only a lease can initialize it: an exception ends the worker of a
lease, so a half-initialized worker never runs a call. But a refused call that is repeated on a lease may get another
worker, one that is initialized, and the worker that has refused would refuse again. So after a refusal as many calls as
the pool has workers run on leases: they meet every idle worker. The first calls of an executor do the same.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

from poolproof.bridge import CommandError, InvalidRequest, PoolError, Sent, WorkerCrashed
from poolproof.pool_v2.calls.lease import Lease
from poolproof.pool_v2.executor.callables import (
    CALL,
    INITIALIZE,
    Initialization,
    InitializerFailed,
    is_uninitialized,
    unpack,
)
from poolproof.pool_v2.executor.pending import Pending
from poolproof.pool_v2.pool import PoolV2

UNLIMITED_S = 365 * 86400.0


class Refused(Exception):
    """The worker has not run the call, because it is not initialized."""


class InitializedWorkers:
    """The workers of one executor. Its methods may be called from any dispatch thread.

    With `leases_only`, every call runs on a lease: where a refused call would count towards a limit of calls, or where
    a running call may be cancelled. `on_broken` is called with the reason when `failures_to_break` workers in a row
    could not be initialized.
    """

    def __init__(
        self,
        pool: PoolV2,
        initialization: Initialization,
        *,
        leases_only: bool,
        failures_to_break: int,
        on_broken: Callable[[str], None],
    ) -> None:
        self._pool = pool
        self._initialization = initialization
        self.leases_only = leases_only
        self._failures_to_break = failures_to_break
        self._on_broken = on_broken
        self._lock = threading.Lock()
        self._failures = 0
        self._on_leases = pool.size  # how many of the next calls run on leases

    @property
    def ready(self) -> bool:
        """Whether a call without a timeout needs no lease."""
        return not self.leases_only and not self._on_leases and self._pool.takes_buffers

    def require_initialized(self, answer: object) -> None:
        """Raise Refused if the worker asks to be initialized first; then the next calls run on leases."""
        if is_uninitialized(answer):
            self._on_leases = self._pool.size
            raise Refused

    def run(self, request: dict[str, Any], timeout_s: float | None, future: Pending) -> tuple[Any, float]:
        """Run the call of `request`. Returns the worker's answer, and how long that took, in seconds.

        `timeout_s` does not include the wait for a worker and its initialization. Raises CancelledError if the future
        is cancelled before the call begins, InitializerFailed, and the errors of PoolV2.execute.
        """
        if not self._pool.takes_buffers:
            self._ask_for_buffers()
        if timeout_s is None and self.ready:
            began_s = time.monotonic()
            answer = self._pool.execute(CALL, request, timeout_s=UNLIMITED_S, checkout_timeout_s=UNLIMITED_S)
            with contextlib.suppress(Refused):
                self.require_initialized(answer)
                return answer, time.monotonic() - began_s
        return self._run_on_lease(request, UNLIMITED_S if timeout_s is None else timeout_s, future)

    def _ask_for_buffers(self) -> None:
        # The workers of another command say what they can do when the first of them starts.
        self._pool.execute("ping", timeout_s=UNLIMITED_S, checkout_timeout_s=UNLIMITED_S)
        if not self._pool.takes_buffers:
            raise CommandError(
                f"executor {self._pool.name!r}: its workers do not take bytes, so they cannot run callables"
            )

    def _run_on_lease(self, request: dict[str, Any], timeout_s: float, future: Pending) -> tuple[Any, float]:
        while True:
            refused: PoolError | None = None
            try:
                with self._pool.checkout(CALL, checkout_timeout_s=UNLIMITED_S) as worker:
                    if future.cancelled():
                        raise CancelledError
                    try:
                        future.use(worker)
                        began_s = time.monotonic()
                        answer = worker.execute(CALL, request, timeout_s=timeout_s)
                        if is_uninitialized(answer):
                            self._initialize(worker)
                            began_s = time.monotonic()
                            answer = worker.execute(CALL, request, timeout_s=timeout_s)
                        else:
                            self._on_leases = max(self._on_leases - 1, 0)
                        took_s = time.monotonic() - began_s
                    except (CommandError, InvalidRequest) as error:  # leaving the block would end the worker
                        refused = error
                    finally:
                        future.use(None)
                if refused is not None:
                    raise refused
                return answer, took_s
            except WorkerCrashed as error:
                if error.sent is not Sent.NO:
                    raise
                # The worker was found dead before it received a byte, so the call can be repeated.

    def _initialize(self, worker: Lease) -> None:
        try:
            answer = worker.execute(INITIALIZE, self._initialization.request(), timeout_s=UNLIMITED_S)
            _, error = unpack(answer, "the initializer")
            if error is not None:
                raise InitializerFailed(
                    f"the initializer failed in worker {worker.worker_id}: {type(error).__name__}: {error}",
                    worker_id=worker.worker_id,
                ) from error
        except PoolError as error:
            if self._initialization.has_initializer or not isinstance(error, WorkerCrashed):
                self._count_failure(error)  # otherwise the worker was killed: no code of the program has run
            raise
        self._failures = 0
        self._on_leases = self._pool.size

    def _count_failure(self, error: PoolError) -> None:
        with self._lock:
            self._failures += 1
            if self._failures < self._failures_to_break:
                return
            reason = f"{self._failures} workers in a row failed; the last error: {error}"
        self._on_broken(reason)
