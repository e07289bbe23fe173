"""The common base of all entry points of V2: the lock, the coordinator, the supervisor, checkout and checkin.

Calls are made in `pool_v2.calls`, `lifetime` closes the pool, options are handled by PoolV2. The PoolV2 object in front
of the runtime can be dropped without being closed.

Interrupts. A KeyboardInterrupt may come between any two steps. An interrupted call always reaches `give_up`, which
gives the worker back or lets the supervisor take it. The next `plan` repairs the coordinator's state.
"""

from __future__ import annotations

import itertools
from functools import partial

from poolproof.bridge import (
    CheckoutTimeout,
    EventKind,
    Observer,
    PoolClosed,
    PoolConfig,
    PoolError,
    Sent,
    WorkerCrashed,
)
from poolproof.bridge.config import duration
from poolproof.pool_v2.calls.handoff import hand_over, note_ahead, take_back
from poolproof.pool_v2.calls.lease import OpenLeases
from poolproof.pool_v2.core.accounts import MOST_UNCOUNTED, Accounts
from poolproof.pool_v2.core.actions import Act
from poolproof.pool_v2.core.behaviour import WorkerBehaviour
from poolproof.pool_v2.core.coordinator import Coordinator
from poolproof.pool_v2.core.sessions import Session
from poolproof.pool_v2.core.ticket import Ticket, TicketState
from poolproof.pool_v2.running.event_log import EventLog
from poolproof.pool_v2.running.holders import describe_holders
from poolproof.pool_v2.running.hooks import Hooks
from poolproof.pool_v2.running.platform import MACHINE, Platform
from poolproof.pool_v2.running.supervisor import Supervisor

CALL_TIMEOUT_S = 30.0
CHECKOUT_TIMEOUT_S = 5.0
_ACCEPT, _CHECKIN, _DONE = EventKind.ACCEPT, EventKind.CHECKIN, EventKind.DONE
_ACCEPTED, _OFFERED, _WAITING = TicketState.ACCEPTED, TicketState.OFFERED, TicketState.WAITING


