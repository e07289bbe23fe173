"""A lease: one client holds one worker for the duration of a `with` block.

    with pool.checkout("a command for the hooks") as worker:
        worker.execute("put", {"key": "k", "value": 1})

Rules
1. A worker has at most one lease at a time. Only the thread that opened a lease may use it; in another thread,
   `execute` raises LeaseError.
2. A lease that has ended writes nothing; `execute` raises LeaseError.
3. If the block raises, the worker is ended and replaced, and the exception is passed on unchanged. The same happens if
   an open lease is dropped or its thread ends: then the pool finds the lease and logs where it was opened.
4. If the worker ends first, by the lease's timeout or by itself, the pool reclaims its slot at once. After that,
   `execute` raises an error that says how the worker ended.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from poolproof.bridge import LeaseError, PoolClosed, PoolError
from poolproof.pool_v2.core.ticket import Ticket
from poolproof.pool_v2.core.worker_table import NEVER_NS

MOST_FRAMES = 8
_HERE = str(Path(__file__).parents[1]) + os.sep


class Client(Protocol):
    """The holder of a worker: a thread, or a task on a loop."""

    def is_alive(self) -> bool:
        """Return whether the client can still give the worker back."""
        ...


class LeaseUse(Protocol):
    """The operations that a lease needs from its pool."""

    def execute_blocking(
        self, lease: Lease, ticket: Ticket, command: str, args: dict[str, Any], timeout_s: float | None
    ) -> Any:  # noqa: ANN401 - any JSON value
        """Run one call on the lease's worker, in this thread."""
        ...

    def update(self, ticket: Ticket, message: Any) -> None:  # noqa: ANN401
        """Publish `message` to the worker's state."""
        ...

    def end(self, lease: Lease, ticket: Ticket, error: BaseException | None) -> None:
        """Give the lease's worker back."""
        ...

    def interrupted(self, ticket: Ticket, interrupt: BaseException) -> None:
        """Handle an `interrupt` that was raised while the lease was being ended."""
        ...

    def require_owner(self) -> None:
        """Raise PoolClosed in a forked child."""
        ...


class Record(Protocol):
    """The pool's record of a client that holds a worker or waits for one."""

    opened: tuple[str, ...]
    thread: Client
    ticket: Ticket


class Open(weakref.ref["Lease"]):
    """The pool's record of an open lease: its ticket, its thread, and where it was opened.

    If an open lease is garbage-collected, the interpreter itself appends this record to a deque. A finalizer may run
    anywhere, under any lock, so it must not do more.
    """

    __slots__ = ("opened", "thread", "ticket")
    opened: tuple[str, ...]
    thread: Client
    ticket: Ticket

    def __new__(cls, lease: Lease, ticket: Ticket, on_lost: Callable[[Any], None]) -> Self:
        """Record an open lease of the current thread."""
        record = super().__new__(cls, lease, on_lost)
        record.ticket = ticket
        record.thread = _this_thread()
        record.opened = _where()
        return record

    def __init__(self, lease: Lease, ticket: Ticket, on_lost: Callable[[Any], None]) -> None:
        super().__init__(lease, on_lost)  # type: ignore[call-arg]


