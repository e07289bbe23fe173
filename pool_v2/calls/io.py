"""How a client waits: the only difference between a thread and a task.

The path of a call is the same for both (`poolproof.pool_v2.calls.calls`).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from typing import Any, Protocol

from poolproof.bridge.clock import now_ns, remaining_s
from poolproof.bridge.processes.blocking import Blocking
from poolproof.bridge.processes.handshake import READ_BYTES
from poolproof.bridge.wire.exchange import Io
from poolproof.bridge.wire.transport import ReplyEnd
from poolproof.pool_v2.calls.lease import Open
from poolproof.pool_v2.core.sessions import Session
from poolproof.pool_v2.core.ticket import Ticket

WATCHED_NS = 2_000_000_000
"""The supervisor, not a timer, ends a thread's wait that is longer than this: a timer per call costs more."""


class ClientIo(Io, Protocol):
    """How a client waits for a worker and for a worker's pipes. `may_sleep`: also at a reply pipe."""

    may_sleep: bool

    def ticket(
        self,
        call: int,
        session: Session | None,
        deadline_ns: int,
        until_ns: int,
        thread_id: int,
        request: bytearray | None,
        reply_pipe: ReplyEnd | None = None,
    ) -> Ticket:
        """Create a ticket of the current client, whose wait ends at `until_ns`."""
        ...

    def wait(self, ticket: Ticket, until_ns: int) -> Iterable[Any]:
        """Wait until the ticket is woken, at most until `until_ns`. May return early."""
        ...

    def own(self, record: Open) -> None:
        """Make the current client the owner of this lease record."""
        ...


class ThreadTicket(Ticket):
    """A ticket whose client is a thread. The thread waits at its reply pipe or, if it has none, on its own lock."""

    gate: threading.Lock | None = None

    def arm(self) -> None:
        """Prepare the ticket: the client's next wait lasts until `wake`."""
        if self.reply_pipe is None:
            gate = self.gate = threading.Lock()
            gate.acquire()
        if self.request is not None:
            self.written = []
            self.claim = [self.request]

    def wake(self) -> None:
        """Let the waiting thread continue. May be called from any thread. A second call has no effect."""
        gate, pipe = self.gate, self.reply_pipe
        if pipe is not None:
            pipe.poke()
        elif gate is not None:
            try:
                gate.release()
            except RuntimeError:
                pass  # the thread continues already


class ThreadIo(Blocking):
    """How a thread waits: each function blocks until the wait is over."""

    ticket = ThreadTicket
    may_sleep = True

    def wait(self, ticket: Ticket, until_ns: int) -> Iterable[Any]:
        """Wait until the ticket is woken, at most until `until_ns`. May return early."""
        if ticket.reply_pipe is not None:
            if until_ns - ticket.queued_ns > WATCHED_NS or ticket.reply_pipe.ready(remaining_s(until_ns)):
                ticket.reply = os.read(ticket.reply_pipe.fd, READ_BYTES)
            return ()
        gate = ticket.gate  # type: ignore[attr-defined]
        if until_ns - ticket.queued_ns > WATCHED_NS:
            gate.acquire()
        else:
            gate.acquire(timeout=max(until_ns - now_ns(), 0) / 1e9)
        return ()

    def own(self, record: Open) -> None:
        """Do nothing: the record already belongs to the current thread."""


THREAD = ThreadIo()
