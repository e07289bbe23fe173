"""The steps that every way into V2 takes: have a worker, and exchange with it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bridge import EventKind
from bridge.clock import now_ns
from bridge.exchange import Steps, receive, send
from bridge.messages import Response
from pool_v2.handoff import take_back
from pool_v2.io import ClientIo
from pool_v2.runtime import Runtime
from pool_v2.ticket import Ticket, TicketState

_ACCEPTED = TicketState.ACCEPTED
_SEND, _RECEIVE = EventKind.SEND, EventKind.RECEIVE


def checkout(runtime: Runtime, io: ClientIo, ticket: Ticket, label: str, until: int, again: bool) -> Iterable[Any]:
    """Wait for a worker until `until` (ns, absolute). The ticket is ACCEPTED then, or it raises why not."""
    runtime.enter(ticket, again)
    return () if ticket.state is _ACCEPTED else _await_worker(runtime, io, ticket, label, until)


def _await_worker(runtime: Runtime, io: ClientIo, ticket: Ticket, label: str, until: int) -> Steps[None]:
    yield from io.wait(ticket, (until - now_ns()) / 1e9)
    runtime.take_offer(ticket, label)


def use(
    runtime: Runtime, io: ClientIo, ticket: Ticket, number: int, frame: bytearray, deadline: int
) -> Steps[Response]:
    """Exchange a request with the worker that the ticket holds."""
    worker, log = ticket.worker, runtime.log
    assert worker is not None, "only a ticket that owns a worker can use it"
    transport = worker.transport
    ahead = take_back(ticket) if ticket.queued_ns else 0
    yield from send(io, transport, frame, deadline, ahead)
    if log is not None and ahead != len(frame):
        log.append((_SEND, now_ns(), number, worker.worker_id, transport.pid))
    response = yield from receive(io, transport, number, deadline)
    if log is not None:
        log.append((_RECEIVE, now_ns(), number, worker.worker_id, transport.pid))
    return response
