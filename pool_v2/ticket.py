"""A ticket: one call's place in the queue, and what it was given.

Knows nothing of workers' processes. Its state changes under the pool's lock only; waiting happens outside it.

    NEW ─┬─> ACCEPTED                     a worker was idle
         ├─> WAITING ─┬─> OFFERED ─┬─> ACCEPTED
         │            │            └─> WITHDRAWN   the client left between hand-off and wake-up
         │            ├─> WITHDRAWN               the client left the queue
         │            └─> REFUSED                 the pool closed, or cannot start workers
         └─> REFUSED
"""

from __future__ import annotations

import threading
from enum import Enum, auto

from bridge import PoolError
from pool_v2.sessions import Session


class TicketState(Enum):
    """Where a ticket is on its way to a worker."""

    NEW = auto()
    WAITING = auto()
    OFFERED = auto()
    ACCEPTED = auto()
    WITHDRAWN = auto()
    REFUSED = auto()


class Ticket:
    """A call that wants a worker. `worker_id` is set exactly while the ticket owns one (OFFERED, ACCEPTED).

    Each waiter has a lock of its own to wait on, so that a hand-off wakes exactly the thread that it is for.
    """

    __slots__ = ("_gate", "call", "error", "session", "state", "worker_id")

    def __init__(self, call: int, session: Session | None = None) -> None:
        self.call = call
        self.session = session
        self.state = TicketState.NEW
        self.worker_id: int | None = None
        self.error: PoolError | None = None
        self._gate: threading.Lock | None = None

    def arm(self) -> None:
        """Make `wait` wait; before the ticket is put in the queue."""
        self._gate = threading.Lock()
        self._gate.acquire()

    def wake(self) -> None:
        """Let the waiting thread go on. At most once."""
        assert self._gate is not None, "a ticket that never waited is never woken"
        self._gate.release()

    def wait(self, timeout_s: float) -> bool:
        """Wait for `wake` at most `timeout_s` seconds; whether it came."""
        assert self._gate is not None, "only an armed ticket waits"
        return self._gate.acquire(timeout=timeout_s) if timeout_s > 0 else self._gate.acquire(blocking=False)
