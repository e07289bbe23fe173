"""V2's engine: the one lock, the coordinator under it, the path of a call outside it.

Refuses to know the interface's options; the pool in front of it can be dropped without being closed.

The path of a call: encode → under the lock a worker or a place in the queue → wait on the ticket's own lock → write and
read, in the client's thread → under the lock the worker goes back, or to the head of the queue → wake that one.

Interrupts. A KeyboardInterrupt may come between any two steps. Whatever it breaks off ends in `_abort`, which gives the
worker back, or has the supervisor take it; what it tore in the coordinator's records the next `plan` mends.
"""

from __future__ import annotations

import itertools
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Generator
from threading import get_ident
from typing import Any, TypeVar

from bridge import (
    CallTimeout,
    CheckoutTimeout,
    CommandError,
    EventKind,
    InvalidRequest,
    LeaseError,
    Observer,
    PoolClosed,
    PoolConfig,
    PoolError,
    PoolStatus,
    Sent,
    SessionLost,
    SessionStatus,
    Statistics,
    WorkerCrashed,
    WorkerStatus,
)
from bridge.channel import Channel
from bridge.clock import deadline_ns, now_ns, remaining_s
from bridge.config import duration
from bridge.crew import Crew
from bridge.errors import ProtocolError
from bridge.framing import HEADER_BYTES
from bridge.messages import Response, decode_request, encode_request
from pool_v2.behaviour import MOST_CHARACTERS, WorkerBehaviour
from pool_v2.circuit import Circuit
from pool_v2.coordinator import Act, Affinity, Coordinator
from pool_v2.hooks import Hooks, Removed, Spoilt, describe
from pool_v2.housekeeper import Housekeeper
from pool_v2.lease import Lease, Open
from pool_v2.roster import Limits, Worker
from pool_v2.sessions import CLEAN_UP, MOST_HANDOVER_FAILURES, Session, StateChange
from pool_v2.supervisor import Supervisor
from pool_v2.ticket import Ticket, TicketState

END_TIMEOUT_S = 5.0
"""How long the burial of killed workers may take at close."""
IN_FLIGHT = ""
MOST_UNCOUNTED = 64
"""A larger table would not stay in the processor's nearest memory."""
MOST_HOLDERS = 8
_ACCEPTED, _OFFERED = TicketState.ACCEPTED, TicketState.OFFERED
T = TypeVar("T")
Steps = Generator[tuple[int, bytearray], Response, T]
"""Asks for one exchange after another (request id and frame) and is sent each response, or thrown what went wrong."""


