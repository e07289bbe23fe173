"""The future of a call that is queued or runs, and the calls of one `map`, of which a worker runs several at once.

Sending a small call to a worker takes longer than running it. So a thread that takes a call of a Batch takes further
calls with it, as many as take about CHUNK_S together. The worker stops after that time, and the rest is put back.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from concurrent.futures._base import CANCELLED, RUNNING
from contextvars import copy_context
from typing import Any, Protocol

from poolproof.bridge.wire.exchange import Steps
from poolproof.pool_v2.calls.lease import Lease

CHUNK_S = 0.005
"""How long the calls that a worker gets at once should take together, in seconds."""
MOST_CALLS = 256
MOST_BYTES = 1_000_000
"""The maximum size of the pickled calls that a worker gets at once, estimated from the calls before."""


class Helper(Protocol):
    """What lets a client that waits for a call go on with it (`poolproof.pool_v2.executor.parking`)."""

    def help(self, future: Pending, timeout_s: float | None) -> float | None:
        """Go on with the call in this thread, at most for `timeout_s` seconds. Returns the rest of the time."""
        ...


class Pending(Future[Any]):
    """The future of one call, with the call and the context of its `submit`. `cancel` removes it from the queue."""

    def __init__(
        self,
        pending: dict[int, Pending],
        number: int,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        timeout_s: float | None,
        cancel_running: bool,
        batch: Batch | None = None,
    ) -> None:
        super().__init__()
        self._queue = pending
        self.number = number
        self.batch = batch
        self.begun = False
        """Whether the call has once been started, in a chunk that took too long."""
        self.call: tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]] | None = (function, args, kwargs)
        self.context = copy_context()
        self.timeout_s = timeout_s
        self.cancel_running = cancel_running
        self.parked: list[tuple[Steps[None], int]] = []
        self.helper: Helper | None = None
        self._lease: Lease | None = None
        self._lease_lock = threading.Lock()  # so that `cancel` kills no worker that has gone on to another call

    def result(self, timeout: float | None = None) -> Any:  # noqa: ANN401 - any result
        """Return the call's result, or raise its exception, within `timeout` seconds. See concurrent.futures."""
        return super().result(self._help(timeout))

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return the call's exception, or None, within `timeout` seconds. See concurrent.futures."""
        return super().exception(self._help(timeout))

    def _help(self, timeout_s: float | None) -> float | None:
        # A callback may wait for what this thread holds, so another thread calls it.
        if self.helper is None or self._done_callbacks:  # type: ignore[attr-defined]
            return timeout_s
        return self.helper.help(self, timeout_s)

    def complete(self, value: Any, error: BaseException | None) -> None:  # noqa: ANN401 - any result
        """Set the result, or the exception, unless the running call was cancelled."""
        try:
            if error is None:
                self.set_result(value)
            else:
                self.set_exception(error)
        except InvalidStateError:
            if not self.cancelled():  # by `cancel_running`
                raise
        finally:
            del value, error, self  # the error's traceback holds this frame

    def cancel(self) -> bool:
        """Withdraw the call, unless it has ended, or runs and `cancel_running` is not set.

        Waiters are notified now, not when the call's turn comes. A worker that runs the call is killed and replaced.
        """
        if not super().cancel() and not (self.cancel_running and self._cancel_running()):
            return False
        if self._queue.pop(self.number, None) is not None:
            self.call = None
            self.set_running_or_notify_cancel()
        return True

    def _cancel_running(self) -> bool:
        with self._condition:
            if self._state != RUNNING:
                return False
            self._state = CANCELLED
            self.set_running_or_notify_cancel()
            self._condition.notify_all()
        with self._lease_lock:
            if self._lease is not None:
                self._lease.kill()
        self._invoke_callbacks()  # type: ignore[attr-defined]
        return True

    def use(self, lease: Lease | None) -> None:
        """Record the lease of the worker that now runs the call, or None when the worker is about to be returned."""
        with self._lease_lock:
            self._lease = lease
            if lease is not None and self.cancelled():
                lease.kill()


class Batch:
    """The calls of one `map` that wait, by number. Threads share it: each step is atomic, and sizes are estimates."""

    def __init__(self) -> None:
        self.waiting: deque[int] = deque()
        self._call_s = 0.0
        self._call_bytes = 0.0

    def take(self, pending: dict[int, Pending], threads: int) -> list[Pending]:
        """Take further calls out of `pending`, to run together with one that was taken; none if no size is known."""
        if not self._call_s:
            return []
        size = min(CHUNK_S / self._call_s, MOST_CALLS, MOST_BYTES / max(self._call_bytes, 1.0))
        size = min(size, len(self.waiting) / (2 * threads))  # so that all threads end at about the same time
        taken: list[Pending] = []
        while len(taken) < int(size) - 1:
            try:
                future = pending.pop(self.waiting.popleft(), None)
            except IndexError:
                break
            if future is not None:  # otherwise a thread has it, or it is cancelled
                taken.append(future)
        return taken

    def ran(self, count: int, took_s: float, size_bytes: int) -> None:
        """Update the estimates from a chunk of `count` calls."""
        self._call_s = took_s / count
        self._call_bytes = size_bytes / count
