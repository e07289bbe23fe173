"""Decides which client gets which worker, and which action each worker needs next.

Pure: no threads, processes or clock. The pool calls it under its one lock and does all I/O outside the lock. Clients
call `enter`, `accept` and `leave`. The supervisor reports events of workers and asks `plan` for its actions. `plan`
derives the actions from the state and not from a list of events, so it also finds the work of a client that was
interrupted before it could report.

Rules, true between any two calls that were not interrupted
1. `held` maps the held workers to their tickets, `_idle` has the idle workers; no worker is in both. A ticket holds at
   most one worker.
2. No worker is idle while a compatible ticket waits (work conservation).
3. Among the tickets that are compatible with a worker, the one that waits longest gets it (FIFO). A call that lost its
   worker before anything was sent returns to its old place in the queue.
4. living = starting + idle + leased + dying, and never more than `workers + overflow`. A worker that has ended and that
   no ticket holds does not count as living, even if it is not reaped yet. After a `resize` to fewer, the workers too
   many leave without a further lease, and no worker is started before there are fewer than the new limit.
5. A session's calls hold at most one worker at a time.

A client may be interrupted between any two steps of a call (Ctrl-C). Then `plan` repairs the state: it ends a living
worker that is neither held nor idle, and completes or takes back a grant that was begun. Other clients are not
affected.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from poolproof.bridge import CheckoutTimeout, CircuitOpen, PoolClosed, PoolError, QueueFull, SessionLost
from poolproof.bridge.lifecycle import WorkerState, WorkerStep, advance
from poolproof.pool_v2.core.actions import HEARTBEAT_NS, Act, Action, end_worker, recycle, watch_lease, watch_queue
from poolproof.pool_v2.core.circuit import Circuit
from poolproof.pool_v2.core.sessions import Session, SessionTable
from poolproof.pool_v2.core.ticket import Ticket, TicketState
from poolproof.pool_v2.core.worker_table import EARLY_NS, NEVER_NS, Limits, Worker, request_limit

# Module-level aliases for the members that each call needs: member access on the class costs a function call.
_ACCEPTED = TicketState.ACCEPTED
_OFFERED = TicketState.OFFERED
_REFUSED = TicketState.REFUSED
_WAITING = TicketState.WAITING
_WITHDRAWN = TicketState.WITHDRAWN
_IDLE = WorkerState.IDLE
FREE_EARLY_ENDS = 2
"""How many early ends in a row, for each place of the pool, delay no start (rule 4 of `circuit`)."""


class Affinity(StrEnum):
    """How a session's call chooses among idle workers.

    STRICT waits for the worker that has the session's state, as long as that worker lives. PREFER takes that worker if
    it is idle, otherwise any other idle worker, after a handover. NONE takes the first idle worker, after a handover.
    """

    STRICT = "strict"
    PREFER = "prefer"
    NONE = "none"


class Coordinator:
    """The queue, the grants and the worker replacement of one pool."""

    def __init__(self, name: str, circuit: Circuit, limits: Limits, *, max_queue: int | None = None) -> None:
        self.name = name
        self.circuit = circuit
        self.limits = limits
        self.floor = limits.floor
        self.max_queue = max_queue
        self._hot = limits.hot
        self._most = limits.most
        self.affinity = Affinity.STRICT
        self.refusing = False
        """Whether new calls are refused: while the pool drains, and when it closes."""
        self.closing = False
        self.attention = False
        """Whether the supervisor should call `plan` now; cleared by `plan`."""
        self.watch_ns = 0
        """When the supervisor will call `plan` without a wake-up."""
        self.look_ns = 0
        """A call with an earlier deadline needs the supervisor before `watch_ns`: for its signal or its end."""
        self.workers: dict[int, Worker] = {}
        self.sessions = SessionTable(has_worker=self.workers.__contains__)
        self.held: dict[int, Ticket] = {}
        self._idle: dict[int, Worker] = {}  # in the order in which they became idle
        self._queue: dict[int, Ticket] = {}  # by call, in the order of arrival
        self._suspect = False
        self.stop_reason = ""

    # Calls.

    def enter(self, ticket: Ticket, now_ns: int, *, again: bool = False) -> None:
        """Give the ticket a worker (ACCEPTED) or a place in the queue (WAITING); its old place if called `again`.

        Raises PoolClosed, CircuitOpen, SessionLost, QueueFull, or CheckoutTimeout if the call's deadline has passed. In
        these cases the ticket is REFUSED and owns nothing.
        """
        session = ticket.session
        # The two common cases, in as few steps as possible.
        if session is None and not self.refusing and now_ns < ticket.deadline_ns:
            idle, queue = self._idle, self._queue
            if idle and not queue:  # any idle worker is compatible
                worker_id = next(reversed(idle) if self._hot else iter(idle))
                ticket.worker = idle.pop(worker_id)
                self.held[worker_id] = ticket
                ticket.state = _ACCEPTED
                if ticket.deadline_ns < self.look_ns:
                    self.attention = True
                return
            if not idle and not again and self.max_queue is None and len(self.held) == self._most:  # all are busy
                ticket.arm()
                ticket.queued_ns = now_ns
                ticket.state = _WAITING
                queue[ticket.call] = ticket
                return
        ticket.state = _REFUSED
        if self.closing or (self.refusing and not again):  # a drain lets a call that has begun try another worker
            why = f": {self.stop_reason}" if self.stop_reason else ""
            raise PoolClosed(f"pool {self.name!r} is {'closed' if self.closing else 'draining'}{why}")
        if session is not None and session.lost:
            raise SessionLost(f"session {session.session_id!r}: {session.lost}")
        if ticket.deadline_ns <= now_ns:
            raise CheckoutTimeout(
                f"pool {self.name!r}: the deadline of the call passed before a worker could serve it"
                f"{self.failing_starts()}"
            )
        if self._idle and self._queue and self._match():
            self.attention = True  # an interrupt prevented this grant: the waiting ticket goes first, `plan` wakes it
        found = self._idle_worker_for(ticket)
        if found is not None:
            self._give(found, ticket)
            ticket.state = _ACCEPTED
            return
        if not self._serving() and self.circuit.refuses(now_ns):
            raise self._circuit_open()
        if not again and self.max_queue is not None and len(self._queue) >= self.max_queue:
            raise QueueFull(
                f"pool {self.name!r}: {len(self._queue)} calls are waiting already; the limit "
                f"(max_queue) is {self.max_queue}"
            )
        ticket.arm()
        ticket.queued_ns = now_ns
        ticket.state = _WAITING
        if again:
            self._queue = dict(sorted([*self._queue.items(), (ticket.call, ticket)]))
        else:
            self._queue[ticket.call] = ticket
        if len(self.workers) < self.limits.most:
            self.attention = True

    def accept(self, ticket: Ticket) -> None:
        """Mark the ticket's offer as accepted.

        A client that was woken may do this itself, without the lock: while the client lives, no other thread changes an
        offer.
        """
        assert ticket.state in (_OFFERED, _ACCEPTED), f"a ticket {ticket.state} cannot be accepted"
        ticket.state = _ACCEPTED

    def leave(self, ticket: Ticket, now_ns: int, *, clean: bool, reason: str = "") -> list[Ticket]:
        """End the client's use of its ticket, in whatever state: remove it from the queue, or check its worker in.

        `clean` says that the worker is at a frame boundary with no response outstanding; otherwise the worker is ended.
        A `reason` also ends the worker. Returns the tickets to wake.
        """
        worker = ticket.worker
        if worker is None:
            self._queue.pop(ticket.call, None)
            ticket.state = _WITHDRAWN
            return []
        worker_id, held, queue = worker.worker_id, self.held, self._queue
        if held.get(worker_id) is not ticket:
            # An interrupt came between two steps of the grant: the supervisor finds the worker.
            queue.pop(ticket.call, None)
            self._release_session(ticket)
            ticket.worker = None
            ticket.state = _WITHDRAWN
            self.suspect()
            return []
        if clean and ticket.state is _ACCEPTED:
            worker.served += 1
        ticket.state = _WITHDRAWN
        keep = (
            clean
            and not reason
            and worker.phase is _IDLE
            and not worker.exited_ns
            and not worker.overdue
            and not self.closing
            and (worker.served < worker.request_limit or (not worker.request_limit and self._may_stay(worker)))
        )
        del held[worker_id]
        ticket.worker = None
        session = ticket.session
        if session is not None and session.holder is ticket:
            session.holder = None  # otherwise the session keeps the ticket alive, and the ticket its loop
        if not keep:
            queue.pop(ticket.call, None)
            self._condemn(worker, reason or ("" if clean else "dirty"))
            return self._match() if self._idle and queue else []
        if queue and not self._idle:
            head = next(iter(queue.values()))
            if head.session is None and head.worker is None and head is not ticket:  # any worker is compatible with it
                head.worker = worker
                held[worker_id] = head
                del queue[head.call]
                head.state = _OFFERED
                if head.deadline_ns < self.look_ns:
                    self.attention = True
                return [head]
        worker.idle_since_ns = now_ns
        self._idle[worker_id] = worker
        if queue:
            queue.pop(ticket.call, None)  # if an interrupt left the ticket in the queue
            return self._match()
        if len(self.workers) > self.limits.size:
            self._shrink(worker)
        return []

    def take(self, worker: Worker, ticket: Ticket) -> bool:
        """Lease this worker to the pool itself, for a ping or a message. Returns False if the worker is not idle."""
        if self._idle.get(worker.worker_id) is not worker or self.closing:
            return False
        self._give(worker, ticket)
        ticket.state = TicketState.ACCEPTED
        return True

    def put_back(self, ticket: Ticket, now_ns: int, *, since_ns: int, reason: str = "") -> list[Ticket]:
        """End a lease of `take`: return the worker to its old place among the idle workers, or end it for `reason`."""
        worker = ticket.worker
        if worker is None:
            return []
        clean = not worker.dirty
        worker.served -= clean  # a ping is no request, so it does not count towards the request limit
        woken = self.leave(ticket, now_ns, clean=clean, reason=reason)
        if worker.worker_id in self._idle:
            worker.idle_since_ns = since_ns
            self._idle = dict(sorted(self._idle.items(), key=lambda item: item[1].idle_since_ns))
        return woken

    def suspect(self) -> None:
        """Record that a client was interrupted in the middle of a step: `plan` will check the whole state."""
        self._suspect = True
        self.attention = True

    # Events of workers.

    def started(self, worker_id: int, now_ns: int) -> Worker:
        """Record that a process is being started for `worker_id`. Returns the new worker."""
        worker = self.workers[worker_id] = Worker(worker_id, now_ns)
        worker.request_limit = request_limit(self.limits, worker_id)
        return worker

    def ready(self, worker: Worker, now_ns: int) -> list[Ticket]:
        """Record that the worker answered its init ping. Returns the tickets to wake."""
        if worker.phase is not WorkerState.STARTING:
            return []
        if self.closing:
            self._condemn(worker, "close")
            return []
        if not worker.request_limit and not self._may_stay(worker):
            self._condemn(worker, "")
            return []
        if worker.exited_ns or worker.overdue:
            return self.start_failed(worker, "ended during its init hook", now_ns)
        self.circuit.answered()
        worker.phase = advance(worker.phase, WorkerStep.READY)
        worker.idle_since_ns = worker.pinged_ns = now_ns
        self._idle[worker.worker_id] = worker
        self.attention = True  # the back-off of the other starts is over
        woken = self._match()
        self._shrink(worker)
        return woken

    def hold_start(self, worker: Worker, ticket: Ticket) -> None:
        """Let the init hook's ticket hold this starting worker, so that the ticket's deadline applies."""
        ticket.worker = worker
        self.held[worker.worker_id] = ticket

    def release_start(self, worker: Worker, ticket: Ticket) -> None:
        """Record that the init hook has ended."""
        if self.held.get(worker.worker_id) is ticket:
            del self.held[worker.worker_id]
        ticket.worker = None
        self.attention = True

    def start_failed(self, worker: Worker, error: str, now_ns: int) -> list[Ticket]:
        """Record a failed start. If that opens the circuit and no worker serves, refuses all waiting tickets."""
        if worker.phase is not WorkerState.STARTING:
            return []
        self.circuit.failed(error, now_ns)
        self._condemn(worker, "start failed")
        if self.circuit.tripped and not self._serving():
            return self._refuse_all(self._circuit_open)
        return []

    def exited(self, worker: Worker, now_ns: int, *, unreaped: bool = False) -> list[Ticket]:
        """Record that the worker's process has ended, for any reason. Returns the tickets to wake.

        With `unreaped`, the worker keeps its place until `reaped`.
        """
        worker.exited_ns = now_ns
        worker.unreaped = unreaped
        self.attention = True
        if worker.worker_id not in self.held and worker.phase is not WorkerState.DYING:
            self._condemn(worker, "")
        return self._match()  # the worker's sessions may go to other workers now

    def reaped(self, worker: Worker, now_ns: int, cause: str) -> list[Ticket]:
        """Record that the exit status of a worker that has ended is collected. Returns the tickets to wake.

        `cause` says how the worker ended; it is empty if the pool has ended the worker.
        """
        worker.unreaped = False
        self.attention = True
        if cause and worker.ended_early and not self.closing:
            self._look_for_proof(now_ns, [])
            self.circuit.ended_early(cause, now_ns, free=FREE_EARLY_ENDS * self.limits.most)
            if self.circuit.tripped and not self._serving():
                return self._refuse_all(self._circuit_open)
        return []

    def buried(self, worker: Worker) -> None:
        """Record that the worker is reaped; its place is free."""
        worker.phase = advance(worker.phase, WorkerStep.BURY)
        self.sessions.forget_worker(worker.worker_id)
        del self.workers[worker.worker_id]
        self.attention = True

    def condemn(self, worker: Worker, reason: str) -> None:
        """End this worker as soon as no ticket holds it."""
        if worker.worker_id in self._idle:
            self._condemn(worker, reason)
        else:
            worker.overdue = True

    # The supervisor.

    def plan(self, now_ns: int) -> list[Action]:
        """Return all actions that are due now. Sets `watch_ns`: when to call again if nothing happens before."""
        self.attention = False
        orders: list[Action] = []
        if self._suspect:
            self._suspect = False
            orders += [Action(Act.WAKE, ticket=ticket) for ticket in self._mend()]
        times = [NEVER_NS]
        if self.held or self._queue:
            times.append(now_ns + HEARTBEAT_NS)
        orders += watch_queue(self._queue.values(), now_ns, times)
        for worker_id, ticket in self.held.items():
            orders += watch_lease(self.workers[worker_id], ticket, now_ns, times, self.limits.term_grace_ns)
        if len(self.workers) > self.limits.size and not self._queue:  # some became idle while a ticket waited
            for worker in list(self._idle.values())[: max(self._lasting() - self.limits.size, 0)]:
                self._condemn(worker, "")
        for worker in list(self.workers.values()):
            if worker.phase is WorkerState.DYING and worker.worker_id not in self.held:
                orders += end_worker(worker, now_ns, times)
        orders += self._recycle(now_ns, times)
        self._look_for_proof(now_ns, times)
        retry_ns = self.circuit.retry_at_ns
        if retry_ns > now_ns:
            times.append(retry_ns)
        self.watch_ns = min(times)
        self.look_ns = self.watch_ns + self.limits.term_grace_ns
        return [Action(Act.START)] * self.wanted_starts(now_ns) + orders  # starts first: calls wait for them

    def _look_for_proof(self, now_ns: int, times: list[int]) -> None:
        # Rule 4 of `circuit`.
        for worker in self.workers.values() if self.circuit.early_ends else ():
            if worker.phase is _IDLE and not worker.exited_ns and worker.born_ns > self.circuit.doubted_ns:
                proven_ns = worker.idle_since_ns + EARLY_NS
                if worker.served or proven_ns <= now_ns:
                    self.circuit.proved()
                    return
                times.append(proven_ns)

    def wanted_starts(self, now_ns: int) -> int:
        """Return how many workers to start now. A worker that is reaped and that no ticket holds does not count."""
        if self.closing:
            return 0
        living = sum(
            not worker.exited_ns or worker.unreaped or worker.worker_id in self.held for worker in self.workers.values()
        )
        starting = sum(worker.phase is WorkerState.STARTING for worker in self.workers.values())
        unserved = 0
        if self._queue:
            unserved = sum(not self._bound(ticket) for ticket in self._queue.values()) - starting - len(self._idle)
        wanted = min(max(self.floor - living, unserved), self.limits.most - living)
        return self.circuit.allowed_starts(wanted, starting, now_ns) if wanted > 0 else 0

    def resize(self, limits: Limits) -> list[Ticket]:
        """Use these limits from now on. No call is interrupted: of the leased workers, the first to be returned leave.

        Returns the tickets to wake.
        """
        self.limits, self._most, self.floor = limits, limits.most, limits.floor
        self.attention = True
        for worker in list(self._idle.values())[: max(self._lasting() - limits.most, 0)]:
            self._condemn(worker, "")
        marked = self._lasting() > limits.most  # then a worker is looked at again when its lease or its start ends
        for worker in self.workers.values():
            worker.request_limit = 0 if marked else request_limit(limits, worker.worker_id)
        return self._match()

    def _may_stay(self, worker: Worker) -> bool:
        # Decides about a worker that `resize` has marked. Once there are no more workers than allowed, no worker is
        # marked any longer.
        excess = self._lasting() - self.limits.most
        if excess <= 1:
            for other in self.workers.values():
                other.request_limit = request_limit(self.limits, other.worker_id)
        return excess <= 0 and worker.served < worker.request_limit

    def drain(self) -> None:
        """Refuse new calls from now on; those that have begun go on, and so do the waiting calls. Idempotent."""
        self.refusing = True

    @property
    def drained(self) -> bool:
        """Whether no ticket waits, and no ticket holds a worker that has started."""
        return not self._queue and all(self.workers[i].phase is WorkerState.STARTING for i in self.held)

    def close(self) -> list[Ticket]:
        """Refuse new and waiting calls, retire idle workers. Leased workers go on. Returns the tickets to wake.

        Idempotent: if a call of `close` was interrupted, the next call completes it.
        """
        self.refusing = self.closing = True
        self.attention = True
        woken = self._refuse_all(lambda: PoolClosed(f"pool {self.name!r} was closed before the call began"))
        for worker in list(self.workers.values()):
            if worker.worker_id not in self.held and worker.phase is not WorkerState.DYING:
                self._condemn(worker, "close" if worker.phase is WorkerState.STARTING else "")
        return woken

    def kill_rest(self) -> list[Action]:
        """Return actions that kill all living workers, including leased workers."""
        return [Action(Act.KILL, worker, reason="close") for worker in self.workers.values() if not worker.exited_ns]

    def waiting_calls(self) -> list[Ticket]:
        """Return the tickets in the queue."""
        return list(self._queue.values())

    def open_calls(self) -> list[Ticket]:
        """Return the tickets that hold a worker."""
        return list(self.held.values())

    @property
    def waiting(self) -> int:
        """The number of tickets in the queue."""
        return len(self._queue)

    @property
    def ready_workers(self) -> int:
        """The number of living workers that are idle or leased."""
        return sum(worker.phase is WorkerState.IDLE and not worker.exited_ns for worker in self.workers.values())

    def idle_workers(self) -> list[Worker]:
        """Return the idle workers, the longest idle first."""
        return list(self._idle.values())

    def failing_starts(self) -> str:
        """Return what keeps workers from starting, as the end of an error's message; empty if nothing is known."""
        if self.circuit.failures:
            return self.circuit.trouble()
        starting = sum(worker.phase is WorkerState.STARTING for worker in self.workers.values())
        if starting and starting == len(self.workers):
            return f"; no worker has answered its init ping yet ({starting} starting)"
        return ""

    def state_of(self, worker: Worker) -> WorkerState:
        """Return the worker's state: STARTING, IDLE, LEASED or DYING."""
        return (
            WorkerState.LEASED if worker.worker_id in self.held and worker.phase is WorkerState.IDLE else worker.phase
        )

    # Private helpers.

    def _serving(self) -> bool:
        return bool(self._idle or self.held)

    def _busy(self, session: Session) -> bool:
        holder: Ticket | None = session.holder
        return holder is not None and holder.worker is not None and self.held.get(holder.worker.worker_id) is holder

    def _own(self, session: Session) -> Worker | None:
        # Returns the living worker that should serve the session, if any.
        worker = None if session.worker_id is None else self.workers.get(session.worker_id)
        return None if worker is None or not worker.usable else worker

    def _bound(self, ticket: Ticket) -> bool:
        # Returns whether a new worker could not serve this ticket: it waits for a certain living worker or for its
        # session.
        session = ticket.session
        if session is None:
            return False
        if self._busy(session):
            return True
        must_stay = self.affinity is Affinity.STRICT or session.log is None
        return must_stay and self._own(session) is not None

    def _idle_worker_for(self, ticket: Ticket) -> Worker | None:
        session = ticket.session
        if session is not None:
            if self._busy(session):
                return None
            own = self._own(session)
            if own is not None and (self.affinity is not Affinity.NONE or session.log is None):
                if own.worker_id in self._idle:
                    return own
                if self.affinity is Affinity.STRICT or session.log is None:
                    return None
        return next(reversed(self._idle.values()) if self._hot else iter(self._idle.values()), None)

    def _give(self, worker: Worker, ticket: Ticket) -> None:
        # The order matters: after an interrupt between two lines the worker may be in neither table, but never in both.
        # The session's holder counts only once `held` has the ticket.
        self._idle.pop(worker.worker_id, None)
        ticket.worker = worker
        if ticket.session is not None:
            ticket.session.holder = ticket
        self.held[worker.worker_id] = ticket
        if ticket.deadline_ns < self.look_ns:
            self.attention = True

    def _match(self) -> list[Ticket]:
        woken: list[Ticket] = []
        while self._idle and self._queue:  # while the first ticket can take any worker, the others need no check
            ticket = next(iter(self._queue.values()))
            if ticket.session is not None or ticket.worker is not None:
                break
            self._give(next(reversed(self._idle.values()) if self._hot else iter(self._idle.values())), ticket)
            self._queue.pop(ticket.call, None)
            ticket.state = TicketState.OFFERED
            woken.append(ticket)
        for ticket in list(self._queue.values()) if self._idle else ():
            if not self._idle:
                break
            if ticket.worker is not None and self.held.get(ticket.worker.worker_id) is ticket:
                continue  # its grant was interrupted; `_mend` completes it
            worker = self._idle_worker_for(ticket)
            if worker is not None:
                self._give(worker, ticket)
                self._queue.pop(ticket.call, None)
                ticket.state = TicketState.OFFERED
                woken.append(ticket)
        return woken

    def _mend(self) -> list[Ticket]:
        for ticket in list(self._queue.values()):
            worker = ticket.worker
            if worker is None:
                continue
            if self.held.get(worker.worker_id) is ticket:
                del self._queue[ticket.call]
                ticket.state = TicketState.OFFERED
            else:
                ticket.worker = None
        for worker_id, ticket in list(self.held.items()):
            if ticket.state is TicketState.WAITING:
                ticket.state = TicketState.OFFERED
            elif ticket.state in (TicketState.WITHDRAWN, TicketState.REFUSED) or ticket.worker is None:
                del self.held[worker_id]
                self._release_session(ticket)
                ticket.worker = None
        for worker in list(self.workers.values()):
            if worker.worker_id in self.held:
                self._idle.pop(worker.worker_id, None)
            elif worker.phase is WorkerState.IDLE and worker.worker_id not in self._idle:
                self._condemn(worker, "interrupted")
        woken = [ticket for ticket in self.held.values() if ticket.state is TicketState.OFFERED]
        return [*woken, *self._match()]

    def abandon(self, ticket: Ticket) -> None:
        """Take back what this ticket holds, because its client is gone or was interrupted. Idempotent."""
        self._queue.pop(ticket.call, None)
        for worker_id, holder in list(self.held.items()):
            if holder is ticket:
                self._condemn(self.workers[worker_id], "abandoned")
                del self.held[worker_id]
        ticket.worker = None
        self._release_session(ticket)
        ticket.state = TicketState.WITHDRAWN
        self.suspect()

    def _release_session(self, ticket: Ticket) -> None:
        # For a ticket whose client was interrupted, and may have released the session already.
        session = ticket.session
        if session is not None and session.holder is ticket:
            session.holder = None
            self.sessions.release(session, ticket.call, session.used_ns)

    def _condemn(self, worker: Worker, reason: str) -> None:
        self._idle.pop(worker.worker_id, None)
        if worker.phase is not WorkerState.DYING:
            worker.reason = reason
        worker.phase = advance(worker.phase, WorkerStep.CONDEMN)
        self.attention = True

    def _shrink(self, worker: Worker) -> None:
        # Retires the worker if it is above the pool's size and no ticket waits.
        if worker.worker_id in self._idle and not self._queue and self._lasting() > self.limits.size:
            self._condemn(worker, "")

    def _lasting(self) -> int:
        # Counts the workers that will go on to serve, that is without the dying and those that have ended in a lease.
        return sum(
            worker.phase is not WorkerState.DYING and not (worker.exited_ns or worker.killed or worker.overdue)
            for worker in self.workers.values()
        )

    def _recycle(self, now_ns: int, times: list[int]) -> list[Action]:
        # Rules 2 and 3 of `worker_table`, for idle workers.
        limits, workers = self.limits, self.workers.values()
        if self.closing or (limits.max_age_ns is limits.idle_timeout_ns is limits.ping_interval_ns is None):
            return []
        lacking = len(self.workers) < self.floor or any(worker.phase is not _IDLE for worker in workers)
        spare = 0 if self._queue else self._lasting() - self.floor
        leaving, pinged = recycle(list(self._idle.values()), limits, now_ns, times, spare=spare, lacking=lacking)
        orders = [Action(Act.PING, worker) for worker in pinged]
        for worker in leaving:
            self._condemn(worker, "")
            orders += end_worker(worker, now_ns, times)
        return orders

    def _refuse_all(self, reason: Callable[[], PoolError]) -> list[Ticket]:
        refused = [ticket for ticket in self._queue.values() if ticket.worker is None]
        for ticket in refused:
            ticket.error = reason()
            ticket.state = TicketState.REFUSED
            self._queue.pop(ticket.call, None)
        return refused

    def _circuit_open(self) -> CircuitOpen:
        return CircuitOpen(
            f"pool {self.name!r}: too many workers failed to start; the last error: {self.circuit.last_error}"
        )
