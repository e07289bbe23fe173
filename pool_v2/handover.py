"""The calls of sessions: what a worker lacks of a session is repeated on it, then the call, then what changed is kept.

Knows nothing of who gets which worker. A handover is made in steps, so that a thread and a task can both drive it.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, TypeVar

from bridge import CommandError, InvalidRequest, PoolError, Sent, SessionLost, SessionStatus, WorkerCrashed
from bridge.clock import deadline_ns, now_ns
from bridge.door import Door
from bridge.errors import ProtocolError
from bridge.framing import HEADER_BYTES
from bridge.messages import Response, decode_request, encode_request, session_args
from pool_v2.roster import Worker
from pool_v2.sessions import CLEAN_UP, MOST_HANDOVER_FAILURES, Session, StateChange

if TYPE_CHECKING:
    from pool_v2.engine import Engine

T = TypeVar("T")
Steps = Generator[tuple[int, bytearray], Response, T]
"""Asks for one exchange after another (request id and frame) and is sent each response, or thrown what went wrong."""


class Handover:
    """Runs the calls of sessions. Every method may be called from any thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._limit_bytes = engine.config.max_frame_bytes

    def run(
        self, number: int, command: str, args: dict[str, Any], session_id: str, deadline: int, patience: int
    ) -> Response:
        """One call of a session; the times are absolute, in nanoseconds."""
        frame = encode_request(number, command, session_args(args, session_id), limit_bytes=self._limit_bytes)
        change = as_change(command, frame) if command in self._engine.config.state_commands else None
        session: Session | None = None
        again = False
        try:
            with self._engine.lock:
                session = self._engine.coordinator.sessions.begin(session_id, number)
            while True:
                try:
                    with self._engine.leases.open(number, command, session, deadline, patience, again=again) as lease:
                        ticket = lease.require_ticket()
                        worker = ticket.worker
                        assert worker is not None
                        self.drive(self.hand_over(session, worker), worker.door, deadline)
                        response = self._engine.exchange(ticket, number, frame, deadline)
                        steps = self.remember(session, worker, command, response, change, len(frame))
                        self.drive(steps, worker.door, deadline)
                        return response
                except WorkerCrashed as error:
                    if not self._engine.may_go_elsewhere(error, patience):
                        raise
                    again = True
        finally:
            if session is not None:
                with self._engine.lock:
                    self._engine.coordinator.sessions.release(session, number, now_ns())

    def drive(self, steps: Steps[T], door: Door, deadline: int) -> T:
        """Exchange what the steps ask for, in this thread; a task does the same on its loop."""
        try:
            number, frame = next(steps)
            while True:
                try:
                    response = door.exchange(number, frame, deadline_ns=deadline)
                except BaseException as error:
                    number, frame = steps.throw(error)
                else:
                    number, frame = steps.send(response)
        except StopIteration as end:
            result: T = end.value
            return result

    def hand_over(self, session: Session, worker: Worker) -> Steps[None]:
        """Repeat what this worker lacks of the session, in steps. The lease makes the caller its only user."""
        with self._engine.lock:
            changes = session.lacks(worker.worker_id)
        if session.lost:
            raise self._session_lost(session)
        if not changes:
            return
        door: Door = worker.door
        try:
            for change in changes:
                number = next(self._engine.ids)
                frame = encode_request(number, change.command, change.args, limit_bytes=self._limit_bytes)
                response = yield number, frame
                if not response.success:
                    session.lost = f"its handover failed at {change.command!r}: {response.error}"
                    raise self._session_lost(session)
            with self._engine.lock:
                session.met(worker.worker_id)
        except BaseException as error:
            door.dirty = True  # a handover that stops half-way leaves a state that nobody asked for
            if isinstance(error, InvalidRequest):
                session.lost = f"it cannot be handed over: {error}"
                raise self._session_lost(session) from error
            if isinstance(error, WorkerCrashed):
                session.failures += 1
                if session.failures >= MOST_HANDOVER_FAILURES:
                    session.lost = f"its handover has ended {session.failures} workers; the last: {error.message}"
                    raise self._session_lost(session) from error
            if isinstance(error, PoolError):
                error.sent = Sent.NO  # only the past was sent, not the call itself
            raise

    def remember(
        self,
        session: Session,
        worker: Worker,
        command: str,
        response: Response,
        change: StateChange | None,
        size_bytes: int,
    ) -> Steps[None]:
        """Count the answered call of the session, and keep its change, in steps; a clean-up ends the session."""
        limit_bytes = self._engine.config.session_log_bytes
        full = False
        with self._engine.lock:
            session.operations += 1
            session.failures = 0
            session.met(worker.worker_id)
            if command == CLEAN_UP and response.success:  # while the lease holds, so that no call comes between
                self._engine.coordinator.sessions.end(session.session_id, cleaned_on=worker.worker_id)
                return
            if change is not None and response.success:
                full = session.changed(change, size_bytes, worker.worker_id, limit_bytes=limit_bytes)
        if full:
            base, base_bytes = yield from self._snapshot(session)
            with self._engine.lock:
                session.condense(base, base_bytes, limit_bytes=limit_bytes)

    def _snapshot(self, session: Session) -> Steps[tuple[StateChange | None, int]]:
        # What the worker offers in place of the whole log; nothing, if it offers none.
        if self._engine.config.snapshot_commands is None:
            return None, 0
        take, restore = self._engine.config.snapshot_commands
        number = next(self._engine.ids)
        try:
            frame = encode_request(number, take, {"session_id": session.session_id}, limit_bytes=self._limit_bytes)
            response = yield number, frame
            if not response.success:
                return None, 0
            args = {"session_id": session.session_id, "state": response.result}
            return StateChange(restore, args), len(encode_request(0, restore, args, limit_bytes=self._limit_bytes))
        except PoolError:
            return None, 0  # the call itself has its answer; a dirty worker is ended as ever

    def _session_lost(self, session: Session) -> SessionLost:
        return SessionLost(f"session {session.session_id!r}: {session.lost}")

    def end(self, session_id: str) -> bool:
        """Forget the session, on the worker that has it and in the table; False if there was none."""
        with self._engine.lock:
            session = self._engine.coordinator.sessions.get(session_id)
            if session is None:
                return False
        try:
            limit = deadline_ns(self._engine.limit_s(None))
            self._engine.run(CLEAN_UP, {}, session_id, limit, min(limit, deadline_ns(self._engine.patience_s(None))))
        except PoolError as error:
            self.forget(session, error)
        return True

    def forget(self, session: Session, error: PoolError) -> None:
        """End a session whose clean-up failed with this error."""
        coordinator = self._engine.coordinator
        with self._engine.lock:
            for worker_id in list(session.held) if isinstance(error, CommandError) else ():
                self._engine.coordinator.condemn(
                    self._engine.coordinator.workers[worker_id], ""
                )  # it does not know how to forget
            # A worker that keeps something of it cleans up before it meets a session of that name again.
            coordinator.sessions.end(session.session_id)
        self._engine.supervisor.look()

    def table(self) -> tuple[SessionStatus, ...]:
        """The sessions' statuses, taken under the lock."""
        with self._engine.lock:
            return self._engine.coordinator.sessions.statuses()


def as_change(command: str, frame: bytearray) -> StateChange:
    """What a handover repeats: what was sent, whatever the client makes of its own objects later."""
    try:
        return StateChange(command, decode_request(bytes(frame[HEADER_BYTES:])).args)
    except ProtocolError as error:
        raise InvalidRequest(f"the arguments of {command!r} cannot be repeated: {error}") from error
