"""The extra steps of a session's call: before the exchange the handover, after it the record of the change.

The handover repeats on the worker what it lacks of the session. The coordinator decides which client gets which worker.
"""

from __future__ import annotations

import itertools

from poolproof.bridge import CommandError, InvalidRequest, PoolError, Sent, SessionLost, SessionStatus, WorkerCrashed
from poolproof.bridge.errors import ProtocolError
from poolproof.bridge.wire.exchange import Steps, exchange
from poolproof.bridge.wire.framing import HEADER_BYTES
from poolproof.bridge.wire.messages import Response, decode_request, encode_request
from poolproof.pool_v2.calls.io import ClientIo
from poolproof.pool_v2.calls.transfer import use
from poolproof.pool_v2.core.sessions import CLEAN_UP, MOST_HANDOVER_FAILURES, Session, StateChange
from poolproof.pool_v2.core.ticket import Ticket
from poolproof.pool_v2.core.worker_table import Worker
from poolproof.pool_v2.running.abandoned import Record
from poolproof.pool_v2.running.runtime import Runtime

STATUSES_AT_ONCE = 256


class Handover:
    """Keeps the sessions of one pool. Every method may be used in any thread, and on any loop."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._limit_bytes = runtime.config.max_frame_bytes
        self._log_bytes = runtime.config.session_log_bytes

    def use(
        self,
        io: ClientIo,
        ticket: Ticket,
        number: int,
        frame: bytearray,
        command: str,
        change: StateChange | None,
        deadline: int,
    ) -> Steps[Response]:
        """Send the request of the ticket's session to the worker that the ticket holds, and receive the response."""
        yield from self.hand_over(io, ticket, deadline)
        worker = ticket.worker
        response = yield from use(self._runtime, io, ticket, number, frame, deadline)
        assert worker is not None
        yield from self.remember(io, ticket, worker, command, response, change, len(frame), deadline)
        return response

    def hand_over(self, io: ClientIo, ticket: Ticket, deadline: int) -> Steps[None]:
        """Repeat on the ticket's worker what it lacks of the session. The lease makes the caller its only user."""
        runtime, session, worker = self._runtime, ticket.session, ticket.worker
        assert session is not None
        assert worker is not None
        with runtime.lock:
            changes = session.lacks(worker.worker_id)
        if session.lost:
            raise self._session_lost(session)
        if not changes:
            return
        try:
            for change in changes:
                number = next(runtime.ids)
                frame = encode_request(number, change.command, change.args, limit_bytes=self._limit_bytes)
                response = yield from exchange(io, worker.transport, number, frame, deadline)
                if not response.success:
                    session.lost = (
                        f"replaying the session on another worker failed at {change.command!r}: {response.error}"
                    )
                    raise self._session_lost(session)
            with runtime.lock:
                session.met(worker.worker_id)
        except BaseException as error:
            worker.transport.dirty = True  # an incomplete handover leaves a partial state
            if isinstance(error, InvalidRequest):
                session.lost = f"the session cannot be handed over to another worker: {error}"
                raise self._session_lost(session) from error
            if isinstance(error, WorkerCrashed):
                session.failures += 1
                if session.failures >= MOST_HANDOVER_FAILURES:
                    session.lost = (
                        f"replaying the session has ended {session.failures} workers; the last error: {error.message}"
                    )
                    raise self._session_lost(session) from error
            if isinstance(error, PoolError):
                error.sent = Sent.NO  # only the repeated changes were sent, not the call itself
            raise

    def remember(
        self,
        io: ClientIo,
        ticket: Ticket,
        worker: Worker,
        command: str,
        response: Response,
        change: StateChange | None,
        size_bytes: int,
        deadline: int,
    ) -> Steps[None]:
        """Count the answered call of the session, and record its state change; a clean-up ends the session."""
        session = ticket.session
        assert session is not None
        with self._runtime.lock:
            full = self._note(session, worker, command, response, change, size_bytes)
        if full:
            base, base_bytes = yield from self._snapshot(io, session, worker, deadline)
            with self._runtime.lock:
                session.condense(base, base_bytes, limit_bytes=self._log_bytes)

    def remember_abandoned(self, ticket: Ticket, command: str, change: StateChange | None, size_bytes: int) -> Record:
        """Return the `remember` of a call that its client has abandoned, for `transfer.abandon`.

        The change is recorded as if the client had its answer: whether an abandoned call is executed, nobody was told,
        and the worker that has executed it serves the session on. A snapshot would be another call, so the log may
        exceed its limit by one such change until the next answered call; a further one ends the worker, unrecorded.
        """
        session, worker = ticket.session, ticket.worker
        assert session is not None
        assert worker is not None

        def record(response: Response) -> bool:
            with self._runtime.lock:
                if change is not None and session.log is not None and session.log_bytes > self._log_bytes:
                    return False
                self._note(session, worker, command, response, change, size_bytes)
            return True

        return record

    def _note(
        self,
        session: Session,
        worker: Worker,
        command: str,
        response: Response,
        change: StateChange | None,
        size_bytes: int,
    ) -> bool:
        # Under the lock. Returns whether the log is full.
        session.operations += 1
        session.failures = 0
        session.answered(worker.worker_id)
        if command == CLEAN_UP and response.success:  # during the lease, so that no other call comes between
            self._runtime.coordinator.sessions.end(session.session_id, cleaned_on=worker.worker_id)
        elif change is not None and response.success:
            return session.changed(change, size_bytes, worker.worker_id, limit_bytes=self._log_bytes)
        return False

    def _snapshot(
        self, io: ClientIo, session: Session, worker: Worker, deadline: int
    ) -> Steps[tuple[StateChange | None, int]]:
        # Returns the worker's snapshot as a change that replaces the whole log, and its size; None if there is no
        # snapshot.
        if self._runtime.config.snapshot_commands is None:
            return None, 0
        take, restore = self._runtime.config.snapshot_commands
        number = next(self._runtime.ids)
        try:
            frame = encode_request(number, take, {"session_id": session.session_id}, limit_bytes=self._limit_bytes)
            response = yield from exchange(io, worker.transport, number, frame, deadline)
            if not response.success:
                return None, 0
            args = {"session_id": session.session_id, "state": response.result}
            return StateChange(restore, args), len(encode_request(0, restore, args, limit_bytes=self._limit_bytes))
        except PoolError:
            return None, 0  # the call itself succeeded; a dirty worker is ended as usual

    def _session_lost(self, session: Session) -> SessionLost:
        return SessionLost(f"session {session.session_id!r}: {session.lost}")

    def forget(self, session: Session, error: PoolError) -> None:
        """End a session whose clean-up failed with this error."""
        coordinator = self._runtime.coordinator
        with self._runtime.lock:
            for worker_id in session.held.keys() & coordinator.workers if isinstance(error, CommandError) else ():
                coordinator.retire(coordinator.workers[worker_id], "")  # the worker does not know the clean-up command
            # A worker that still has state of the session cleans up before it serves a session of that id again.
            coordinator.sessions.end(session.session_id)
        self._runtime.supervisor.look()

    def table(self) -> tuple[SessionStatus, ...]:
        """Return the sessions' statuses. The lock is held for a few hundred sessions at a time."""
        table = self._runtime.coordinator.sessions
        sessions = iter(table.all_sessions())
        found: list[SessionStatus] = []
        while some := list(itertools.islice(sessions, STATUSES_AT_ONCE)):
            with self._runtime.lock:
                found += table.statuses(some)
        return tuple(found)


def as_change(command: str, frame: bytearray) -> StateChange:
    """Return the change for a handover, with the arguments as sent, so that later changes of them have no effect."""
    try:
        return StateChange(command, decode_request(bytes(frame[HEADER_BYTES:])).args)
    except ProtocolError as error:
        raise InvalidRequest(f"the arguments of {command!r} cannot be repeated: {error}") from error
