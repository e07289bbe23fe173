"""A ticket: one client's place in the queue, and the worker that it got.

Pure: waiting and writing happen elsewhere. A ticket's state changes under the pool's lock, with one exception: a client
accepts an offered worker without the lock, because no other thread changes an offer while the client lives.

    NEW ─┬─> ACCEPTED                     a worker was idle
         ├─> WAITING ─┬─> OFFERED ─┬─> ACCEPTED    the client woke
         │            │            └─> WITHDRAWN   the client left between grant and wake-up
         │            ├─> WITHDRAWN               the client left the queue
         │            └─> REFUSED                 the pool closed, or cannot start workers
         └─> REFUSED
"""

from __future__ import annotations

from enum import Enum, auto

import msgspec

from poolproof.bridge import PoolError
from poolproof.bridge.wire.transport import ReplyEnd
from poolproof.pool_v2.core.sessions import Session
from poolproof.pool_v2.core.worker_table import Worker


class TicketState(Enum):
    """The state of a ticket."""

    NEW = auto()
    WAITING = auto()
    OFFERED = auto()
    ACCEPTED = auto()
    WITHDRAWN = auto()
    REFUSED = auto()


class Ticket(msgspec.Struct, eq=False):
    """A client's request for a worker. `worker` is set exactly while the ticket owns one (OFFERED, ACCEPTED).

    At `deadline_ns` the ticket's worker is ended. At `until_ns` the supervisor ends the wait if the client does not.
    `thread_id` is the waiting thread. `entered_ns` is when the client asked for a worker, `queued_ns` when the ticket
    entered the queue; 0 if it never did.

    `request` is a frame that the thread which grants a worker may write for this client. While the client waits,
    `claim` holds the frame. Invariant: only the thread that pops the frame (an atomic step) writes it. In the same step
    `written` gets the number of written bytes, 0 if the client itself popped the frame. `ahead_ns` is when another
    thread began to write, until the client has noted this for the observer. If the request names a `reply_pipe`, the
    client sleeps there until its response wakes it: `reply` has the received bytes.
    """

    call: int
    session: Session | None = None
    deadline_ns: int = 2**63
    until_ns: int = 2**63
    thread_id: int = 0
    request: bytearray | None = None
    reply_pipe: ReplyEnd | None = None
    reply: bytes = b""
    claim: list[bytearray] | None = None
    written: list[int] | None = None
    ahead_ns: int = 0
    state: TicketState = TicketState.NEW
    worker: Worker | None = None
    error: PoolError | None = None
    entered_ns: int = 0
    queued_ns: int = 0

    @property
    def worker_id(self) -> int | None:
        """The id of the worker that the ticket owns, or None."""
        return None if self.worker is None else self.worker.worker_id

    def arm(self) -> None:
        """Prepare the ticket: the client's next wait lasts until `wake`. Called before the ticket enters the queue."""
        if self.request is not None:
            self.written = []
            self.claim = [self.request]

    def outlives(self, error: BaseException) -> bool:
        """Return whether the pool shall wait for the response of a call that `error` has ended, and keep the worker."""
        return False

    def wake(self) -> None:
        """Let the waiting client continue. May be called from any thread. A second call has no effect."""
