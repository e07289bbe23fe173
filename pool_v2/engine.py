"""V2's engine: the one lock, the coordinator under it, the path of a call outside it.

Refuses to know the interface's options; the pool in front of it can be dropped without being closed.

The path of a call: encode → under the lock a worker or a place in the queue → wait behind the ticket's own gate → write
and read, in the client's thread → under the lock the worker goes back, or to the head of the queue → wake that one. If
that one's call is a plain one, who hands it the worker writes its request too, and it is woken by the answer.

Interrupts. A KeyboardInterrupt may come between any two steps. Whatever it breaks off ends in `_abort`, which gives the
worker back, or has the supervisor take it; what it tore in the coordinator's records the next `plan` mends.
"""

from __future__ import annotations

import itertools
import sys
import threading
from threading import get_ident
from typing import Any

from msgspec import UNSET

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
    Sent,
    Statistics,
    WorkerCrashed,
    WorkerStatus,
)
from bridge.clock import deadline_ns, now_ns, remaining_s
from bridge.config import duration
from bridge.crew import Crew
from bridge.door import Door
from bridge.messages import Response, encode_request
from pool_v2.accounts import IN_FLIGHT, MOST_UNCOUNTED, Accounts
from pool_v2.batch import Batch
from pool_v2.behaviour import WorkerBehaviour
from pool_v2.circuit import Circuit
from pool_v2.coordinator import Affinity, Coordinator
from pool_v2.gates import AnswerGate, Gates
from pool_v2.handover import Handover
from pool_v2.holders import describe_holders
from pool_v2.hooks import Hooks, describe
from pool_v2.housekeeper import Housekeeper
from pool_v2.lending import Lending
from pool_v2.orders import Act
from pool_v2.roster import Limits
from pool_v2.streaming import Streaming
from pool_v2.supervisor import LONGEST_SLEEP_S, Supervisor
from pool_v2.ticket import Ticket, TicketState

END_TIMEOUT_S = 5.0
"""How long the burial of killed workers may take at close."""
WATCHED_NS = int(2 * LONGEST_SLEEP_S * 1e9)
"""A wait of more than this is left to the supervisor, which looks before it is over: a timer a call costs more."""
_ACCEPTED, _OFFERED, _WAITING = TicketState.ACCEPTED, TicketState.OFFERED, TicketState.WAITING


