"""The steps that every way into V2 takes: have a worker, and exchange with it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bridge import EventKind
from bridge.clock import now_ns
from bridge.errors import ProtocolError, Sent
from bridge.exchange import Steps, crashed, receive, take
from bridge.messages import Response
from pool_v2.handoff import take_back
from pool_v2.io import ClientIo
from pool_v2.runtime import Runtime
from pool_v2.ticket import Ticket, TicketState

_ACCEPTED, _OFFERED, _WAITING = TicketState.ACCEPTED, TicketState.OFFERED, TicketState.WAITING
_SEND, _RECEIVE = EventKind.SEND, EventKind.RECEIVE


def checkout(runtime: Runtime, io: ClientIo, ticket: Ticket, label: str, until: int, again: bool) -> Iterable[Any]:
    """Wait for a worker until `until` (ns, absolute). The ticket is ACCEPTED then, or it raises why not."""
    runtime.enter(ticket, again)
    return () if ticket.state is _ACCEPTED else await_worker(runtime, io, ticket, label, until)


def await_worker(runtime: Runtime, io: ClientIo, ticket: Ticket, label: str, until: int) -> Steps[None]:
    """The part of `checkout` for a client that has to wait."""
    yield from io.wait(ticket, until)
    while ticket.state is _WAITING and now_ns() < until:  # it was woken for nothing
        yield from io.wait(ticket, until)
    if ticket.state is _OFFERED and ticket.deadline_ns > now_ns():
        ticket.state = _ACCEPTED
    else:
        runtime.settle(ticket, label)
    if runtime.log is not None and not take_back(ticket):  # else its writer has noted this
        runtime.log.note(EventKind.ACCEPT, ticket.call, ticket.worker_id)


def use(
    runtime: Runtime, io: ClientIo, ticket: Ticket, number: int, frame: bytearray, deadline: int
) -> Steps[Response]:
    """Exchange a request with the worker that the ticket holds."""
    worker, log = ticket.worker, runtime.log
    assert worker is not None, "only a ticket that owns a worker can use it"
    transport, size = worker.transport, len(frame)
    written = ahead = take_back(ticket) if ticket.claim is not None else 0
    transport.dirty = True
    if ticket.reply_pipe is not None:
        transport.reply_pipe = ticket.reply_pipe
        if ticket.reply:
            transport.take_reply(ticket.reply)
    try:
        if not ahead:
            written = transport.write_some(frame)
        if written != size:
            yield from io.write(transport, memoryview(frame)[written:], Sent.MAYBE if written else Sent.NO, deadline)
        if log is not None and ahead != size:
            log.append((_SEND, now_ns(), number, worker.worker_id, worker.pid))
        if not ticket.reply or not transport.receiver.payloads:
            yield from io.read(transport, deadline)
        response = take(transport, number)
        if response is None:
            response = yield from receive(io, transport, number, deadline)
    except ProtocolError as error:
        raise (yield from crashed(io, transport, str(error))) from error
    if ticket.reply_pipe is not None:
        if transport.abandoned and transport.reply_pipe is None:  # the worker could not open it
            runtime.replies.lost()
            ticket.reply_pipe = None
        transport.reply_pipe = None
    if log is not None:
        log.append((_RECEIVE, now_ns(), number, worker.worker_id, worker.pid))
    return response