class Engine:
    """Runs calls. Every method may be called from any thread.

    Invariants: a worker's channel is used by the one thread whose ticket holds the worker, from grant to leave. Each
    call is one key of `calls`, set once when it begins and once when it ends, each by one step of the interpreter, so
    the statistics are conserved whatever interrupts it.
    """

    def __init__(self, config: PoolConfig, observer: Observer | None, behaviour: WorkerBehaviour | None) -> None:
        self.config = config
        self.hooks = Hooks(behaviour)
        self.hooks.init_pool()
        self.crew = Crew(config, version="v2")
        self._observer = observer
        self._plain = observer is None and not self.hooks.active
        self.lock = threading.Lock()
        self._ids = itertools.count(1)
        self._limit_bytes = config.max_frame_bytes
        self.calls: dict[int, str] = {}
        self._ended: Counter[str] = Counter()
        self._closed = threading.Event()
        self._closing = threading.RLock()
        self._close_begun = False
        self.coordinator = Coordinator(
            self.crew.name,
            Circuit(failures_to_open=config.start_failures_to_open, reset_s=config.circuit_reset_s),
            _limits(config),
            max_queue=config.max_queue,
        )
        self.coordinator.affinity = Affinity(config.session_affinity)
        try:
            self.housekeeper = Housekeeper(self)
            self.supervisor = Supervisor(
                self.coordinator,
                self.lock,
                self.crew,
                self.housekeeper,
                start_timeout_s=config.start_timeout_s,
                observer=observer,
            )
            self.supervisor.start()
        except BaseException:
            self.crew.disband()
            raise

    # One call.

    def run(self, command: str, args: dict[str, Any], session_id: str | None, deadline: int, patience: int) -> Any:  # noqa: ANN401
        """Run one call to its one outcome: return the result, or raise what the interface promises.

        `deadline` and `patience` are absolute, in nanoseconds: for the whole call, and for the wait for a worker.
        """
        number = next(self._ids)
        self.calls[number] = IN_FLIGHT
        outcome = "Cancelled"
        try:
            if self._plain and session_id is None:
                frame = encode_request(number, command, args, limit_bytes=self._limit_bytes)
                # The common call, in one piece: a function more costs it as much as a switch to the worker and back.
                ticket = Ticket(number, None, deadline, get_ident())
                coordinator, lock = self.coordinator, self.lock
                try:
                    with lock:
                        coordinator.enter(ticket, now_ns())
                    if coordinator.attention:
                        self.supervisor.look()
                    if ticket.state is not _ACCEPTED:
                        self._await_worker(ticket, command, patience)
                    response = ticket.worker.door.exchange(number, frame, deadline_ns=deadline)  # type: ignore[union-attr]
                    with lock:
                        woken = coordinator.leave(ticket, now_ns(), clean=True)
                    for waiter in woken:
                        waiter.wake()
                    if coordinator.attention:
                        self.supervisor.look()
                except BaseException as error:
                    self._give_up(ticket, error, patience)
                    response = self._attempt(number, frame, command, deadline, patience, again=True)
            elif session_id is None and not self.hooks.active:
                self.supervisor.emit(EventKind.ENQUEUE, call=number)
                frame = encode_request(number, command, args, limit_bytes=self._limit_bytes)
                response = self._attempt(number, frame, command, deadline, patience)
            elif session_id is None:
                self.supervisor.emit(EventKind.ENQUEUE, call=number)
                frame = encode_request(number, command, args, limit_bytes=self._limit_bytes)
                response = self.run_by_hooks(number, frame, command, deadline, patience)
            else:
                self.supervisor.emit(EventKind.ENQUEUE, call=number)
                response = self._run_in_session(number, command, args, session_id, deadline, patience)
            if not response.success:
                raise CommandError(str(response.error))
            outcome = "result"
            return response.result
        except PoolError as error:
            told = self.told(error)
            outcome = type(told).__name__
            if told is not error:
                raise told from error
            raise
        finally:
            self.calls[number] = outcome
            if self._observer is not None or len(self.calls) > MOST_UNCOUNTED:
                self.after_call(number, outcome)

    def told(self, error: PoolError) -> PoolError:
        """What the caller is told: a worker that the close has ended did not crash."""
        if type(error) is WorkerCrashed and self.coordinator.closing and error.sent is not Sent.NO:
            message = f"pool {self.crew.name!r} was closed during the call"
            return PoolClosed(message, sent=error.sent, worker_id=error.worker_id)
        return error

    def after_call(self, number: int, outcome: str) -> None:
        """The outcome of this call is in `calls`."""
        if len(self.calls) > MOST_UNCOUNTED:
            self._count()
        if self._observer is not None:
            self.supervisor.emit(EventKind.DONE, call=number, detail=outcome)

    def _attempt(
        self, number: int, frame: bytearray, command: str, deadline: int, patience: int, *, again: bool = False
    ) -> Response:
        # Again only if a worker was found dead before it took a byte: that costs nothing, and the call keeps its place.
        while True:
            ticket = Ticket(number, None, deadline, get_ident())
            try:
                self._checkout(ticket, command, patience, again=again)
                response = self._exchange(ticket, number, frame, deadline)
                self.leave(ticket)
                return response
            except BaseException as error:
                self._give_up(ticket, error, patience)
                again = True

    def _give_up(self, ticket: Ticket, error: BaseException, patience: int) -> None:
        # The ticket owns nothing after this. Raises the error unless the call may go elsewhere.
        try:
            self.abort_surely(ticket)
        except BaseException:  # an interrupt came into the very steps that give the worker back
            self.supervisor.abandon(ticket)
            raise
        if not self.may_go_elsewhere(error, patience):
            raise error

    def _checkout(self, ticket: Ticket, command: str, patience: int, *, again: bool = False) -> None:
        with self.lock:
            self.coordinator.enter(ticket, now_ns(), again=again)
        if self.coordinator.attention:
            self.supervisor.look()
        if ticket.state is not _ACCEPTED:
            self._await_worker(ticket, command, patience)
        if self._observer is not None:
            self.supervisor.emit(EventKind.ACCEPT, call=ticket.call, worker=ticket.worker_id)

    def enter(self, ticket: Ticket, *, again: bool = False) -> None:
        """Give the ticket a worker (ACCEPTED) or a place in the queue (WAITING), or raise why not."""
        with self.lock:
            self.coordinator.enter(ticket, now_ns(), again=again)
        if self.coordinator.attention:
            self.supervisor.look()

    def _await_worker(self, ticket: Ticket, command: str, patience: int) -> None:
        woken = ticket.wait((patience - now_ns()) / 1e9)
        if woken and ticket.state is _OFFERED and ticket.deadline_ns > now_ns():
            ticket.state = _ACCEPTED  # nobody else changes an offer, except to give a dead client's worker away
        else:
            self.settle(ticket, command)

    def settle(self, ticket: Ticket, command: str) -> None:
        """The ticket's wait is over: it was woken or had enough. It is ACCEPTED after this, or raises why not."""
        with self.lock:
            if ticket.state is TicketState.OFFERED:
                self.coordinator.accept(ticket)
            state = ticket.state
            holders = self.coordinator.open_calls() if state is TicketState.WAITING else []
        if ticket.error is not None:
            raise ticket.error
        late = ticket.deadline_ns <= now_ns()  # there is no time left to do anything with it
        if state is not TicketState.ACCEPTED or late:
            self.hooks.cancelled("queued")
            raise CheckoutTimeout(
                f"{command!r}: no worker of pool {self.crew.name!r} was free in time",
                holders=_describe_holders(holders),
            )

    def _exchange(self, ticket: Ticket, number: int, frame: bytearray, deadline: int) -> Response:
        worker = ticket.worker
        assert worker is not None, "only a ticket that owns a worker can use it"
        channel: Channel = worker.door
        if self._observer is None:
            return channel.exchange(number, frame, deadline_ns=deadline)
        emit, pid = self.supervisor.emit, channel.process.pid
        response = channel.exchange(
            number,
            frame,
            deadline_ns=deadline,
            on_sent=lambda: emit(EventKind.SEND, call=number, worker=worker.worker_id, pid=pid),
        )
        emit(EventKind.RECEIVE, call=number, worker=worker.worker_id, pid=pid)
        return response

    def leave(self, ticket: Ticket, *, reason: str = "") -> None:
        """Check the worker in: the exchange is over, and nothing is outstanding."""
        if self._observer is not None and ticket.worker is not None:
            self.supervisor.emit(EventKind.CHECKIN, call=ticket.call, worker=ticket.worker_id)
        with self.lock:
            woken = self.coordinator.leave(ticket, now_ns(), clean=True, reason=reason)
        self._after_leave(woken)

    def _after_leave(self, woken: list[Ticket]) -> None:
        if woken:
            self.supervisor.wake(woken)
        if self.coordinator.attention:
            self.supervisor.look()

    def abort_surely(self, ticket: Ticket, *, reason: str = "") -> None:
        """Give back what the ticket has, in whatever state it is. Whatever interrupts this, it owns nothing then."""
        try:
            self._abort(ticket, reason)
        except BaseException:
            self.supervisor.abandon(ticket)
            raise

    def _abort(self, ticket: Ticket, reason: str) -> None:
        worker, state = ticket.worker, ticket.state
        dirty = worker is not None and worker.door.dirty
        if dirty and worker is not None and not worker.killed:
            self.supervisor.signal(Act.KILL, worker, "dirty")  # before anybody is told of the timeout
            worker.killed = True  # and not before it was: an interrupt may come between
        if state in (TicketState.WAITING, TicketState.OFFERED):
            self.supervisor.emit(EventKind.WITHDRAW, call=ticket.call, worker=ticket.worker_id)
        elif worker is not None and not dirty:
            self.supervisor.emit(EventKind.CHECKIN, call=ticket.call, worker=worker.worker_id)
        with self.lock:
            woken = self.coordinator.leave(ticket, now_ns(), clean=not dirty, reason=reason)
            if sys.exc_info()[0] is not None and not isinstance(sys.exc_info()[1], Exception):
                self.coordinator.suspect()
        self._after_leave(woken)

    def may_go_elsewhere(self, error: BaseException, patience: int) -> bool:
        """Whether a call that failed so can be tried on another worker: nothing of it was sent."""
        if not isinstance(error, WorkerCrashed) or error.sent is not Sent.NO or self.coordinator.closing:
            return False
        return remaining_s(patience) > 0

    # A call of a session.

    def _run_in_session(
        self, number: int, command: str, args: dict[str, Any], session_id: str, deadline: int, patience: int
    ) -> Response:
        frame = encode_request(number, command, {**args, "session_id": session_id}, limit_bytes=self._limit_bytes)
        change = as_change(command, frame) if command in self.config.state_commands else None
        session: Session | None = None
        again = False
        try:
            with self.lock:
                session = self.coordinator.sessions.begin(session_id)
            while True:
                try:
                    with self.open_lease(number, command, session, deadline, patience, again=again) as lease:
                        ticket = lease.require_ticket()
                        worker = ticket.worker
                        assert worker is not None
                        self._drive(self.hand_over(session, worker), worker.door, deadline)
                        response = self._exchange(ticket, number, frame, deadline)
                        steps = self.remember(session, worker, command, response, change, len(frame))
                        self._drive(steps, worker.door, deadline)
                        return response
                except WorkerCrashed as error:
                    if not self.may_go_elsewhere(error, patience):
                        raise
                    again = True
        finally:
            if session is not None:
                with self.lock:
                    self.coordinator.sessions.release(session, now_ns())

    def _drive(self, steps: Steps[T], channel: Channel, deadline: int) -> T:
        # Exchange what the steps ask for, in this thread; a task does the same on its loop.
        try:
            number, frame = next(steps)
            while True:
                try:
                    response = channel.exchange(number, frame, deadline_ns=deadline)
                except BaseException as error:
                    number, frame = steps.throw(error)
                else:
                    number, frame = steps.send(response)
        except StopIteration as end:
            result: T = end.value
            return result

    def hand_over(self, session: Session, worker: Worker) -> Steps[None]:
        """Repeat what this worker lacks of the session, in steps. The lease makes the caller its only user."""
        with self.lock:
            changes = session.lacks(worker.worker_id)
        if session.lost:
            raise self._session_lost(session)
        if not changes:
            return
        channel: Channel = worker.door
        try:
            for change in changes:
                number = next(self._ids)
                frame = encode_request(number, change.command, change.args, limit_bytes=self._limit_bytes)
                response = yield number, frame
                if not response.success:
                    session.lost = f"its handover failed at {change.command!r}: {response.error}"
                    raise self._session_lost(session)
            with self.lock:
                session.met(worker.worker_id)
        except BaseException as error:
            channel.dirty = True  # a handover that stops half-way leaves a state that nobody asked for
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
        limit_bytes = self.config.session_log_bytes
        full = False
        with self.lock:
            session.operations += 1
            session.failures = 0
            session.met(worker.worker_id)
            if command == CLEAN_UP and response.success:  # while the lease holds, so that no call comes between
                self.coordinator.sessions.end(session.session_id, cleaned_on=worker.worker_id)
                return
            if change is not None and response.success:
                full = session.changed(change, size_bytes, worker.worker_id, limit_bytes=limit_bytes)
        if full:
            base, base_bytes = yield from self._snapshot(session)
            with self.lock:
                session.condense(base, base_bytes, limit_bytes=limit_bytes)

    def _snapshot(self, session: Session) -> Steps[tuple[StateChange | None, int]]:
        # What the worker offers in place of the whole log; nothing, if it offers none.
        if self.config.snapshot_commands is None:
            return None, 0
        take, restore = self.config.snapshot_commands
        number = next(self._ids)
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

    def end_session(self, session_id: str) -> bool:
        """Forget the session, on the worker that has it and in the table; False if there was none."""
        with self.lock:
            session = self.coordinator.sessions.get(session_id)
            if session is None:
                return False
        try:
            limit = deadline_ns(self.limit_s(None))
            self.run(CLEAN_UP, {}, session_id, limit, min(limit, deadline_ns(self.patience_s(None))))
        except PoolError as error:
            self.forget(session, error)
        return True

    def forget(self, session: Session, error: PoolError) -> None:
        """End a session whose clean-up failed with this error."""
        with self.lock:
            for worker_id in list(session.held) if isinstance(error, CommandError) else ():
                self.coordinator.condemn(self.coordinator.workers[worker_id], "")  # it does not know how to forget
            # A worker that keeps something of it cleans up before it meets a session of that name again.
            self.coordinator.sessions.end(session.session_id)
        self.supervisor.look()

    def session_table(self) -> tuple[SessionStatus, ...]:
        """The sessions' statuses, taken under the lock."""
        with self.lock:
            return self.coordinator.sessions.statuses()

    # Leases.

    def run_by_hooks(self, number: int, frame: bytearray, command: str, deadline: int, patience: int) -> Response:
        """One call outside sessions, with a behaviour: a lease for the time of its exchange."""
        enqueued = self.hooks.enqueue(command)
        again = False
        while True:
            try:
                with self.open_lease(number, enqueued, None, deadline, patience, again=again, enqueued=True) as lease:
                    return self._exchange(lease.require_ticket(), number, frame, deadline)
            except WorkerCrashed as error:
                if not self.may_go_elsewhere(error, patience):
                    raise
                again = True

    def open_lease(
        self,
        number: int | None,
        command: Any,  # noqa: ANN401 - the hooks' own
        session: Session | None,
        deadline: int,
        patience: int,
        *,
        again: bool = False,
        enqueued: bool | None = None,
        for_one_call: bool = True,
    ) -> Lease:
        """A worker for this client, by way of the hooks. `deadline` bounds the whole lease.

        `enqueued`: the enqueue hook has seen the command; as it has if the call comes `again`, unless given.
        """
        number = next(self._ids) if number is None else number
        if self.hooks.active and not (again if enqueued is None else enqueued):
            command = self.hooks.enqueue(command)
        cause: object = None
        while True:
            ticket = Ticket(number, session, deadline_ns=deadline, thread_id=get_ident())
            lease = Lease(self, ticket, for_one_call=for_one_call, owner=get_ident(), deadline_ns=deadline)
            try:
                removed = self._admit(lease, ticket, command, patience, again=again)
                if removed is None:
                    return lease
            except BaseException as error:
                if ticket.state not in (TicketState.WITHDRAWN, TicketState.REFUSED):
                    self.supervisor.abandon(ticket)  # an interrupt came into the very steps that give it back
                if isinstance(error, CheckoutTimeout) and isinstance(cause, Exception):
                    raise error from cause  # that is why there was no worker
                raise
            cause, again = removed.args[0], True  # another worker is tried

    def _admit(self, lease: Lease, ticket: Ticket, command: Any, patience: int, *, again: bool) -> Removed | None:  # noqa: ANN401
        # Give the lease a worker that its hooks let it have. Whatever is raised, or if the hooks do not: it has none.
        number = ticket.call
        label = name_of(command)
        try:
            if again and remaining_s(patience) <= 0:
                self.hooks.cancelled("queued")
                raise CheckoutTimeout(f"{label!r}: no worker of pool {self.crew.name!r} was fit in time")
            self._require_time(ticket, label)
            self._checkout(ticket, label, patience, again=again)
            lease.busy = lease.for_one_call
            self.housekeeper.open[number] = Open(lease, ticket, self.housekeeper.lost.append)
            self.housekeeper.keep_watch()
            self._require_time(ticket, label)  # it may have been held up at the lock
            if self.hooks.active or not lease.for_one_call:
                self._introduce(lease, ticket, command)
            return None
        except Removed as removed:
            self.end_worker(ticket, removed.args[0])
            self.housekeeper.open.pop(number, None)
            if isinstance(removed, Spoilt):
                raise removed.args[0] from None
            return removed
        except BaseException as error:
            held = ticket.state is TicketState.ACCEPTED
            self.abort_surely(ticket)
            self.housekeeper.open.pop(number, None)
            if not isinstance(error, Exception):
                self.hooks.cancelled("checked_out" if held else "queued")
            raise

    def _require_time(self, ticket: Ticket, label: str) -> None:
        if ticket.deadline_ns <= now_ns():
            self.hooks.cancelled("queued")
            raise CheckoutTimeout(f"{label!r}: there was no time left for pool {self.crew.name!r} to serve it")

    def _introduce(self, lease: Lease, ticket: Ticket, command: Any) -> None:  # noqa: ANN401
        # The hooks of a checkout. Meanwhile the client is in the application's code: a worker that ends is taken back.
        worker = ticket.worker
        if worker is None or worker.door.process.exited():
            raise Removed("exited")
        lease.busy = False
        if self.hooks.active:
            self.housekeeper.deliver(ticket)
            lease.client = self.hooks.checkout(command, ticket)
        with self.lock:
            lease.busy = lease.for_one_call and ticket.worker is not None
        if ticket.worker is None:
            raise lease.lost()

    def execute_on(
        self, lease: Lease, ticket: Ticket, command: str, args: dict[str, Any], timeout_s: float | None
    ) -> Any:  # noqa: ANN401
        """One call on a lease's worker. It is told from ENQUEUE, which names its worker, to DONE, with no ACCEPT."""
        worker = ticket.worker
        lost = lease.lost() if worker is None else self.why_lost(lease, worker) if worker.door.dirty else None
        if isinstance(lost, LeaseError):
            raise lost  # what a lease cannot do any more is no call
        number = next(self._ids)
        if not lease.counted:
            return _result(self._use(lease, ticket, number, command, args, timeout_s))
        self.calls[number] = IN_FLIGHT
        outcome = "Cancelled"
        try:
            if self._observer is not None:
                self.supervisor.emit(EventKind.ENQUEUE, call=number, worker=ticket.worker_id)
            result = _result(self._use(lease, ticket, number, command, args, timeout_s))
            outcome = "result"
            return result
        except PoolError as error:
            told = self.told(error)
            outcome = type(told).__name__
            if told is not error:
                raise told from error
            raise
        finally:
            self.calls[number] = outcome
            self.after_call(number, outcome)

    def _use(
        self, lease: Lease, ticket: Ticket, number: int, command: str, args: dict[str, Any], timeout_s: float | None
    ) -> Response:
        # One exchange, unless the lease has lost its worker or is in the middle of another one.
        deadline = min(deadline_ns(self.limit_s(timeout_s)), lease.deadline_ns)
        frame = encode_request(number, command, args, limit_bytes=self._limit_bytes)
        with self.lock:
            worker = ticket.worker
            if worker is not None and not worker.door.dirty and lease.deadline_ns > now_ns():
                lease.busy = True
                ticket.deadline_ns = deadline
                early = deadline < self.coordinator.watch_ns
        if worker is None:
            raise lease.lost()
        if not lease.busy:
            raise self.why_lost(lease, worker)
        try:
            if early:
                self.supervisor.look()
            response = self._exchange(ticket, number, frame, deadline)
            worker.served += lease.requests > 0  # the checkin counts one
            lease.requests += 1
            return response
        except PoolError as error:
            if worker.door.dirty:
                self.mark_ended(worker, error)
            raise
        finally:
            lease.busy = False  # a store, into which no interrupt can come
            self.set_deadline(ticket, lease.deadline_ns)

    def why_lost(self, lease: Lease, worker: Worker) -> PoolError:
        """The error for a client whose lease has no use any more."""
        return self.fate(lease.deadline_ns, worker)

    def fate(self, deadline: int, worker: Worker) -> PoolError:
        """The same, for one that keeps no reference to the lease, which would be a cycle."""
        worker_id = worker.worker_id
        if self.coordinator.closing:
            return PoolClosed(f"pool {self.crew.name!r} was closed during the lease", worker_id=worker_id)
        if deadline <= now_ns():
            return CallTimeout(f"the lease of worker {worker_id} has passed its deadline", worker_id=worker_id)
        if worker.door.dirty:
            return LeaseError(f"a call on worker {worker_id} was not brought to its end; its lease is over")
        return WorkerCrashed(
            f"worker {worker_id} ended between two calls of its lease",
            sent=Sent.NO,
            worker_id=worker_id,
            stderr_tail=worker.door.tail.text(),
        )

    def set_deadline(self, ticket: Ticket, deadline: int) -> None:
        """Have the supervisor end the ticket's worker at this time."""
        with self.lock:
            ticket.deadline_ns = deadline
            early = deadline < self.coordinator.watch_ns
        if early:
            self.supervisor.look()

    def end_lease(self, lease: Lease, ticket: Ticket, error: BaseException | None) -> None:
        """The client is done with its lease; with an error its worker is ended.

        Of a lease for one call an error costs a worker only if something is outstanding on it, or if its session's
        state is in doubt. A worker that is kept is checked in by its hook.
        """
        worker = ticket.worker
        lease.busy = False
        gone = worker is None or worker.door.dirty or worker.door.overdue or worker.exited
        in_order = error is None or (lease.for_one_call and (isinstance(error, PoolError) or ticket.session is None))
        try:
            if in_order and not gone and self.hooks.active:
                self.hooks.checkin(lease.client, ticket)
            if gone or not in_order:
                if worker is not None:
                    self.mark_ended(worker, self.why_lost(lease, worker) if error is None else error)
                self.abort_surely(ticket, reason="" if in_order else describe(error) or "raised")
            elif error is None:
                self.leave(ticket)
            else:
                self.abort_surely(ticket)
        except Removed as removed:
            self.end_worker(ticket, removed.args[0])
        self.housekeeper.open.pop(ticket.call, None)
        if error is not None and not (lease.for_one_call and isinstance(error, PoolError)):
            self.hooks.cancelled("checked_out")

    def end_worker(self, ticket: Ticket, reason: object) -> None:
        """Give the worker back to be ended for this reason."""
        self.mark_ended(ticket.worker, reason)
        self.abort_surely(ticket, reason=describe(reason) or "removed")

    def mark_ended(self, worker: Worker | None, reason: object) -> None:
        """Keep the reason for the worker's terminate hook, if it is the first."""
        if self.hooks.active and worker is not None and worker.worker_id in self.coordinator.workers:
            self.housekeeper.reasons.setdefault(worker.worker_id, reason)

    # The pool as a whole.

    def limit_s(self, timeout_s: float | None) -> float:
        """A call's limit in seconds."""
        return duration("timeout_s", timeout_s, self.config.call_timeout_s, CALL_TIMEOUT_S)

    def patience_s(self, checkout_timeout_s: float | None) -> float:
        """How long a call waits for a worker, in seconds."""
        return duration("checkout_timeout_s", checkout_timeout_s, self.config.checkout_timeout_s, CHECKOUT_TIMEOUT_S)

    def warm_up(self, n: int, deadline: int) -> int:
        """Wait until `n` workers are ready, or the deadline or an open circuit; how many are. Raises PoolClosed."""
        coordinator = self.coordinator
        with self.lock:
            self._require_open()
            coordinator.floor = max(coordinator.floor, n)
        self.supervisor.look()
        with self.lock:
            while coordinator.ready_workers < n and not coordinator.circuit.refuses(now_ns()):
                self._require_open()
                if remaining_s(deadline) <= 0:
                    break
                self.supervisor.progress.wait(remaining_s(deadline))
            return coordinator.ready_workers

    def _require_open(self) -> None:
        if self.coordinator.closing:
            raise PoolClosed(f"pool {self.crew.name!r} is closed")

    def next_id(self) -> int:
        """A number for a call that nobody has used."""
        return next(self._ids)

    def stop_because(self, reason: object) -> None:
        """Close the pool from within, for a reason that whoever comes later is told. Only the first reason counts."""
        with self.lock:
            if self.coordinator.closing or self.coordinator.stop_reason:
                return
            self.coordinator.stop_reason = describe(reason) or "stopped by a hook"
            self.hooks.stop_reason = reason
        threading.Thread(target=self.close, args=(self.config.close_grace_s,), name="pool-v2-stop", daemon=True).start()

    def _count(self) -> dict[str, int]:
        with self.lock:
            for number, outcome in self.calls.copy().items():  # in one step: clients go on without the lock
                if outcome != IN_FLIGHT:
                    self._ended[outcome] += 1
                    del self.calls[number]
            return dict(self._ended)

    def status(self) -> PoolStatus:
        """A consistent snapshot."""
        outcomes = self._count()
        in_flight = len(self.calls)
        coordinator = self.coordinator
        with self.lock:
            workers = tuple(
                WorkerStatus(
                    worker_id=worker.worker_id,
                    pid=0 if worker.door is None else worker.door.process.pid,
                    state=coordinator.state_of(worker).value,
                    served=worker.served,
                )
                for worker in coordinator.workers.values()
            )
            return PoolStatus(
                name=self.crew.name,
                version="v2",
                state="closed" if self._closed.is_set() else "closing" if coordinator.closing else "open",
                target=coordinator.limits.size,
                workers=workers,
                waiting=coordinator.waiting,
                sessions=len(coordinator.sessions),
                statistics=Statistics(
                    submitted=sum(outcomes.values()) + in_flight, in_flight=in_flight, outcomes=outcomes
                ),
            )

    def close(self, grace_s: float) -> None:
        """Refuse, drain for at most `grace_s` seconds, end, bury. Idempotent; a second caller waits for the first."""
        deadline = deadline_ns(min(grace_s, 366 * 86400.0))
        with self._closing:
            if self._closed.is_set() or self._close_begun:
                return  # done; or a signal's handler calls in the middle of a close in this very thread
            self._close_begun = True
            try:
                with self.lock:
                    woken = self.coordinator.close()
                    self.supervisor.progress.notify_all()
                self.supervisor.wake(woken)
                self.supervisor.look()
                if not self._await_burials(deadline):
                    with self.lock:
                        orders = self.coordinator.kill_rest()
                    for order in orders:
                        if order.worker is not None and order.worker.door is not None:
                            self.supervisor.signal(order.act, order.worker, order.reason)
                    self._await_burials(deadline_ns(END_TIMEOUT_S))
                self.housekeeper.stop()
                self.supervisor.stop()
                self.hooks.terminate_pool()
                self.crew.disband()
                self._closed.set()
                self.supervisor.emit(EventKind.CLOSE)
            finally:
                self._close_begun = False

    def _await_burials(self, deadline: int) -> bool:
        with self.lock:
            while self.coordinator.workers and remaining_s(deadline) > 0:
                self.supervisor.progress.wait(remaining_s(deadline))
            return not self.coordinator.workers