class Engine:
    """Runs calls. Every method may be called from any thread.

    Invariants: a worker's channel is used by the one thread whose ticket holds the worker, from grant to leave; but its
    request may be written by the thread that granted it the worker, if that has popped the ticket's claim. A gate is
    one call's until its client puts it back: it has had its answer, or nothing was sent that could be answered.
    """

    def __init__(self, config: PoolConfig, observer: Observer | None, behaviour: WorkerBehaviour | None) -> None:
        self.config = config
        self.hooks = Hooks(behaviour)
        self.hooks.init_pool()
        self.crew = Crew(config, version="v2")
        self._observer = observer
        self.leases = Lending(self)
        self.sessions = Handover(self)
        self.streaming = Streaming(self)
        self.batch = Batch(self)
        self.observed = observer is not None
        self._plain = observer is None and not self.hooks.active
        self.lock = threading.Lock()
        self.ids = itertools.count(1)
        self.limit_bytes = config.max_frame_bytes
        self.accounts = Accounts(self.lock)
        self.gates = Gates(self.crew.reply_dir)
        self._main = threading.main_thread().ident
        """Handlers of signals run in this thread, and what they raise may come between any two steps."""
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
        self.coordinator.sessions.in_flight = self.accounts.in_flight
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
        number = next(self.ids)
        calls = self.accounts.calls
        calls[number] = IN_FLIGHT
        outcome = "Cancelled"
        try:
            me = get_ident()
            if session_id is not None or not self._plain or me == self._main:
                self.supervisor.emit(EventKind.ENQUEUE, call=number)
                response = self._run_at_length(number, command, args, session_id, deadline, patience)
            else:
                # The common call, in one piece: `_attempt` without an observer, and without its function calls. No
                # handler of a signal runs in this thread, so locks can be taken without `with`, in half the time.
                coordinator, lock, gates = self.coordinator, self.lock, self.gates
                reply = gates.take()
                try:
                    reply_to = UNSET if reply is None else reply.number
                    frame = encode_request(number, command, args, limit_bytes=self.limit_bytes, reply_to=reply_to)
                except InvalidRequest:
                    if reply is None:
                        raise
                    gates.free.append(reply)
                    reply = None  # its number may have been too much
                    frame = encode_request(number, command, args, limit_bytes=self.limit_bytes)
                ticket = Ticket(number, None, deadline, me, [frame], patience, gate=reply)
                try:
                    try:
                        lock.acquire()
                        now = now_ns()
                        coordinator.enter(ticket, now)
                    finally:
                        lock.release()
                    if coordinator.attention:
                        self.supervisor.look()
                    gate, answer, ahead = ticket.gate, None, 0
                    if ticket.queued_ns and gate is not None:
                        left = patience - now
                        woken = gate.wait(None if left > WATCHED_NS else left / 1e9)
                        answer = gate.answer
                        if not answer:
                            ahead = self._take_turn(ticket, frame, command, patience, woken=woken)
                            answer = gate.answer
                    door: Door = ticket.worker.door  # type: ignore[union-attr]
                    if answer:
                        gate.answer = None  # type: ignore[union-attr]
                        ticket.state = _ACCEPTED
                        response = door.conclude(number, answer)
                    else:
                        response = door.exchange(number, frame, deadline_ns=deadline, ahead=ahead, reply=reply)
                        if reply is not None and reply.lost:
                            reply = ticket.gate = gate = None
                            gates.lost()
                    if reply is not None:
                        ticket.gate = None
                        gates.free.append(reply)
                    try:
                        lock.acquire()
                        offered = coordinator.leave(ticket, now_ns(), clean=True)
                    finally:
                        lock.release()
                    for waiter in offered:
                        waiter.hand_over()
                    if coordinator.attention:
                        self.supervisor.look()
                except BaseException as error:
                    gate = reply = None
                    if not self._gave_up(ticket, error, patience):
                        raise
                    frame = encode_request(number, command, args, limit_bytes=self.limit_bytes)
                    response = self._attempt(number, frame, command, deadline, patience, again=True)
            if not response.success:
                gate = reply = None  # whoever keeps the error keeps this frame
                raise CommandError(str(response.error))
            outcome = "result"
            return response.result
        except PoolError as error:
            told = self.told(error)
            outcome = type(told).__name__
            if told is not error:
                raise told from error
            del told  # it would be a reference of the error to itself, and keep the ticket
            raise
        finally:
            calls[number] = outcome
            if self.observed or len(calls) > MOST_UNCOUNTED:
                self.after_call(number, outcome)

    def _run_at_length(
        self, number: int, command: str, args: dict[str, Any], session_id: str | None, deadline: int, patience: int
    ) -> Response:
        # With somebody who watches, or hooks, or a session.
        if session_id is not None:
            return self.sessions.run(number, command, args, session_id, deadline, patience)
        frame = encode_request(number, command, args, limit_bytes=self.limit_bytes)
        if self.hooks.active:
            return self.leases.run(number, frame, command, deadline, patience)
        return self._attempt(number, frame, command, deadline, patience)

    def told(self, error: PoolError) -> PoolError:
        """What the caller is told: a worker that the close has ended did not crash."""
        if type(error) is WorkerCrashed and self.coordinator.closing and error.sent is not Sent.NO:
            message = f"pool {self.crew.name!r} was closed during the call"
            return PoolClosed(message, sent=error.sent, worker_id=error.worker_id)
        return error

    def after_call(self, number: int, outcome: str) -> None:
        """The outcome of this call is in `calls`."""
        if len(self.accounts.calls) > MOST_UNCOUNTED:
            self.accounts.sum_up()
        if self.observed:
            self.supervisor.emit(EventKind.DONE, call=number, detail=outcome)

    def _attempt(
        self, number: int, frame: bytearray, command: str, deadline: int, patience: int, *, again: bool = False
    ) -> Response:
        # Again only if a worker was found dead before it took a byte: that costs nothing, and the call keeps its place.
        while True:
            ticket = Ticket(number, None, deadline, get_ident())
            try:
                self.checkout(ticket, command, patience, again=again)
                response = self.exchange(ticket, number, frame, deadline)
                self.leave(ticket)
                return response
            except BaseException as error:
                if not self._gave_up(ticket, error, patience):
                    raise
                again = True

    def _gave_up(self, ticket: Ticket, error: BaseException, patience: int) -> bool:
        # The ticket owns nothing after this, and its call has failed with `error`. Whether it may go elsewhere.
        try:
            self.abort_surely(ticket)
        except BaseException:  # an interrupt came into the very steps that give the worker back
            self.supervisor.abandon(ticket)
            raise
        gate, ticket.gate = ticket.gate, None
        if isinstance(gate, AnswerGate) and isinstance(error, PoolError) and error.sent is Sent.NO:
            self.gates.free.append(gate)  # no answer can come through it
        return self.may_go_elsewhere(error, patience)

    def checkout(self, ticket: Ticket, command: str, patience: int, *, again: bool = False) -> None:
        """Wait for a worker until `patience` (ns, absolute). The ticket is ACCEPTED then, or it raises why not."""
        self.enter(ticket, again=again)
        if ticket.state is not _ACCEPTED:
            self._await_worker(ticket, command, patience)
        if self.observed:
            self.supervisor.emit(EventKind.ACCEPT, call=ticket.call, worker=ticket.worker_id)

    def enter(self, ticket: Ticket, *, again: bool = False) -> None:
        """Give the ticket a worker (ACCEPTED) or a place in the queue (WAITING), or raise why not."""
        with self.lock:
            self.coordinator.enter(ticket, now_ns(), again=again)
        if self.coordinator.attention:
            self.supervisor.look()

    def _await_worker(self, ticket: Ticket, command: str, patience: int) -> None:
        woken = ticket.wait((patience - now_ns()) / 1e9)
        self._take_offer(ticket, command, patience, woken=woken)

    def _take_turn(self, ticket: Ticket, frame: bytearray, command: str, patience: int, *, woken: bool) -> int:
        # It waited, and nothing has come but perhaps a worker. How much of its request was written ahead.
        self._take_offer(ticket, command, patience, woken=woken)
        ahead = ticket.ahead if ticket.ahead >= 0 else ticket.take_back()
        if not isinstance(ticket.gate, AnswerGate):
            self.gates.lacking()
        return len(frame) if ahead < 0 else ahead

    def _take_offer(self, ticket: Ticket, command: str, patience: int, *, woken: bool) -> None:
        while ticket.state is _WAITING and patience > now_ns():  # a gate may open for nothing
            woken = ticket.wait((patience - now_ns()) / 1e9)
        if ticket.answered:
            ticket.state = _ACCEPTED
        if ticket.state is _ACCEPTED:
            return  # whoever gave it the worker has written its request
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
            if state is TicketState.WAITING:
                ticket.claim = None  # whoever offers it a worker from now on sends nothing
            holders = self.coordinator.open_calls() if state is TicketState.WAITING else []
        if ticket.error is not None:
            raise ticket.error
        late = ticket.deadline_ns <= now_ns() and not ticket.take_back()  # no time is left to do anything with it
        if state is not TicketState.ACCEPTED or late:
            self.hooks.cancelled("queued")
            raise CheckoutTimeout(
                f"{command!r}: no worker of pool {self.crew.name!r} was free in time",
                holders=describe_holders(holders),
            )

    def exchange(self, ticket: Ticket, number: int, frame: bytearray, deadline: int) -> Response:
        """Write the request, read its response; the observer is told of both."""
        worker = ticket.worker
        assert worker is not None, "only a ticket that owns a worker can use it"
        door: Door = worker.door
        if not self.observed:
            return door.exchange(number, frame, deadline_ns=deadline)
        emit, pid = self.supervisor.emit, door.pid
        response = door.exchange(
            number,
            frame,
            deadline_ns=deadline,
            on_sent=lambda: emit(EventKind.SEND, call=number, worker=worker.worker_id, pid=pid),
        )
        emit(EventKind.RECEIVE, call=number, worker=worker.worker_id, pid=pid)
        return response

    def leave(self, ticket: Ticket, *, reason: str = "") -> None:
        """Check the worker in: the exchange is over, and nothing is outstanding."""
        if self.observed and ticket.worker is not None:
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
        ticket.take_back()  # whoever may be writing for it is done after this, so what is dirty is known
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
        return next(self.ids)

    def stop_because(self, reason: object) -> None:
        """Close the pool from within, for a reason that whoever comes later is told. Only the first reason counts."""
        with self.lock:
            if self.coordinator.closing or self.coordinator.stop_reason:
                return
            self.coordinator.stop_reason = describe(reason) or "stopped by a hook"
            self.hooks.stop_reason = reason
        threading.Thread(target=self.close, args=(self.config.close_grace_s,), name="pool-v2-stop", daemon=True).start()

    def status(self) -> PoolStatus:
        """A consistent snapshot."""
        outcomes, in_flight = self.accounts.sum_up()
        coordinator = self.coordinator
        with self.lock:
            workers = tuple(
                WorkerStatus(
                    worker_id=worker.worker_id,
                    pid=0 if worker.door is None else worker.door.pid,
                    state=coordinator.state_of(worker).value,
                    served=worker.served,
                )
                for worker in coordinator.workers.values()
                if not worker.exited_ns or worker.worker_id in coordinator.held  # of others nothing lives
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
                return  # done; or a hook calls in the middle of a close in this very thread
            self._close_begun = True
            try:
                with self.lock:
                    self.supervisor.refused += self.coordinator.waiting_calls()
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
                self._let_go()
                self.hooks.terminate_pool()
                self.gates.close()
                self.crew.disband()
                self._closed.set()
                self.supervisor.emit(EventKind.CLOSE)
            finally:
                self._close_begun = False

    def _let_go(self) -> None:
        # Nobody watches the workers any more. One may have outlived its kill; its client looks at it and at the clock.
        for ticket in self.coordinator.open_calls():
            worker = ticket.worker
            if worker is not None:
                worker.door.watched = False
                ticket.wake()

    def _await_burials(self, deadline: int) -> bool:
        with self.lock:
            while self.coordinator.workers and remaining_s(deadline) > 0:
                self.supervisor.progress.wait(remaining_s(deadline))
            return not self.coordinator.workers


CALL_TIMEOUT_S = 30.0
CHECKOUT_TIMEOUT_S = 5.0


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


def close_in_background(engine: Engine) -> None:
    """Close at once, in a thread of its own: a finalizer may run in any thread, under any lock.

    A forked child's copy is only forgotten: what it would end is its parent's.
    """
    try:
        engine.crew.require_owner()
    except PoolClosed:
        return
    threading.Thread(target=engine.close, args=(0.0,), name="pool-v2-finalizer", daemon=True).start()