class Lease:
    """The result of `PoolV2.checkout`: a worker held by this client. `client` is the checkout hook's value for it.

    `owner` is the only thread that may use the lease (None: the creator of the lease ensures that). `deadline_ns` is
    the lease's deadline. `busy` is guarded by the pool's lock: while it is set, the owner may be using the worker's
    descriptors. If it is not set and the worker has ended, the worker is taken back, and `fate` then creates the error
    that `execute` raises. `for_one_call`: a pool error that ends the block belongs to the call, and a clean worker is
    kept. `counted`: the lease's calls count in the statistics.
    """

    __slots__ = (
        "__weakref__",
        "_pool",
        "_ticket",
        "busy",
        "client",
        "counted",
        "deadline_ns",
        "fate",
        "for_one_call",
        "owner",
        "requests",
    )

    def __init__(
        self,
        pool: LeaseUse,
        ticket: Ticket,
        *,
        for_one_call: bool = False,
        counted: bool = True,
        owner: int | None = None,
        deadline_ns: int = NEVER_NS,
    ) -> None:
        self._pool = pool
        self._ticket: Ticket | None = ticket
        self.client: Any = None
        self.for_one_call = for_one_call
        self.counted = counted
        self.owner = owner
        self.deadline_ns = deadline_ns
        self.busy = False
        self.fate: Callable[[], PoolError] | None = None
        self.requests = 0

    @property
    def ended(self) -> bool:
        """Whether the client has given the worker back."""
        return self._ticket is None

    @property
    def worker_id(self) -> int:
        """The worker's id. Raises LeaseError after the end."""
        return self.require_ticket().worker_id or 0

    @property
    def pid(self) -> int:
        """The worker's process id. Raises LeaseError after the end."""
        worker = self.require_ticket().worker
        if worker is None:
            raise self.lost()
        return worker.transport.pid

    def execute(self, command: str, args: dict[str, Any] | None = None, *, timeout_s: float | None = None) -> Any:  # noqa: ANN401
        """Run one command on this worker. Returns the result verbatim.

        `timeout_s` (30 by default) bounds the call; the lease's own timeout applies too. Raises LeaseError and the
        errors of PoolV2.execute. After CallTimeout or WorkerCrashed the worker is gone and the lease can no longer be
        used.
        """
        return self._pool.execute_blocking(self, self.require_mine(), command, args or {}, timeout_s)

    def kill(self) -> None:
        """Kill the worker, which ends a call in flight. May be called from any thread; no effect after the end."""
        ticket = self._ticket
        worker = None if ticket is None else ticket.worker
        if worker is not None:
            worker.transport.kill()

    def update(self, message: Any) -> None:  # noqa: ANN401
        """Publish `message` to the worker's state through the behaviour's `update`. Raises HookError or LeaseError."""
        self._pool.update(self.require_mine(), message)

    def require_ticket(self) -> Ticket:
        """Return the ticket. Raises LeaseError after the lease has ended, or the error that ended the worker."""
        ticket = self.require_open()
        if ticket.worker is None:
            raise self.lost()
        return ticket

    def lost(self) -> PoolError:
        """Return the error that says why the worker is gone."""
        return LeaseError("this lease has lost its worker") if self.fate is None else self.fate()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._pool.require_owner()
        except PoolClosed:  # a forked child leaves the block: the worker is the parent's
            self._ticket = None
        self.end(error)

    def end(self, error: BaseException | None = None) -> None:
        """Check the worker in; with an `error`, end the worker instead. Idempotent.

        Raises LeaseError during a call, that is, if another thread or a signal handler calls this method meanwhile.
        """
        ticket = self._ticket
        if ticket is None:
            return
        if self.busy and not self.for_one_call:
            raise LeaseError("this lease is in the middle of a call and cannot be ended now")
        try:
            self._pool.end(self, ticket, error)
        except BaseException as interrupt:
            self._pool.interrupted(ticket, interrupt)
            raise
        finally:
            self._ticket = None

    def let_go(self) -> None:
        """End the lease, whose worker the supervisor checks in when its responses have come."""
        self._ticket = None

    def require_mine(self) -> Ticket:
        """Return the ticket, even if the worker is gone. Raises LeaseError in a thread that did not open the lease."""
        if self.owner is not None and self.owner != threading.get_ident():
            raise LeaseError("this lease belongs to the thread that opened it; check out another one for this thread")
        return self.require_open()

    def require_open(self) -> Ticket:
        """Return the ticket, even if the worker is gone. Raises LeaseError after the lease has ended."""
        self._pool.require_owner()
        if self._ticket is None:
            raise LeaseError("this lease has ended; the worker may serve another client now")
        return self._ticket


class _ForeignThread:
    """A thread that `threading` did not start and whose end `threading` therefore does not notice."""

    __slots__ = ("_native_id",)

    def __init__(self) -> None:
        self._native_id = threading.get_native_id()

    def is_alive(self) -> bool:
        return Path(f"/proc/self/task/{self._native_id}").exists()


def _this_thread() -> Client:
    thread = threading.current_thread()
    return _ForeignThread() if isinstance(thread, threading._DummyThread) else thread


def _where() -> tuple[str, ...]:
    # Where this thread is, outside this package. Fast, because no source line is read.
    found: list[str] = []
    frame = sys._getframe(2)
    while frame is not None and len(found) < MOST_FRAMES:
        code = frame.f_code
        if not code.co_filename.startswith(_HERE):
            found.append(f"{code.co_filename}:{frame.f_lineno} in {code.co_name}")
        frame = frame.f_back  # type: ignore[assignment]
    return tuple(found)


class OpenLeases:
    """The open leases, and the records that the interpreter appends when a lease is lost."""

    def __init__(self) -> None:
        self.by_call: dict[int, Record] = {}
        self.lost: deque[Open] = deque()
        """Leases that were garbage-collected, appended by the interpreter."""
        self.dropped: deque[Callable[[], object]] = deque()
        """The postponed work of finalizers, which may run under the pool's lock."""
