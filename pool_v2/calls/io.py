"""How a client waits: what differs between a thread and a task. The path of a call is the same
(`poolproof.pool_v2.calls.calls`)."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from typing import Any, Protocol

from poolproof.bridge.clock import now_ns, remaining_s
from poolproof.bridge.processes.channel import READ_BYTES, Blocking
from poolproof.bridge.wire.exchange import Io
from poolproof.bridge.wire.transport import ReplyEnd
from poolproof.pool_v2.calls.lease import Open
from poolproof.pool_v2.core.sessions import Session
from poolproof.pool_v2.core.ticket import Ticket

WATCHED_NS = 2_000_000_000
"""A thread's wait of more than this is the supervisor's to end, which looks more often: a timer a call costs more."""


class ClientIo(Io, Protocol):
    """How a client waits for its worker's pipes, and for a worker. `may_sleep`: at a reply pipe, too."""

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
        """A ticket of the current client, whose wait ends at `until_ns`."""
        ...

    def wait(self, ticket: Ticket, until_ns: int) -> Iterable[Any]:
        """Wait until somebody wakes the ticket, at most until `until_ns`; for nothing now and then."""
        ...

    def own(self, record: Open) -> None:
        """Make the current client the owner of this lease's record."""
        ...


class ThreadTicket(Ticket):
    """A ticket whose client is a thread, which waits at its reply pipe, or on a lock of its own if it has none."""

    gate: threading.Lock | None = None

    def arm(self) -> None:
        """Make its client's next wait last until `wake`."""
        if self.reply_pipe is None:
            gate = self.gate = threading.Lock()
            gate.acquire()
        if self.request is not None:
            self.written = []
            self.claim = [self.request]

    def wake(self) -> None:
        """Let the waiting thread go on. From any thread; a second time changes nothing."""
        gate, pipe = self.gate, self.reply_pipe
        if pipe is not None:
            pipe.poke()
        elif gate is not None:
            try:
                gate.release()
            except RuntimeError:
                pass  # it goes on already


class ThreadIo(Blocking):
    """How a thread waits: each wait is over when it was made."""

    ticket = ThreadTicket
    may_sleep = True

    def wait(self, ticket: Ticket, until_ns: int) -> Iterable[Any]:
        """Wait until somebody wakes the ticket, at most until `until_ns`; for nothing now and then."""
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
        """The record is of the current thread from the beginning."""


THREAD = ThreadIo()
