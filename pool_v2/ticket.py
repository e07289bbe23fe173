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

import msgspec

from bridge import PoolError
from pool_v2.roster import Worker
from pool_v2.sessions import Session


class TicketState(Enum):
    """Where a ticket is on its way to a worker."""

    NEW = auto()
    WAITING = auto()
    OFFERED = auto()
    ACCEPTED = auto()
    WITHDRAWN = auto()
    REFUSED = auto()


class Ticket(msgspec.Struct, eq=False):
    """A call that wants a worker. `worker` is set exactly while the ticket owns one (OFFERED, ACCEPTED).

    `deadline_ns` is when its worker is ended, `thread_id` who waits, `queued_ns` since when. Each waiter has a lock of
    its own to wait on, so that a hand-off wakes exactly the thread that it is for.
    """

    call: int
    session: Session | None = None
    deadline_ns: int = 2**63
    thread_id: int = 0
    state: TicketState = TicketState.NEW
    worker: Worker | None = None
    error: PoolError | None = None
    gate: threading.Lock | None = None
    queued_ns: int = 0

    @property
    def worker_id(self) -> int | None:
        """The id of the worker that it owns."""
        return None if self.worker is None else self.worker.worker_id

    def arm(self) -> None:
        """Make `wait` wait; before the ticket is put in the queue."""
        gate = self.gate = threading.Lock()
        gate.acquire()

    def wake(self) -> None:
        """Let the waiting thread go on. A second time changes nothing."""
        if self.gate is not None:
            try:
                self.gate.release()
            except RuntimeError:
                pass  # it was woken already

    def wait(self, timeout_s: float) -> bool:
        """Wait for `wake` at most `timeout_s` seconds; whether it came."""
        assert self.gate is not None, "only an armed ticket waits"
        return self.gate.acquire(timeout=timeout_s) if timeout_s > 0 else self.gate.acquire(blocking=False)