CALL_TIMEOUT_S = 30.0
CHECKOUT_TIMEOUT_S = 5.0


def name_of(command: object) -> str:
    """What a message calls the command of a checkout, which may be any object."""
    return command[:MOST_CHARACTERS] if isinstance(command, str) else "checkout"


def _result(response: Response) -> Any:  # noqa: ANN401 - any JSON value
    if not response.success:
        raise CommandError(str(response.error))
    return response.result


def _limits(config: PoolConfig) -> Limits:
    floor = 0 if config.lazy else config.workers if config.min_workers is None else config.min_workers
    return Limits(
        size=config.workers,
        floor=floor,
        most=config.workers + config.overflow,
        max_requests=config.max_requests,
        max_age_ns=_ns(config.max_age_s),
        max_memory_bytes=config.max_memory_bytes,
        idle_timeout_ns=_ns(config.idle_timeout_s),
        ping_interval_ns=_ns(config.ping_interval_s),
        max_idle_pings=config.max_idle_pings,
        hot=config.idle_order == "hot",
    )


def _ns(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds * 1e9)


def as_change(command: str, frame: bytearray) -> StateChange:
    """What a handover repeats: what was sent, whatever the client makes of its own objects later."""
    try:
        return StateChange(command, decode_request(bytes(frame[HEADER_BYTES:])).args)
    except ProtocolError as error:
        raise InvalidRequest(f"the arguments of {command!r} cannot be repeated: {error}") from error


def _describe_holders(tickets: list[Ticket]) -> tuple[str, ...]:
    # Who has the workers that this client waited for, and where each of these threads is now.
    frames = sys._current_frames()
    told = []
    for ticket in tickets[:MOST_HOLDERS]:
        frame = frames.get(ticket.thread_id)
        where = "" if frame is None else "".join(traceback.format_stack(frame, limit=4)).rstrip()
        told.append(
            f"call {ticket.call} holds worker {ticket.worker_id}, in thread {ticket.thread_id}\n{where}".rstrip()
        )
    return tuple(told)


def close_in_background(engine: Engine) -> None:
    """Close at once, in a thread of its own: a finalizer may run in any thread, under any lock.

    A forked child's copy is only forgotten: what it would end is its parent's.
    """
    try:
        engine.crew.require_owner()
    except PoolClosed:
        return
    threading.Thread(target=engine.close, args=(0.0,), name="pool-v2-finalizer", daemon=True).start()
