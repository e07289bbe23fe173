"""A ticket: one call's place in the queue, and what it was given.

Knows nothing of workers' processes. Its state changes under the pool's lock only; waiting, and writing a request ahead
through the worker's door, happen outside it.

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

    `claim` has the request of a waiter that another client may write for it when it hands its worker over. Invariant:
    who pops it, which is one step of the interpreter, writes it; nobody else does. `ahead` is how many bytes the other
    client has written, and -1 until it has. Neither of the two may be a thread that signals interrupt.
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
    claim: list[bytearray] | None = None
    ahead: int = -1

    @property
    def worker_id(self) -> int | None:
        """The id of the worker that it owns."""
        return None if self.worker is None else self.worker.worker_id

    def write_ahead(self) -> None:
        """Write the request in its client's place; for the client that has offered it a worker, and wakes it then."""
        claim, worker = self.claim, self.worker
        if not claim or worker is None:
            return
        try:
            frame = claim.pop()
        except IndexError:
            return  # its own client was quicker
        written = 0
        try:
            written = worker.door.write_ahead(frame)
        finally:
            self.ahead = written

    def take_back(self) -> int:
        """From now on nobody else writes the request. How many bytes of it were written ahead."""
        claim = self.claim
        if claim is None:
            return 0
        try:
            claim.pop()
        except IndexError:
            assert self.gate is not None, "only a request that waits is claimed"
            while self.ahead < 0:  # it is just being written; after that comes `wake`
                self.gate.acquire()
            return self.ahead
        self.claim = None
        return 0

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
