"""A lease: one worker, held by one client for as long as a `with` block lasts.

    with pool.checkout("a command for the hooks") as worker:
        worker.execute("put", {"key": "k", "value": 1})

Rules
1. A worker has one lease at a time, and a lease one user: the thread that opened it. In another, `execute` raises
   LeaseError.
2. After its end a lease writes nothing; `execute` raises LeaseError.
3. If the block raises, the worker is ended and replaced, and the exception goes on unchanged. The same holds if the
   lease is dropped or its thread ends while it is open: then the pool finds it, and logs where it was opened.
4. If the worker ends first, by the lease's timeout or by itself, the pool takes its place back at once. `execute` then
   raises what has happened.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from poolproof.bridge import LeaseError, PoolError
from poolproof.pool_v2.core.ticket import Ticket
from poolproof.pool_v2.core.worker_table import NEVER_NS

MOST_FRAMES = 8
_HERE = str(Path(__file__).parents[1]) + os.sep


class Client(Protocol):
    """Who holds a worker: a thread, or a task on a loop."""

    def is_alive(self) -> bool:
        """Whether it may still give the worker back."""
        ...


class LeaseUse(Protocol):
    """What a lease asks of its pool."""

    def execute_blocking(
        self, lease: Lease, ticket: Ticket, command: str, args: dict[str, Any], timeout_s: float | None
    ) -> Any:  # noqa: ANN401 - any JSON value
        """One call on the lease's worker, in this thread."""
        ...

    def update(self, ticket: Ticket, message: Any) -> None:  # noqa: ANN401
        """Publish something to the worker's state."""
        ...

    def end(self, lease: Lease, ticket: Ticket, error: BaseException | None) -> None:
        """Give the worker back."""
        ...

    def interrupted(self, ticket: Ticket, interrupt: BaseException) -> None:
        """The end of the lease was broken off by this."""
        ...

    def require_owner(self) -> None:
        """Raise PoolClosed in a forked child."""
        ...


class Record(Protocol):
    """What the pool keeps of one that holds a worker, or will."""

    opened: tuple[str, ...]
    thread: Client
    ticket: Ticket


class Open(weakref.ref["Lease"]):
    """The pool's record of an open lease: its ticket, its thread, and where it was opened.

    When the lease is garbage-collected while it is open, this record is appended to a deque by the interpreter itself:
    a finalizer may run anywhere, under any lock, and so may do no more.
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
    """What `PoolV2.checkout` gives: the worker that this client holds. `client` is what the checkout hook gave it.

    `owner` is the thread that alone may use it (None: the lease's maker sees to that), `deadline_ns` its end.
    `busy` says, under the pool's lock, that the owner may be at the worker's descriptors; otherwise a worker that has
    ended is taken back, and `fate` makes the error that `execute` raises then. `for_one_call`: an error of the pool
    that ends the block is the call's, and costs a clean worker nothing. `counted`: its calls count in the statistics.
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
        """Whether its client has given the worker back."""
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
        """Run one command on this worker; the result verbatim.

        `timeout_s` (30 by default) bounds the call, and the lease's own timeout does too. Raises as PoolV2.execute
        does, and LeaseError; after CallTimeout or WorkerCrashed the worker is gone and the lease useless.
        """
        return self._pool.execute_blocking(self, self.require_mine(), command, args or {}, timeout_s)

    def update(self, message: Any) -> None:  # noqa: ANN401
        """Publish something to the worker's state, by the behaviour's `update`. Raises HookError and LeaseError."""
        self._pool.update(self.require_mine(), message)

    def require_ticket(self) -> Ticket:
        """The ticket that holds the worker. Raises LeaseError after the end, and what the worker's own end was."""
        ticket = self.require_open()
        if ticket.worker is None:
            raise self.lost()
        return ticket

    def lost(self) -> PoolError:
        """The error that says why the worker is gone."""
        return LeaseError("this lease has lost its worker") if self.fate is None else self.fate()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(error)

    def end(self, error: BaseException | None = None) -> None:
        """Check the worker in; with an `error` it is ended instead. Idempotent.

        Raises LeaseError in the middle of a call, which another thread or a signal's handler may have come into.
        """
        ticket = self._ticket
        if ticket is None:
            return
        if self.busy and not self.for_one_call:
            raise LeaseError("this lease is in the middle of a call, and cannot be ended now")
        try:
            self._pool.end(self, ticket, error)
        except BaseException as interrupt:
            self._pool.interrupted(ticket, interrupt)
            raise
        finally:
            self._ticket = None

    def require_mine(self) -> Ticket:
        """`require_ticket` for the thread that opened the lease, even if the worker is gone. Raises LeaseError."""
        if self.owner is not None and self.owner != threading.get_ident():
            raise LeaseError("this lease belongs to the thread that opened it; check out another one for this thread")
        return self.require_open()

    def require_open(self) -> Ticket:
        """The ticket, whatever has become of its worker. Raises LeaseError after the end."""
        self._pool.require_owner()
        if self._ticket is None:
            raise LeaseError("this lease has ended; the worker belongs to somebody else")
        return self._ticket


class _ForeignThread:
    """A thread that `threading` did not start, and so cannot tell the end of."""

    __slots__ = ("_native_id",)

    def __init__(self) -> None:
        self._native_id = threading.get_native_id()

    def is_alive(self) -> bool:
        return Path(f"/proc/self/task/{self._native_id}").exists()


def _this_thread() -> Client:
    thread = threading.current_thread()
    return _ForeignThread() if isinstance(thread, threading._DummyThread) else thread


def _where() -> tuple[str, ...]:
    # Where this thread is, outside this package: cheap, since no source line is read.
    found: list[str] = []
    frame = sys._getframe(2)
    while frame is not None and len(found) < MOST_FRAMES:
        code = frame.f_code
        if not code.co_filename.startswith(_HERE):
            found.append(f"{code.co_filename}:{frame.f_lineno} in {code.co_name}")
        frame = frame.f_back  # type: ignore[assignment]
    return tuple(found)
