"""The common steps of all calls of V2: get a worker, exchange with it, and leave its answers to the supervisor."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from poolproof.bridge import EventKind
from poolproof.bridge.errors import ProtocolError, Sent
from poolproof.bridge.wire.exchange import Steps, crashed, load, receive, share, take
from poolproof.bridge.wire.messages import Parcel, Response
from poolproof.pool_v2.calls.handoff import note_ahead, take_back
from poolproof.pool_v2.calls.io import ClientIo
from poolproof.pool_v2.core.ticket import Ticket, TicketState
from poolproof.pool_v2.running.abandoned import Abandoned, Record
from poolproof.pool_v2.running.runtime import Runtime

_ACCEPTED, _OFFERED, _WAITING = TicketState.ACCEPTED, TicketState.OFFERED, TicketState.WAITING
_SEND, _RECEIVE = EventKind.SEND, EventKind.RECEIVE
LOG_IS_FULL = "the log of its session is full"


def checkout(runtime: Runtime, io: ClientIo, ticket: Ticket, label: str, until: int, again: bool) -> Steps[None]:
    """Wait for a worker until `until` (ns, absolute). Afterwards the ticket is ACCEPTED; otherwise raises why not."""
    runtime.enter(ticket, again)
    while ticket.state is not _ACCEPTED:
        yield from io.wait(ticket, until)
        accept(runtime, ticket, label, until)


def accept(runtime: Runtime, ticket: Ticket, label: str, until: int) -> None:
    """Accept the ticket's offer after a wake-up: ACCEPTED, or still WAITING; otherwise raises the reason."""
    state, now = ticket.state, runtime.now_ns()
    if state is _OFFERED and ticket.deadline_ns > now:
        ticket.state = _ACCEPTED
    elif state is _WAITING and now < until:
        return  # a spurious wake-up
    else:
        runtime.settle(ticket, label)
    if runtime.log is not None:
        if written := take_back(ticket):
            note_ahead(ticket, runtime.log, written)
        else:
            runtime.log.note(EventKind.ACCEPT, ticket.call, ticket.worker_id)


def use(
    runtime: Runtime, io: ClientIo, ticket: Ticket, number: int, frame: bytearray, deadline: int
) -> Steps[Response]:
    """Exchange a request with the worker that the ticket holds."""
    worker, log = ticket.worker, runtime.log
    assert worker is not None, "only a ticket that owns a worker can use it"
    transport = worker.transport
    written = ahead = 0
    if ticket.written is not None:
        written = ahead = ticket.written[0] if ticket.written else take_back(ticket)
    if type(frame) is Parcel:
        frame = yield from load(io, transport, frame, deadline)
    elif transport.wants_memory and not ahead:
        yield from share(io, transport, deadline)
    size = len(frame)
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
            log.append((_SEND, log.now_ns(), number, worker.worker_id, worker.pid))
        if not ticket.reply or not transport.receiver.payloads:
            yield from io.read(transport, deadline)
        response = take(transport, number)
        if response is None:
            response = yield from receive(io, transport, number, deadline)
    except ProtocolError as error:
        raise (yield from crashed(io, transport, str(error))) from error
    if ticket.reply_pipe is not None:
        if transport.abandoned and transport.reply_pipe is None:  # the worker could not open the reply pipe
            runtime.replies.lost()
            ticket.reply_pipe = None
        transport.reply_pipe = None
    if transport.memory is not None:
        transport.memory.shrink()
    if log is not None:
        log.append((_RECEIVE, log.now_ns(), number, worker.worker_id, worker.pid))
    return response


def abandon(
    runtime: Runtime, ticket: Ticket, due: Iterable[int], *, parts: bool = False, record: Record | None = None
) -> bool:
    """Let the supervisor read the responses `due` (request ids) in place of the client, and check the worker in.

    See `Abandoned`. The ticket's deadline still ends the worker, and so does a response to another request, which was
    due when the call was broken off before its own one. Returns False, and does nothing, if no response is due.
    """
    worker = ticket.worker
    if worker is None or ticket.state is not _ACCEPTED or not worker.transport.dirty:
        return False
    runtime.supervisor.await_answers(Abandoned(ticket, list(due), partial(_answered, runtime), parts, record))
    runtime.open.by_call.pop(ticket.call, None)
    return True


def _answered(runtime: Runtime, call: Abandoned, failed: bool) -> None:
    ticket = call.ticket
    if failed:
        runtime.give_up(ticket, None)
    else:
        runtime.leave(ticket, reason="" if call.keep else LOG_IS_FULL)
    if ticket.session is not None:  # the session stays as long as a call of it holds a worker
        runtime.release_session(ticket.call, ticket.session, None)
