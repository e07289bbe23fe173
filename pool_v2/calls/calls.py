"""The path of a call through V2, written once: for threads and tasks, with or without a session, observed or not.

    encode → under the lock, get a worker or a place in the queue → wait for the ticket → write and read, in the
    client's own thread or task → under the lock, return the worker or grant it to the next ticket → write that
    ticket's request.

Each function is a generator of the waits on this path (`poolproof.bridge.wire.exchange`); `io` defines how the client
waits.
"""

from __future__ import annotations

from threading import get_ident
from typing import Any

from msgspec import UNSET

from poolproof.bridge import CommandError, PoolError
from poolproof.bridge.wire.exchange import Steps
from poolproof.bridge.wire.messages import Response, encode_request, session_args
from poolproof.bridge.wire.replies import ReplyPipe
from poolproof.pool_v2.calls.handover import Handover, as_change
from poolproof.pool_v2.calls.io import ClientIo
from poolproof.pool_v2.calls.lease import Lease
from poolproof.pool_v2.calls.leases import Leases
from poolproof.pool_v2.calls.transfer import abandon, accept, use
from poolproof.pool_v2.core.accounts import IN_FLIGHT, MOST_UNCOUNTED
from poolproof.pool_v2.core.sessions import CLEAN_UP, Session, StateChange
from poolproof.pool_v2.core.ticket import Ticket, TicketState
from poolproof.pool_v2.running.hooks import describe
from poolproof.pool_v2.running.runtime import Runtime

_ACCEPTED = TicketState.ACCEPTED


