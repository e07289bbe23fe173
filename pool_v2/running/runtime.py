"""The common base of all entry points of V2: the lock, the coordinator, the supervisor, checkout and checkin.

Calls are made in `pool_v2.calls`; options are handled by PoolV2. The PoolV2 object in front of the runtime can be
dropped without being closed.

Interrupts. A KeyboardInterrupt may come between any two steps. An interrupted call always reaches `give_up`, which
gives the worker back or lets the supervisor take it. The next `plan` repairs the coordinator's state.
"""

from __future__ import annotations

import itertools
import signal
import threading
from collections import deque
from collections.abc import Callable
from functools import partial

import msgspec

from poolproof.bridge import (
    CheckoutTimeout,
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
from poolproof.bridge.config import duration
from poolproof.bridge.events import EventKind
from poolproof.pool_v2.calls.handoff import hand_over, take_back
from poolproof.pool_v2.calls.lease import Open, Record
from poolproof.pool_v2.core.accounts import IN_FLIGHT, MOST_UNCOUNTED, Accounts
from poolproof.pool_v2.core.actions import Act
from poolproof.pool_v2.core.behaviour import WorkerBehaviour
from poolproof.pool_v2.core.circuit import Circuit
from poolproof.pool_v2.core.coordinator import Coordinator
from poolproof.pool_v2.core.grants import Affinity
from poolproof.pool_v2.core.sessions import Session
from poolproof.pool_v2.core.ticket import Ticket, TicketState
from poolproof.pool_v2.core.worker_table import NEVER_NS, Limits
from poolproof.pool_v2.running.event_log import EventLog
from poolproof.pool_v2.running.holders import describe_holders
from poolproof.pool_v2.running.hooks import Hooks, describe
from poolproof.pool_v2.running.platform import MACHINE, Platform
from poolproof.pool_v2.running.supervisor import Duties, Supervisor

CALL_TIMEOUT_S = 30.0
CHECKOUT_TIMEOUT_S = 5.0
LAST_CALLS_S = 0.5
"""How long the close of an observed pool waits for the outcomes of calls that it has ended, in seconds."""
LAST_CALLS_LOOK_S = 0.001
DRAIN_LOOK_S = 0.01
"""How often `drain` checks whether all calls have ended, in seconds."""
END_TIMEOUT_S = 5.0
"""How long killed workers may take to end at close, in seconds."""
_ACCEPT, _CHECKIN, _DONE = EventKind.ACCEPT, EventKind.CHECKIN, EventKind.DONE
_ACCEPTED, _OFFERED, _WAITING = TicketState.ACCEPTED, TicketState.OFFERED, TicketState.WAITING


class OpenLeases:
    """The open leases, and the records that the interpreter appends when a lease is lost."""

    def __init__(self) -> None:
        self.by_call: dict[int, Record] = {}
        self.lost: deque[Open] = deque()
        """Leases that were garbage-collected, appended by the interpreter."""
        self.dropped: deque[Callable[[], object]] = deque()
        """The postponed work of coroutine finalizers, which may run under the pool's lock."""


class Runtime:
    """The state and supervision of one pool. Every method may be called from any thread.

    Invariant: from grant to leave, only the client whose ticket holds the worker uses the worker's transport.
    Exception: the thread that granted the worker may write the client's request (`poolproof.pool_v2.calls.handoff`).
    """

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
        self._closed = threading.Event()
        self._closing = threading.RLock()
        self._close_begun = False
        self._warming = 0
        self._min_workers = config.min_workers
        self.coordinator = Coordinator(
            self.process_manager.name,
            Circuit(failures_to_open=config.start_failures_to_open, reset_s=config.circuit_reset_s),
            _limits(config),
            max_queue=config.max_queue,
        )
        self.coordinator.affinity = Affinity(config.session_affinity)
        self.coordinator.sessions.in_flight = self.accounts.in_flight
        try:
            self.log = None if observer is None else EventLog(observer, self.process_manager.name, platform)
        except BaseException:
            self.process_manager.disband()
            raise

    def begin(self, duties: Duties) -> None:
        """Start the supervisor, which delegates slow work to `duties`. If that fails, the whole pool is shut down."""
        self._duties = duties
        try:
            self.supervisor = Supervisor(
                self.coordinator,
                self.lock,
                self.process_manager,
                duties,
                start_timeout_s=self.config.start_timeout_s,
                log=self.log,
                platform=self.platform,
            )
            self.supervisor.start()
        except BaseException:
            if self.log is not None:
                self.log.close()
            self.process_manager.disband()
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
        """Give back what the ticket holds, in whatever state, because of `error`. Afterwards the ticket owns nothing.

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
        if self.log is not None and not waits and worker is not None and not dirty:
            self.log.note(EventKind.CHECKIN, ticket.call, worker.worker_id)
        with self.lock:
            if self.log is not None and waits and not written:  # the thread that wrote the request noted an ACCEPT
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

    def await_answer(self, ticket: Ticket) -> bool:
        """Let the supervisor read the response that is due, in place of the client, and then check the worker in.

        The call's deadline still ends the worker. Returns False, and does nothing, if no response is due, or if the
        call belongs to a session, whose state would be in doubt.
        """
        worker = ticket.worker
        if worker is None or ticket.session is not None or ticket.state is not _ACCEPTED or not worker.transport.dirty:
            return False
        self.supervisor.await_answer(ticket, self._answered)
        self._open_leases.pop(ticket.call, None)
        return True

    def _answered(self, ticket: Ticket, failed: bool) -> None:
        if failed:
            self.give_up(ticket, None)
            return
        if self.log is not None and ticket.worker is not None:
            self.log.note(EventKind.RECEIVE, ticket.call, ticket.worker_id, ticket.worker.pid)
        self.leave(ticket)

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

    # The pool as a whole.

    def limit_s(self, timeout_s: float | None) -> float:
        """Return the timeout of a call in seconds."""
        return duration("timeout_s", timeout_s, self.config.call_timeout_s, CALL_TIMEOUT_S)

    def wait_s(self, checkout_timeout_s: float | None) -> float:
        """Return the checkout timeout of a call in seconds."""
        return duration("checkout_timeout_s", checkout_timeout_s, self.config.checkout_timeout_s, CHECKOUT_TIMEOUT_S)

    def warm_up(self, n: int, deadline: int) -> int:
        """Wait until `n` workers are ready, the deadline, or an open circuit. Returns how many are ready.

        Raises PoolClosed.
        """
        coordinator = self.coordinator
        with self.lock:
            self._require_open()
            self._warming += 1
            coordinator.floor = max(coordinator.floor, n)
        try:
            self.supervisor.look()
            with self.lock:
                while coordinator.ready_workers < min(n, coordinator.limits.size):
                    self._require_open()
                    if coordinator.circuit.refuses(self.now_ns()):
                        break
                    if self.clock.remaining_s(deadline) <= 0:
                        break
                    self.supervisor.progress.wait(self.clock.remaining_s(deadline))
                return coordinator.ready_workers
        finally:
            with self.lock:
                self._warming -= 1
                if not self._warming:  # afterwards an idle pool may shrink again
                    coordinator.floor = coordinator.limits.floor

    def _require_open(self) -> None:
        if self.coordinator.refusing:
            what = "closed" if self.coordinator.closing else "draining"
            raise PoolClosed(f"pool {self.process_manager.name!r} is {what}")

    def resize(self, n: int) -> None:
        """Change the pool's size to `n` workers. Does not wait. Raises ConfigError and PoolClosed."""
        floor = None if self._min_workers is None else min(self._min_workers, n)
        config = msgspec.structs.replace(self.config, workers=n, min_workers=None)  # checks `n` first
        config = msgspec.structs.replace(config, min_workers=floor)
        with self.lock:
            self._require_open()
            self.config = config
            woken = self.coordinator.resize(_limits(config))
            if self._warming:  # it stays warm until the last `warm_up` has returned
                self.coordinator.floor = n
            self.supervisor.progress.notify_all()
        self.supervisor.wake(woken)
        self.supervisor.look()

    def drain(self, timeout_s: float | None) -> bool:
        """Refuse new calls, wait until those that have begun have ended, then close. Returns whether all have ended."""
        until = NEVER_NS if timeout_s is None else self.clock.deadline_ns(duration("timeout_s", timeout_s))
        with self.lock:
            self.coordinator.drain()
        last = next(self.ids)  # later calls are refused
        while not (done := self._is_drained(last)) and not self.coordinator.closing and self.now_ns() < until:
            self.clock.sleep(DRAIN_LOOK_S)
        self.close(self.config.close_grace_s if done else 0.0)
        return done

    def _is_drained(self, last: int) -> bool:
        calls = self.accounts.calls.copy()
        if any(number < last and outcome == IN_FLIGHT for number, outcome in calls.items()):
            return False
        with self.lock:
            return self.coordinator.drained

    def next_id(self) -> int:
        """Return an unused call number."""
        return next(self.ids)

    def stop_because(self, reason: object) -> None:
        """Close the pool from within. Later calls get the reason in their PoolClosed. Only the first reason counts."""
        with self.lock:
            if self.coordinator.closing or self.coordinator.stop_reason:
                return
            self.coordinator.stop_reason = describe(reason) or "stopped by a hook"
            self.hooks.stop_reason = reason
        threading.Thread(target=self.close, args=(self.config.close_grace_s,), name="pool-v2-stop", daemon=True).start()

    def status(self) -> PoolStatus:
        """Return a consistent snapshot."""
        outcomes, in_flight = self.accounts.sum_up()
        coordinator = self.coordinator
        with self.lock:
            workers = tuple(
                WorkerStatus(
                    worker_id=worker.worker_id,
                    pid=worker.transport.pid if worker.reachable else 0,
                    state=coordinator.state_of(worker).value,
                    served=worker.served,
                )
                for worker in coordinator.workers.values()
                if not worker.exited_ns or worker.worker_id in coordinator.held  # others have no living process
            )
            return PoolStatus(
                name=self.process_manager.name,
                version="v2",
                state=self._state(),
                target=coordinator.limits.size,
                workers=workers,
                waiting=coordinator.waiting,
                sessions=len(coordinator.sessions),
                shared_memory_bytes=sum(
                    worker.transport.memory.size
                    for worker in coordinator.workers.values()
                    if worker.reachable and worker.transport.memory is not None
                ),
                statistics=Statistics(
                    submitted=sum(outcomes.values()) + in_flight, in_flight=in_flight, outcomes=outcomes
                ),
            )

    def _state(self) -> str:
        if self._closed.is_set():
            return "closed"
        if self.coordinator.closing:
            return "closing"
        return "draining" if self.coordinator.refusing else "open"

    def stop_serving(self) -> None:
        """Refuse new and waiting calls, and retire idle workers. Idempotent; does not wait."""
        with self.lock:
            self.supervisor.refused += self.coordinator.waiting_calls()
            woken = self.coordinator.close()
            self.supervisor.progress.notify_all()
        self.supervisor.wake(woken)
        self.supervisor.look()

    def end_workers(self, signum: signal.Signals) -> None:
        """`stop_serving`, and send `signum` to each leased worker."""
        self.stop_serving()
        with self.lock:
            leased = [ticket.worker for ticket in self.coordinator.open_calls()]
        for worker in leased:
            if worker is not None and worker.reachable:
                worker.transport.signal(signum)

    def close(self, grace_s: float) -> None:
        """Refuse calls, drain for at most `grace_s` seconds, end and reap workers. Idempotent.

        A second caller waits for the first.
        """
        deadline = self.clock.deadline_ns(min(grace_s, 366 * 86400.0))
        with self._closing:
            if self._closed.is_set() or self._close_begun:
                return  # already closed, or a hook calls `close` during the close in this thread
            self._close_begun = True
            try:
                self.stop_serving()
                if not self._await_burials(deadline):
                    with self.lock:
                        orders = self.coordinator.kill_rest()
                    for order in orders:
                        if order.worker is not None and order.worker.reachable:
                            self.supervisor.signal(order.act, order.worker, order.reason)
                    self._await_burials(self.clock.deadline_ns(END_TIMEOUT_S))
                self._duties.stop()
                self.supervisor.stop()
                self._duties.stop()  # the supervisor may have handed over a job meanwhile, such as the last hooks
                self._let_go()
                self.replies.close()
                self.hooks.terminate_pool()
                self.process_manager.disband()
                self._closed.set()
                if self.log is not None:
                    self.log.note(EventKind.CLOSE)
                    self._await_outcomes(self.clock.deadline_ns(LAST_CALLS_S))
                    self.log.close()
            finally:
                self._close_begun = False

    def _let_go(self) -> None:
        # The supervisor no longer watches the workers. If a worker outlived its kill, its client now checks it and the
        # clock.
        for ticket in self.coordinator.open_calls():
            worker = ticket.worker
            if worker is not None:
                if worker.reachable:
                    worker.transport.watched = False
                ticket.wake()

    def _await_outcomes(self, deadline: int) -> None:
        # Clients that the close has woken are about to note the outcomes of their calls.
        while IN_FLIGHT in self.accounts.calls.copy().values() and self.now_ns() < deadline:
            self.clock.sleep(LAST_CALLS_LOOK_S)

    def _await_burials(self, deadline: int) -> bool:
        with self.lock:
            while self.coordinator.workers and self.clock.remaining_s(deadline) > 0:
                self.supervisor.progress.wait(self.clock.remaining_s(deadline))
            return not self.coordinator.workers


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
        term_grace_ns=_ns(config.term_grace_s) or 0,
    )


def _ns(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds * 1e9)


def close_in_background(runtime: Runtime) -> None:
    """Close at once in a new thread, because a finalizer may run in any thread and under any lock.

    In a forked child the copy is only dropped, because the workers belong to the parent.
    """
    try:
        runtime.process_manager.require_owner()
    except PoolClosed:
        return
    threading.Thread(target=runtime.close, args=(0.0,), name="pool-v2-finalizer", daemon=True).start()
