"""The steps that every way into V2 takes: have a worker, and exchange with it."""

from __future__ import annotations

from bridge.clock import now_ns
from bridge.exchange import Steps, exchange
from bridge.messages import Response
from pool_v2.handoff import take_back
from pool_v2.io import ClientIo
from pool_v2.runtime import Runtime
from pool_v2.ticket import Ticket, TicketState

_ACCEPTED = TicketState.ACCEPTED


def checkout(runtime: Runtime, io: ClientIo, ticket: Ticket, label: str, until: int, *, again: bool) -> Steps[None]:
    """Wait for a worker until `until` (ns, absolute). The ticket is ACCEPTED then, or it raises why not."""
    runtime.enter(ticket, again=again)
    if ticket.state is not _ACCEPTED:
        yield from io.wait(ticket, (until - now_ns()) / 1e9)
        runtime.take_offer(ticket, label)


def use(
    runtime: Runtime, io: ClientIo, ticket: Ticket, number: int, frame: bytearray, deadline: int
) -> Steps[Response]:
    """Exchange a request with the worker that the ticket holds."""
    worker = ticket.worker
    assert worker is not None, "only a ticket that owns a worker can use it"
    ahead = take_back(ticket) if ticket.queued_ns else 0
    if ahead < len(frame):
        ticket.sent_ns = 0
    try:
        return (yield from exchange(io, worker.transport, number, frame, deadline, ticket, ahead))
    finally:
        runtime.exchanged(number, worker, ticket)
