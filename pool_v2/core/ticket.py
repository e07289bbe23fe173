"""A ticket: one client's place in the queue, and the worker that it was given.

Pure: whoever waits, or writes to a worker, does so elsewhere. A ticket's state changes under the pool's lock, but for
one step: a client that was offered a worker takes it without the lock, for nobody else changes an offer whose client
lives.

    NEW ─┬─> ACCEPTED                     a worker was idle
         ├─> WAITING ─┬─> OFFERED ─┬─> ACCEPTED    the client woke
         │            │            └─> WITHDRAWN   the client left between hand-off and wake-up
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
    """Where a ticket is on its way to a worker."""

    NEW = auto()
    WAITING = auto()
    OFFERED = auto()
    ACCEPTED = auto()
    WITHDRAWN = auto()
    REFUSED = auto()


class Ticket(msgspec.Struct, eq=False):
    """A client that wants a worker. `worker` is set exactly while the ticket owns one (OFFERED, ACCEPTED).

    `deadline_ns` is when its worker is ended, `until_ns` when the supervisor ends its wait if its client does not,
    `thread_id` who waits, `queued_ns` since when, or 0 if it never did.

    `request` is a frame that whoever hands a worker to this client may write for it. While the client waits, `claim`
    holds it. Invariant: who pops it, which is one step of the interpreter, writes it, and nobody else does; in that
    same step `written` gets how many bytes were written, 0 if the client popped it itself. If the request names a
    `reply_pipe`, its client sleeps there, and is woken by its answer: `reply` is what has come.
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
    state: TicketState = TicketState.NEW
    worker: Worker | None = None
    error: PoolError | None = None
    queued_ns: int = 0

    @property
    def worker_id(self) -> int | None:
        """The id of the worker that it owns."""
        return None if self.worker is None else self.worker.worker_id

    def arm(self) -> None:
        """Make its client's next wait last until `wake`. Called before the ticket is put in the queue."""
        if self.request is not None:
            self.written = []
            self.claim = [self.request]

    def wake(self) -> None:
        """Let its client go on. From any thread; a second time changes nothing."""
