"""How a client waits: what differs between a thread and a task. The path of a call is the same (`pool_v2.calls`)."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from threading import get_ident
from typing import Any, Protocol

from bridge.channel import Blocking
from bridge.exchange import Io
from pool_v2.lease import Open
from pool_v2.sessions import Session
from pool_v2.ticket import Ticket


class ClientIo(Io, Protocol):
    """How a client waits for its worker's pipes, and for a worker."""

    def ticket(self, number: int, session: Session | None, deadline_ns: int, request: bytearray | None) -> Ticket:
        """A ticket of the current client."""
        ...

    def wait(self, ticket: Ticket, timeout_s: float) -> Iterable[Any]:
        """Wait until somebody wakes the ticket, at most `timeout_s` seconds."""
        ...

    def own(self, record: Open) -> None:
        """Make the current client the owner of this lease's record."""
        ...


class ThreadTicket(Ticket, kw_only=True):
    """A ticket whose client is a thread, which waits on a lock of its own: a hand-off wakes exactly that thread."""

    gate: threading.Lock | None = None

    def arm(self) -> None:
        """Make its client's next wait last until `wake`."""
        Ticket.arm(self)
        self.gate = threading.Lock()
        self.gate.acquire()

    def wake(self) -> None:
        """Let the waiting thread go on. From any thread; a second time changes nothing."""
        gate = self.gate
        if gate is not None:
            try:
                gate.release()
            except RuntimeError:
                pass  # it goes on already


class ThreadIo(Blocking):
    """How a thread waits: each wait is over when it was made."""

    def ticket(self, number: int, session: Session | None, deadline_ns: int, request: bytearray | None) -> Ticket:
        """A ticket of the current thread."""
        return ThreadTicket(number, session, deadline_ns, get_ident(), request)

    def wait(self, ticket: Ticket, timeout_s: float) -> Iterable[Any]:
        """Wait until somebody wakes the ticket, at most `timeout_s` seconds."""
        assert isinstance(ticket, ThreadTicket), "a thread waits for a ticket of its own"
        assert ticket.gate is not None, "only an armed ticket waits"
        if timeout_s > 0:
            ticket.gate.acquire(timeout=min(timeout_s, threading.TIMEOUT_MAX))
        else:
            ticket.gate.acquire(blocking=False)
        return ()

    def own(self, record: Open) -> None:
        """The record is of the current thread from the beginning."""


THREAD = ThreadIo()