class Runtime:
    """The state and supervision of one pool. Every method may be called from any thread.

    Invariant: from grant to leave, only the client whose ticket holds the worker uses the worker's transport.
    Exception: the thread that granted the worker may write the client's request (`poolproof.pool_v2.calls.handoff`).
    """

    supervisor: Supervisor

    def __init__(
        self,
        config: PoolConfig,
        observer: Observer | None,
        behaviour: WorkerBehaviour | None,
        platform: Platform = MACHINE,
    ) -> None:
        self.config = config
        self.platform = platform
        self.clock = platform.clock
        self.now_ns = platform.clock.now_ns
        self.io = platform.io
        self.hooks = Hooks(behaviour)
        self.hooks.init_pool()
        self.process_manager = platform.processes(config)
        self.replies = platform.replies(self.process_manager.reply_dir)
        self.lock = platform.lock()
        self.ids = itertools.count(1)
        self.limit_bytes = config.max_frame_bytes
        self.abilities = self.process_manager.abilities
        self.accounts = Accounts(self.lock)
        self.open = OpenLeases()
        self._open_leases = self.open.by_call
        self.coordinator = Coordinator.of(config, self.process_manager.name)
        self.coordinator.sessions.in_flight = self.accounts.in_flight
        try:
            self.log = None if observer is None else EventLog(observer, self.process_manager.name, platform)
        except BaseException:
            self.process_manager.shut_down()
            raise

    # Checkout and checkin.

    def told(self, error: PoolError) -> PoolError:
        """Return the error for the caller: PoolClosed, not WorkerCrashed, for a worker that `close` has ended."""
        if type(error) is WorkerCrashed and self.coordinator.closing:
            message = f"pool {self.process_manager.name!r} was closed during the call"
            return PoolClosed(message, sent=error.sent, worker_id=error.worker_id)
        return error

    def tell_done(self, number: int, outcome: str) -> None:
        """Note the call's outcome for the observer, before the outcome is counted, because `close` waits for that."""
        if self.log is not None:
            self.log.append((_DONE, self.now_ns(), number, None, None, outcome))
            if self.log.closed:  # deliver the outcome of a call on a closed pool, too
                self.log.tell_late()

    def tidy(self, failure: type[BaseException] | None) -> None:
        """Sum up ended calls if there are many. `failure` is the type of the error that ended the last call, if any."""
        if len(self.accounts.calls) > MOST_UNCOUNTED and failure is not GeneratorExit:  # see give_up
            self.accounts.sum_up()

    def enter(self, ticket: Ticket, again: bool = False) -> None:
        """Give the ticket a worker (ACCEPTED) or a place in the queue (WAITING). Otherwise raises the reason."""
        with self.lock:
            self.coordinator.enter(ticket, self.now_ns(), again=again)
        if self.log is not None and ticket.state is _ACCEPTED:
            self.log.append((_ACCEPT, self.now_ns(), ticket.call, ticket.worker_id))
        if self.coordinator.attention:
            self.supervisor.look()

    def settle(self, ticket: Ticket, label: str) -> None:
        """End the wait of a ticket whose client cannot simply accept an offer: ACCEPTED; otherwise raises why not."""
        with self.lock:
            state = ticket.state
            if state is _WAITING:
                ticket.claim = None  # threads that grant a worker from now on write no request
            holders = self.coordinator.open_calls() if state is _WAITING else []
            failing = self.coordinator.failing_starts() if state is _WAITING else ""
        if ticket.error is not None:
            raise ticket.error
        late = ticket.deadline_ns <= self.now_ns() and not take_back(ticket)  # no time is left to use the worker
        if state is _OFFERED and not late:
            self.coordinator.accept(ticket)
        elif state is not _ACCEPTED or late:
            self.hooks.cancelled("queued")
            raise CheckoutTimeout(
                f"{label!r}: no worker of pool {self.process_manager.name!r} was free before the checkout deadline"
                f"{failing}",
                holders=describe_holders(holders),
            )

    def leave(self, ticket: Ticket, *, reason: str = "") -> None:
        """Check the worker in after an exchange. The worker is ended for a `reason` or an outstanding response."""
        worker = ticket.worker
        if worker is not None and worker.transport.dirty:
            self.give_up(ticket, None, reason=reason)  # a snapshot was not answered
            return
        if self.log is not None and worker is not None:
            self.log.append((_CHECKIN, self.now_ns(), ticket.call, ticket.worker_id))
        with self.lock:
            offered = self.coordinator.leave(ticket, self.now_ns(), clean=True, reason=reason)
        if self._open_leases:
            self._open_leases.pop(ticket.call, None)
        for waiter in offered:
            hand_over(waiter, self.log)
        if self.coordinator.attention:
            self.supervisor.look()

    def give_up(self, ticket: Ticket, error: BaseException | None, *, reason: str = "") -> None:
        """Return the worker or the place in the queue that the ticket holds, because of `error`. It then holds nothing.

        GeneratorExit may come in the garbage collector, under any lock; then the supervisor does the work a little
        later.
        """
        if isinstance(error, GeneratorExit):
            self.open.dropped.append(partial(self._give_back, ticket, error, reason))
            return
        try:
            self._give_back(ticket, error, reason)
        except BaseException:  # an interrupt came during the cleanup itself
            self.supervisor.abandon(ticket)
            raise

    def _give_back(self, ticket: Ticket, error: BaseException | None, reason: str) -> None:
        written = take_back(ticket)  # after this no other thread writes for the ticket, so `dirty` is final
        worker, state = ticket.worker, ticket.state
        dirty = worker is not None and worker.reachable and bool(worker.transport.dirty or written)
        if dirty and worker is not None and not worker.killed:
            self.supervisor.signal(Act.KILL, worker, "dirty")  # before the client sees the timeout
            worker.killed = True  # only after the kill, because an interrupt may come between
        waits = state in (_WAITING, _OFFERED)
        if written:
            note_ahead(ticket, self.log, written)
        if self.log is not None and not waits and worker is not None and not dirty:
            self.log.note(EventKind.CHECKIN, ticket.call, worker.worker_id)
        with self.lock:
            if self.log is not None and waits and not written:  # otherwise an ACCEPT was noted
                # Under the lock, because a waiting ticket may have got an offer meanwhile.
                self.log.note(EventKind.WITHDRAW, ticket.call, ticket.worker_id)
            offered = self.coordinator.leave(ticket, self.now_ns(), clean=not dirty, reason=reason)
            if error is not None and not isinstance(error, Exception):
                self.coordinator.suspect()
        if ticket.reply_pipe is not None:  # so that an error that is kept does not keep a descriptor
            ticket.reply_pipe = None
            if worker is not None and dirty:
                worker.transport.reply_pipe = None
        if self._open_leases:
            self._open_leases.pop(ticket.call, None)
        for waiter in offered:
            hand_over(waiter, self.log)
        if self.coordinator.attention:
            self.supervisor.look()

    def release_session(self, number: int, session: Session, failure: type[BaseException] | None) -> None:
        """Record that this call no longer uses its session. Handles GeneratorExit like `give_up`."""
        if failure is GeneratorExit:
            self.open.dropped.append(partial(self.release_session, number, session, None))
            return
        with self.lock:
            self.coordinator.sessions.release(session, number, self.now_ns())

    def may_go_elsewhere(self, error: BaseException, until: int) -> bool:
        """Return whether a call that failed with `error` can be tried on another worker: nothing was sent."""
        if not isinstance(error, WorkerCrashed) or error.sent is not Sent.NO or self.coordinator.closing:
            return False
        return self.clock.remaining_s(until) > 0

    def limit_s(self, timeout_s: float | None) -> float:
        """Return the timeout of a call in seconds."""
        return duration("timeout_s", timeout_s, self.config.call_timeout_s, CALL_TIMEOUT_S)

    def wait_s(self, checkout_timeout_s: float | None) -> float:
        """Return the checkout timeout of a call in seconds."""
        return duration("checkout_timeout_s", checkout_timeout_s, self.config.checkout_timeout_s, CHECKOUT_TIMEOUT_S)
