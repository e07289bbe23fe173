"""V2's engine: the one lock, the coordinator under it, the path of a call outside it.

Refuses to know the interface's options; the pool in front of it can be dropped without being closed.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from typing import Any

from bridge import (
    CheckoutTimeout,
    CommandError,
    EventKind,
    InvalidRequest,
    Observer,
    PoolClosed,
    PoolConfig,
    PoolError,
    PoolStatus,
    ProtocolError,
    Sent,
    SessionLost,
    Statistics,
    WorkerCrashed,
    WorkerStatus,
)
from bridge.channel import Channel
from bridge.clock import deadline_ns, now_ns, remaining_s
from bridge.crew import Crew
from bridge.framing import HEADER_BYTES
from bridge.messages import Response, decode_request, encode_request
from pool_v2.circuit import Circuit
from pool_v2.coordinator import Coordinator
from pool_v2.sessions import Session, SessionTable, StateChange
from pool_v2.supervisor import Supervisor
from pool_v2.ticket import Ticket, TicketState

END_TIMEOUT_S = 5.0
"""How long the burial of killed workers may take at close."""


class Call:
    """One call on its way: what was asked, by when, and how it went."""

    __slots__ = ("args", "checkout_deadline", "command", "deadline", "session_id", "ticket")

    def __init__(
        self, command: str, args: dict[str, Any], session_id: str | None, *, deadline: int, checkout_deadline: int
    ) -> None:
        self.command = command
        self.args = args
        self.session_id = session_id
        self.deadline = deadline
        self.checkout_deadline = min(deadline, checkout_deadline)
        self.ticket: Ticket | None = None


class Engine:
    """Runs calls. Every method may be called from any thread.

    Invariant: a worker's channel is used by the one thread whose ticket holds the worker, from grant to leave.
    """

    def __init__(self, config: PoolConfig, observer: Observer | None) -> None:
        self.config = config
        self.crew = Crew(config, version="v2")
        self.sessions = SessionTable()
        self._observer = observer
        self._lock = threading.Lock()
        self._ids = itertools.count(1)
        self._submitted = 0
        self._outcomes: Counter[str] = Counter()
        self._closed = threading.Event()
        self._closing = threading.Lock()
        self.coordinator = Coordinator(
            self.crew.name,
            Circuit(failures_to_open=config.start_failures_to_open, reset_s=config.circuit_reset_s),
            workers=config.workers,
            overflow=config.overflow,
            lazy=config.lazy,
            max_queue=config.max_queue,
            max_requests=config.max_requests,
        )
        self._supervisor = Supervisor(
            self.coordinator, self._lock, self.crew, start_timeout_s=config.start_timeout_s, observer=observer
        )
        self._supervisor.start()

    # One call.

    def run(self, call: Call) -> Any:  # noqa: ANN401 - any JSON value
        """Run one call to its one outcome: return the result, or raise what the interface promises."""
        number = next(self._ids)
        outcome = "Cancelled"
        with self._lock:
            self._submitted += 1
        try:
            if self._observer is not None:
                self._supervisor.emit(EventKind.ENQUEUE, call=number)
            if call.session_id is not None:
                call.args = {**call.args, "session_id": call.session_id}
            frame = encode_request(number, call.command, call.args, limit_bytes=self.config.max_frame_bytes)
            if call.session_id is not None and call.command in self.config.state_commands:
                call.args = _copied(call.command, frame)
            while True:
                try:
                    response = self._attempt(call, number, frame)
                    break
                except WorkerCrashed as error:
                    # A worker found dead before it took a byte costs nothing: the call goes to another one.
                    if error.sent is not Sent.NO or remaining_s(call.checkout_deadline) <= 0:
                        raise
            if not response.success:
                raise CommandError(str(response.error))
            outcome = "result"
            return response.result
        except PoolError as error:
            outcome = type(error).__name__
            raise
        finally:
            with self._lock:
                self._outcomes[outcome] += 1
            if self._observer is not None:
                self._supervisor.emit(EventKind.DONE, call=number, detail=outcome)

    def _attempt(self, call: Call, number: int, frame: bytearray) -> Response:
        ticket = call.ticket = Ticket(number)
        response: Response | None = None
        try:
            self._checkout(call, ticket)
            channel = self._supervisor.channels[ticket.worker_id] if ticket.worker_id is not None else None
            assert channel is not None, "an accepted ticket owns a worker"
            try:
                if ticket.session is not None:
                    self._hand_over(ticket, channel, call.deadline)
                response = self._exchange(channel, number, frame, call.deadline, ticket.worker_id)
            except WorkerCrashed as error:
                if self.coordinator.closing and error.sent is not Sent.NO:
                    message = f"pool {self.crew.name!r} was closed during the call"
                    raise PoolClosed(message, sent=error.sent, worker_id=error.worker_id) from error
                raise
            return response
        finally:
            self._leave(ticket, call, response, len(frame))

    def _checkout(self, call: Call, ticket: Ticket) -> None:
        with self._lock:
            if call.session_id is not None:
                ticket.session = self.sessions.begin(call.session_id)
            effects = self.coordinator.enter(ticket, now_ns())
        self._supervisor.perform(effects)
        if ticket.state is not TicketState.ACCEPTED:
            ticket.wait(remaining_s(call.checkout_deadline))
            with self._lock:
                if ticket.state is TicketState.OFFERED:
                    self.coordinator.accept(ticket)
                state = ticket.state
            if ticket.error is not None:
                raise ticket.error
            if state is TicketState.WAITING:
                raise CheckoutTimeout(f"{call.command!r}: no worker of pool {self.crew.name!r} was free in time")
        if self._observer is not None:
            self._supervisor.emit(EventKind.ACCEPT, call=ticket.call, worker=ticket.worker_id)

    def _exchange(
        self, channel: Channel, number: int, frame: bytearray, deadline: int, worker_id: int | None
    ) -> Response:
        if self._observer is None:
            return channel.exchange(number, frame, deadline_ns=deadline)
        emit, pid = self._supervisor.emit, channel.process.pid
        response = channel.exchange(
            number,
            frame,
            deadline_ns=deadline,
            on_sent=lambda: emit(EventKind.SEND, call=number, worker=worker_id, pid=pid),
        )
        emit(EventKind.RECEIVE, call=number, worker=worker_id, pid=pid)
        return response

    def _hand_over(self, ticket: Ticket, channel: Channel, deadline: int) -> None:
        # Repeat the session's log on a worker that does not have its state. The lease makes this thread its only user.
        session = ticket.session
        assert session is not None
        assert ticket.worker_id is not None
        try:
            for change in session.move(ticket.worker_id):
                number = next(self._ids)
                frame = encode_request(number, change.command, change.args, limit_bytes=self.config.max_frame_bytes)
                response = channel.exchange(number, frame, deadline_ns=deadline)
                if not response.success:
                    session.lost = f"its handover failed at {change.command!r}: {response.error}"
                    raise self._session_lost(session)
        except BaseException as error:
            channel.dirty = True  # a handover that stops half-way leaves a state that nobody asked for
            if isinstance(error, PoolError):
                error.sent = Sent.NO  # only the past was sent, not the call itself
            raise
        if session.lost:
            raise self._session_lost(session)

    def _session_lost(self, session: Session) -> SessionLost:
        return SessionLost(f"session {session.session_id!r}: {session.lost}")

    def _leave(self, ticket: Ticket, call: Call, response: Response | None, size_bytes: int) -> None:
        held = ticket.worker_id
        dirty = held is not None and self._supervisor.channels[held].dirty
        try:
            if ticket.state in (TicketState.WAITING, TicketState.OFFERED):
                self._supervisor.emit(EventKind.WITHDRAW, call=ticket.call, worker=held)
            elif held is not None and dirty:
                self._supervisor.channels[held].process.kill()  # before anybody is told of the timeout
            elif held is not None:
                self._supervisor.emit(EventKind.CHECKIN, call=ticket.call, worker=held)
        finally:  # whatever interrupts the lines above, the lease ends
            with self._lock:
                session = ticket.session
                if session is not None and response is not None:
                    session.answered()
                    if response.success and call.command in self.config.state_commands:
                        change = StateChange(call.command, call.args)
                        session.changed(change, size_bytes, limit_bytes=self.config.session_log_bytes)
                effects = self.coordinator.leave(ticket, clean=not dirty)
            self._supervisor.perform(effects)

    # The pool as a whole.

    def warm_up(self, n: int, deadline: int) -> int:
        """Wait until `n` workers are ready, or the deadline or an open circuit; how many are. Raises PoolClosed."""
        with self._lock:
            self._require_open()
            self.coordinator.floor = max(self.coordinator.floor, n)
            effects = self.coordinator.attend()
        self._supervisor.perform(effects)
        with self._lock:
            while self.coordinator.ready_workers < n and not self.coordinator.circuit.tripped:
                self._require_open()
                if remaining_s(deadline) <= 0:
                    break
                self._supervisor.progress.wait(remaining_s(deadline))
            return self.coordinator.ready_workers

    def _require_open(self) -> None:
        if self.coordinator.closing:
            raise PoolClosed(f"pool {self.crew.name!r} is closed")

    def status(self) -> PoolStatus:
        """A consistent snapshot, taken under the lock."""
        with self._lock:
            workers = tuple(
                WorkerStatus(
                    worker_id=worker.worker_id,
                    pid=self._pid(worker.worker_id),
                    state=worker.state.value,
                    served=worker.served,
                )
                for worker in self.coordinator.workers.values()
            )
            done = sum(self._outcomes.values())
            return PoolStatus(
                name=self.crew.name,
                version="v2",
                state="closed" if self._closed.is_set() else "closing" if self.coordinator.closing else "open",
                target=self.coordinator.size,
                workers=workers,
                waiting=self.coordinator.waiting,
                sessions=len(self.sessions),
                statistics=Statistics(
                    submitted=self._submitted, in_flight=self._submitted - done, outcomes=dict(self._outcomes)
                ),
            )

    def _pid(self, worker_id: int) -> int:
        channel = self._supervisor.channels.get(worker_id)
        return 0 if channel is None else channel.process.pid

    def session_table(self) -> tuple[Any, ...]:
        """The sessions' statuses, taken under the lock."""
        with self._lock:
            return self.sessions.statuses()

    def forget_session(self, session_id: str) -> bool:
        """Drop the session from the table; False if there was none."""
        with self._lock:
            return self.sessions.end(session_id)

    def close(self, grace_s: float) -> None:
        """Refuse, drain for at most `grace_s` seconds, end, bury. Idempotent; a second caller waits for the first."""
        with self._closing:
            if self._closed.is_set():
                return
            with self._lock:
                effects = self.coordinator.close()
                self._supervisor.progress.notify_all()
            self._supervisor.perform(effects)
            if not self._await_burials(grace_s):
                with self._lock:
                    effects = self.coordinator.kill_rest("close")
                self._supervisor.perform(effects)
                self._await_burials(END_TIMEOUT_S)
            self._supervisor.stop()
            self.crew.disband()
            self._closed.set()
            self._supervisor.emit(EventKind.CLOSE)

    def _await_burials(self, timeout_s: float) -> bool:
        deadline = deadline_ns(timeout_s)
        with self._lock:
            while self.coordinator.workers and remaining_s(deadline) > 0:
                self._supervisor.progress.wait(remaining_s(deadline))
            return not self.coordinator.workers


def _copied(command: str, frame: bytearray) -> dict[str, Any]:
    # A handover repeats what was sent, whatever the client makes of its own objects later.
    try:
        return decode_request(bytes(frame[HEADER_BYTES:])).args
    except ProtocolError as error:
        raise InvalidRequest(f"the arguments of {command!r} cannot be repeated: {error}") from error


def close_in_background(engine: Engine) -> None:
    """Close at once, in a thread of its own: a finalizer may run in any thread, under any lock.

    A forked child's copy is only forgotten: what it would end is its parent's.
    """
    try:
        engine.crew.require_owner()
    except PoolClosed:
        return
    threading.Thread(target=engine.close, args=(0.0,), name="pool-v2-finalizer", daemon=True).start()