class Calls:
    """Makes single calls. Every method may be used in any thread, and on any loop."""

    def __init__(self, runtime: Runtime, leases: Leases, handover: Handover) -> None:
        self._runtime = runtime
        self._leases = leases
        self._handover = handover

    def execute(
        self,
        io: ClientIo,
        command: str,
        args: dict[str, Any],
        session_id: str | None,
        deadline: int,
        until: int,
        *,
        own: bool = False,
    ) -> Steps[Any]:
        """Make one call with one outcome: return the result, or raise an error of the pool interface.

        `deadline` (for the whole call) and `until` (for the wait for a worker) are absolute, in nanoseconds. A call of
        the pool's `own` counts in no statistics.
        """
        runtime = self._runtime
        number = next(runtime.ids)
        calls = runtime.accounts.own if own else runtime.accounts.calls
        calls[number] = IN_FLIGHT
        session: Session | None = None
        change: StateChange | None = None
        pipe: ReplyPipe | None = None
        outcome, failure, again = "Cancelled", None, False
        try:
            if runtime.log is not None:
                runtime.log.enqueued(number)
            if session_id is not None:
                args = session_args(args, session_id)
            if session_id is None and io.may_sleep and runtime.replies.free and not runtime.hooks.active:
                pipe = runtime.replies.take()
            frame = encode_request(
                number,
                command,
                args,
                limit_bytes=runtime.limit_bytes,
                reply_to=UNSET if pipe is None else pipe.number,
                takes_buffers=runtime.abilities.takes_buffers,
                share=runtime.abilities.most_kept_bytes > 0 and command not in runtime.config.state_commands,
            )
            if session_id is not None:
                if command in runtime.config.state_commands:
                    change = as_change(command, frame)
                with runtime.lock:
                    session = runtime.coordinator.sessions.begin(session_id, number)
            if runtime.hooks.active:
                response = yield from self._with_hooks(io, number, frame, command, session, change, deadline, until)
            else:
                while True:  # again only if the worker was found dead before it got a byte
                    # A session's worker may need a handover first, and a parcel its worker's memory.
                    ahead = frame if session is None and type(frame) is bytearray else None
                    ticket = io.ticket(number, session, deadline, until, get_ident(), ahead, pipe)
                    try:
                        runtime.enter(ticket, again)
                        while ticket.state is not _ACCEPTED:  # as in `checkout`, without a generator of its own
                            yield from io.wait(ticket, until)
                            accept(runtime, ticket, command, until)
                        if session is None:
                            response = yield from use(runtime, io, ticket, number, frame, deadline)
                        else:
                            response = yield from self._handover.use(
                                io, ticket, number, frame, command, change, deadline
                            )
                        runtime.leave(ticket)
                        if pipe is not None:
                            if ticket.reply_pipe is not None:
                                runtime.replies.free.append(pipe)
                            pipe = ticket.reply_pipe = None  # otherwise an error that is kept would keep the pipe
                        elif ahead is not None and ticket.queued_ns and io.may_sleep:
                            runtime.replies.lacking()
                        break
                    except BaseException as error:
                        try:
                            if not (ticket.outlives(error) and self._outlived(ticket, command, change, len(frame))):
                                runtime.give_up(ticket, error, reason=_reason(ticket, error))
                        except BaseException:  # an interrupt came during the cleanup itself
                            runtime.supervisor.abandon(ticket)
                            raise
                        if not runtime.may_go_elsewhere(error, until):
                            pipe = None  # a response might still arrive through the pipe
                            raise
                        again = True
            if not response.success:
                raise CommandError(str(response.error))
            outcome = "result"
            return response.result
        except PoolError as error:
            told = runtime.told(error)
            outcome = type(told).__name__
            try:
                if told is not error:
                    raise told from error
                raise
            finally:
                del told  # otherwise the error's traceback would keep a reference to the error and the ticket
        except BaseException as error:
            failure = type(error)
            raise
        finally:
            try:  # the order matters: a session without a call in flight may expire
                if session is not None:
                    runtime.release_session(number, session, failure)
                if runtime.log is not None:
                    runtime.tell_done(number, outcome)
            finally:
                calls[number] = outcome  # an atomic step: an interrupt may come during any function call
            if len(calls) > MOST_UNCOUNTED:
                runtime.tidy(failure)

    def _outlived(self, ticket: Ticket, command: str, change: StateChange | None, size_bytes: int) -> bool:
        # Returns whether the supervisor awaits the response of this abandoned call.
        record = None
        if ticket.session is not None and ticket.worker is not None:
            record = self._handover.remember_abandoned(ticket, command, change, size_bytes)
        return abandon(self._runtime, ticket, [ticket.call], record=record)

    def expire_session(self, io: ClientIo, session_id: str) -> Steps[bool]:
        """`end_session` by the pool itself, in the one thread that does this."""
        try:
            return (yield from self.end_session(io, session_id, own=True))
        finally:
            self._runtime.accounts.own.clear()

    def end_session(self, io: ClientIo, session_id: str, *, own: bool = False) -> Steps[bool]:
        """Forget the session, on its worker and in the table. Returns False if the session did not exist."""
        runtime = self._runtime
        with runtime.lock:
            session = runtime.coordinator.sessions.get(session_id)
            if session is None:
                return False
        try:
            limit = runtime.clock.deadline_ns(runtime.limit_s(None))
            until = min(limit, runtime.clock.deadline_ns(runtime.wait_s(None)))
            yield from self.execute(io, CLEAN_UP, {}, session_id, limit, until, own=own)
        except PoolError as error:
            self._handover.forget(session, error)
        return True

    def _with_hooks(
        self,
        io: ClientIo,
        number: int,
        frame: bytearray,
        command: str,
        session: Session | None,
        change: StateChange | None,
        deadline: int,
        until: int,
    ) -> Steps[Response]:
        # The call of an application with hooks: the hooks see a lease for the duration of the call.
        runtime, again = self._runtime, False
        enqueued = runtime.hooks.enqueue(command)
        while True:
            lease: Lease | None = None
            try:
                lease = yield from self._leases.open(
                    io, number, enqueued, session, deadline, until, again=again, enqueued=True, for_one_call=True
                )
                ticket = lease.require_ticket()
                if session is None:
                    response = yield from use(runtime, io, ticket, number, frame, deadline)
                else:
                    response = yield from self._handover.use(io, ticket, number, frame, command, change, deadline)
            except BaseException as error:
                if lease is not None:  # otherwise the worker ended in the checkout hook
                    lease.end(error)
                if not runtime.may_go_elsewhere(error, until):
                    raise
                again = True
            else:
                lease.end()
                return response


def _reason(ticket: Ticket, error: BaseException) -> str:
    # If a session's call was interrupted, no client acknowledged its effects, so the worker is ended with that state.
    if ticket.session is None or ticket.state is not _ACCEPTED or isinstance(error, PoolError):
        return ""
    return describe(error)
