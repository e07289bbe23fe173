"""Decides who gets which worker, and what should be done to which worker next.

Pure: no threads, processes or clock; the pool calls it under its one lock and acts outside it. Clients call `enter`,
`accept` and `leave`. The supervisor tells what happened to workers and asks `plan` for its orders. `plan` looks at the
state and not at a list of things to do, so what a client could not say before it was interrupted is found anyway.

Rules, true between any two calls that were not interrupted
1. `held` says who holds a worker, `_idle` which are idle; no worker is in both. A ticket holds at most one.
2. No worker is idle while a compatible ticket waits (work conservation).
3. Among tickets that are compatible with a worker, the longest waiting gets it (FIFO). A call that lost its worker
   before anything was sent comes back to its old place.
4. living = starting + idle + leased + dying, and never more than `workers + overflow`. One that has ended and that
   nobody holds lives no more, though it may have yet to be buried.
5. A session's calls hold at most one worker at a time.

A client may be interrupted between any two steps of a call (Ctrl-C). Then `plan` mends: a living worker that is neither
held nor idle is ended, a hand-off that was begun is brought to its end or taken back, and nobody else notices.
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
from poolproof.pool_v2.core.worker_table import NEVER_NS, Limits, Worker, request_limit

# The members that each call needs: at a member's own class the lookup is a function call.
_ACCEPTED = TicketState.ACCEPTED
_OFFERED = TicketState.OFFERED
_REFUSED = TicketState.REFUSED
_WAITING = TicketState.WAITING
_WITHDRAWN = TicketState.WITHDRAWN
_IDLE = WorkerState.IDLE


class Affinity(StrEnum):
    """How a session's call chooses among idle workers.

    STRICT waits for the worker that has the session's state, as long as it lives. PREFER takes it if it is idle, else
    any other, after a handover. NONE takes the first idle worker, after a handover.
    """

    STRICT = "strict"
    PREFER = "prefer"
    NONE = "none"


class Coordinator:
    """The queue, the grants and the replacement of one pool."""

    def __init__(self, name: str, circuit: Circuit, limits: Limits, *, max_queue: int | None = None) -> None:
        self.name = name
        self.circuit = circuit
        self.limits = limits
        self.floor = limits.floor
        self.max_queue = max_queue
        self._hot = limits.hot
        self._most = limits.most
        self.affinity = Affinity.STRICT
        self.closing = False
        self.attention = False
        """Whether the supervisor should look now; cleared by `plan`."""
        self.watch_ns = 0
        """When the supervisor will look by itself."""
        self.sessions = SessionTable()
        self.workers: dict[int, Worker] = {}
        self.held: dict[int, Ticket] = {}
        self._idle: dict[int, Worker] = {}  # in the order in which they became idle
        self._queue: dict[int, Ticket] = {}  # by call, in the order of arrival
        self._suspect = False
        self.stop_reason = ""

    # Calls.

    def enter(self, ticket: Ticket, now_ns: int, *, again: bool = False) -> None:
        """Give the ticket a worker (ACCEPTED) or a place in the queue (WAITING); its old place, if it comes `again`.

        Raises PoolClosed, CircuitOpen, SessionLost, QueueFull, or CheckoutTimeout if its time is over already; then the
        ticket is REFUSED and owns nothing.
        """
        session = ticket.session
        # The two common cases, in as few steps as can be.
        if session is None and not self.closing and now_ns < ticket.deadline_ns:
            idle, queue = self._idle, self._queue
            if idle and not queue:  # whoever comes may take any worker
                worker_id = next(reversed(idle) if self._hot else iter(idle))
                ticket.worker = idle.pop(worker_id)
                self.held[worker_id] = ticket
                ticket.state = _ACCEPTED
                if ticket.deadline_ns < self.watch_ns:
                    self.attention = True
                return
            if not idle and not again and self.max_queue is None and len(self.held) == self._most:  # all are busy
                ticket.arm()
                ticket.queued_ns = now_ns
                ticket.state = _WAITING
                queue[ticket.call] = ticket
                return
        ticket.state = _REFUSED
        if self.closing:
            why = f": {self.stop_reason}" if self.stop_reason else ""
            raise PoolClosed(f"pool {self.name!r} is closed{why}")
        if session is not None and session.lost:
            raise SessionLost(f"session {session.session_id!r}: {session.lost}")
        if ticket.deadline_ns <= now_ns:
            raise CheckoutTimeout(f"pool {self.name!r}: the time of the call was over before it could be served")
        if self._idle and self._queue and self._match():
            self.attention = True  # an interrupt came before this hand-off: who waits goes first, and `plan` wakes him
        found = self._idle_worker_for(ticket)
        if found is not None:
            self._give(found, ticket)
            ticket.state = _ACCEPTED
            return
        if not self._serving() and self.circuit.refuses(now_ns):
            raise self._circuit_open()
        if not again and self.max_queue is not None and len(self._queue) >= self.max_queue:
            raise QueueFull(f"pool {self.name!r}: {len(self._queue)} calls wait already; the limit is {self.max_queue}")
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
        """The client took what it was offered. A client that was woken may do this by itself, without the lock: nobody
        else changes the state of an offer whose client lives.
        """
        assert ticket.state in (_OFFERED, _ACCEPTED), f"a ticket {ticket.state} cannot be accepted"
        ticket.state = _ACCEPTED

    def leave(self, ticket: Ticket, now_ns: int, *, clean: bool, reason: str = "") -> list[Ticket]:
        """The client is done with its ticket, in whatever state: it leaves the queue, or its worker is checked in.

        `clean` says that the worker stands at a frame's boundary with nothing outstanding; otherwise it ends. A
        `reason` ends it too. Gives the tickets that are to be woken.
        """
        worker = ticket.worker
        if worker is None:
            self._queue.pop(ticket.call, None)
            ticket.state = _WITHDRAWN
            return []
        worker_id, held, queue = worker.worker_id, self.held, self._queue
        if held.get(worker_id) is not ticket:
            # An interrupt came between two steps of the hand-off: the supervisor finds the worker.
            queue.pop(ticket.call, None)
            ticket.worker = None
            ticket.state = _WITHDRAWN
            self.suspect()
            return []
        if ticket.state is _ACCEPTED:
            worker.served += 1
        ticket.state = _WITHDRAWN
        keep = (
            clean
            and not reason
            and worker.phase is _IDLE
            and not worker.exited_ns
            and not worker.overdue
            and not self.closing
            and worker.served < worker.request_limit
        )
        del held[worker_id]
        ticket.worker = None
        session = ticket.session
        if session is not None and session.holder is ticket:
            session.holder = None  # it would keep the ticket, and a task's ticket keeps its loop
        if not keep:
            queue.pop(ticket.call, None)
            self._condemn(worker, reason or ("" if clean else "dirty"))
            return self._match() if self._idle and queue else []
        if queue and not self._idle:
            head = next(iter(queue.values()))
            if head.session is None and head.worker is None and head is not ticket:  # any worker will do for it
                head.worker = worker
                held[worker_id] = head
                del queue[head.call]
                head.state = _OFFERED
                if head.deadline_ns < self.watch_ns:
                    self.attention = True
                return [head]
        worker.idle_since_ns = now_ns
        self._idle[worker_id] = worker
        if queue:
            queue.pop(ticket.call, None)  # if an interrupt left it there
            return self._match()
        if len(self.workers) > self.limits.size:
            self._shrink(worker)
        return []

    def take(self, worker: Worker, ticket: Ticket) -> bool:
        """Lease this very worker to the pool itself, for a ping or a message; False if it is not idle."""
        if self._idle.get(worker.worker_id) is not worker or self.closing:
            return False
        self._give(worker, ticket)
        ticket.state = TicketState.ACCEPTED
        return True

    def put_back(self, ticket: Ticket, now_ns: int, *, since_ns: int, reason: str = "") -> list[Ticket]:
        """End such a lease; the worker goes back to the place among the idle that it had, or ends for `reason`."""
        worker = ticket.worker
        if worker is None:
            return []
        worker.served -= 1  # it is no request, so that it retires nobody
        woken = self.leave(ticket, now_ns, clean=not worker.dirty, reason=reason)
        if worker.worker_id in self._idle:
            worker.idle_since_ns = since_ns
            self._idle = dict(sorted(self._idle.items(), key=lambda item: item[1].idle_since_ns))
        return woken

    def suspect(self) -> None:
        """A client was interrupted in the middle of a step: `plan` will look at everything."""
        self._suspect = True
        self.attention = True

    # What happened to workers.

    def started(self, worker_id: int, now_ns: int) -> Worker:
        """A process is being started for `worker_id`, which has yet to answer."""
        worker = self.workers[worker_id] = Worker(worker_id, now_ns)
        worker.request_limit = request_limit(self.limits, worker_id)
        return worker

    def ready(self, worker: Worker, now_ns: int) -> list[Ticket]:
        """The worker answered its init ping. Gives the tickets that are to be woken."""
        if worker.phase is not WorkerState.STARTING:
            return []
        if self.closing:
            self._condemn(worker, "close")
            return []
        if worker.exited_ns or worker.overdue:
            return self.start_failed(worker, "ended during its init hook", now_ns)
        self.circuit.succeeded()
        worker.phase = advance(worker.phase, WorkerStep.READY)
        worker.idle_since_ns = worker.pinged_ns = now_ns
        self._idle[worker.worker_id] = worker
        self.attention = True  # no back-off holds up the other starts now
        woken = self._match()
        self._shrink(worker)
        return woken

    def hold_start(self, worker: Worker, ticket: Ticket) -> None:
        """Its init hook uses this starting worker; the ticket's deadline holds for it."""
        ticket.worker = worker
        self.held[worker.worker_id] = ticket

    def release_start(self, worker: Worker, ticket: Ticket) -> None:
        """The init hook is done."""
        if self.held.get(worker.worker_id) is ticket:
            del self.held[worker.worker_id]
        ticket.worker = None
        self.attention = True

    def start_failed(self, worker: Worker, error: str, now_ns: int) -> list[Ticket]:
        """The worker did not start; refuses whoever waits if that opens the circuit and nobody serves."""
        if worker.phase is not WorkerState.STARTING:
            return []
        self.circuit.failed(error, now_ns)
        self._condemn(worker, "start failed")
        if self.circuit.tripped and not self._serving():
            return self._refuse_all(self._circuit_open)
        return []

    def exited(self, worker: Worker, now_ns: int) -> list[Ticket]:
        """The worker's process has ended, for whatever reason."""
        worker.exited_ns = now_ns
        self.attention = True
        self.sessions.forget_worker(worker.worker_id)
        if worker.worker_id not in self.held and worker.phase is not WorkerState.DYING:
            self._condemn(worker, "")
        return self._match()  # its sessions may go elsewhere now

    def buried(self, worker: Worker) -> None:
        """Nothing is left of the worker; its place is free."""
        worker.phase = advance(worker.phase, WorkerStep.BURY)
        del self.workers[worker.worker_id]
        self.attention = True

    def condemn(self, worker: Worker, reason: str) -> None:
        """End this worker as soon as nobody holds it."""
        if worker.worker_id in self._idle:
            self._condemn(worker, reason)
        else:
            worker.overdue = True

    # The supervisor.

    def plan(self, now_ns: int) -> list[Action]:
        """Everything that is to be done now. Sets `watch_ns`: when to look again if nothing happens before."""
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
            orders += watch_lease(self.workers[worker_id], ticket, now_ns, times)
        for worker in list(self.workers.values()):
            if worker.phase is WorkerState.DYING and worker.worker_id not in self.held:
                orders += end_worker(worker, now_ns, times)
        orders += self._recycle(now_ns, times)
        retry_ns = self.circuit.retry_at_ns
        if retry_ns > now_ns:
            times.append(retry_ns)
        self.watch_ns = min(times)
        return [Action(Act.START)] * self.wanted_starts(now_ns) + orders  # a replacement is waited for, a burial is not

    def wanted_starts(self, now_ns: int) -> int:
        """How many workers should be started now. One that has ended, and that nobody holds, needs no place."""
        if self.closing:
            return 0
        living = sum(not worker.exited_ns or worker.worker_id in self.held for worker in self.workers.values())
        starting = sum(worker.phase is WorkerState.STARTING for worker in self.workers.values())
        unserved = 0
        if self._queue:
            unserved = sum(not self._bound(ticket) for ticket in self._queue.values()) - starting - len(self._idle)
        wanted = min(max(self.floor - living, unserved), self.limits.most - living)
        return self.circuit.allowed_starts(wanted, starting, now_ns) if wanted > 0 else 0

    def close(self) -> list[Ticket]:
        """Refuse what comes and what waits, retire what is idle; leased workers go on. Idempotent.

        If it was interrupted, the next one ends what it began.
        """
        self.closing = True
        self.attention = True
        woken = self._refuse_all(lambda: PoolClosed(f"pool {self.name!r} was closed before the call began"))
        for worker in list(self.workers.values()):
            if worker.worker_id not in self.held and worker.phase is not WorkerState.DYING:
                self._condemn(worker, "close" if worker.phase is WorkerState.STARTING else "")
        return woken

    def kill_rest(self) -> list[Action]:
        """End whatever still lives, leased workers included."""
        return [Action(Act.KILL, worker, reason="close") for worker in self.workers.values() if not worker.exited_ns]

    def waiting_calls(self) -> list[Ticket]:
        """The tickets in the queue."""
        return list(self._queue.values())

    def open_calls(self) -> list[Ticket]:
        """The tickets that hold a worker."""
        return list(self.held.values())

    @property
    def waiting(self) -> int:
        """How many tickets are in the queue."""
        return len(self._queue)

    @property
    def ready_workers(self) -> int:
        """How many workers are idle or leased and alive."""
        return sum(worker.phase is WorkerState.IDLE and not worker.exited_ns for worker in self.workers.values())

    def idle_workers(self) -> list[Worker]:
        """The idle workers, the longest idle first."""
        return list(self._idle.values())

    def state_of(self, worker: Worker) -> WorkerState:
        """STARTING, IDLE, LEASED or DYING."""
        return (
            WorkerState.LEASED if worker.worker_id in self.held and worker.phase is WorkerState.IDLE else worker.phase
        )

    # Within.

    def _serving(self) -> bool:
        return bool(self._idle or self.held)

    def _busy(self, session: Session) -> bool:
        holder: Ticket | None = session.holder
        return holder is not None and holder.worker is not None and self.held.get(holder.worker.worker_id) is holder

    def _own(self, session: Session) -> Worker | None:
        # The living worker that the session should meet.
        worker = None if session.worker_id is None else self.workers.get(session.worker_id)
        return None if worker is None or not worker.usable else worker

    def _bound(self, ticket: Ticket) -> bool:
        # Whether a new worker could not serve this ticket: it waits for one that lives, or for its own session.
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
        # In this order, so that an interrupt between two lines leaves a worker that is nowhere, and never one in two.
        # The session's holder counts only once `held` says so.
        self._idle.pop(worker.worker_id, None)
        ticket.worker = worker
        if ticket.session is not None:
            ticket.session.holder = ticket
        self.held[worker.worker_id] = ticket
        if ticket.deadline_ns < self.watch_ns:
            self.attention = True

    def _match(self) -> list[Ticket]:
        woken: list[Ticket] = []
        while self._idle and self._queue:  # as long as the head can have any worker, the rest need not be looked at
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
                continue  # its hand-off was interrupted; `_mend` brings it to its end
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
                ticket.worker = None
        for worker in list(self.workers.values()):
            if worker.worker_id in self.held:
                self._idle.pop(worker.worker_id, None)
            elif worker.phase is WorkerState.IDLE and worker.worker_id not in self._idle:
                self._condemn(worker, "interrupted")
        woken = [ticket for ticket in self.held.values() if ticket.state is TicketState.OFFERED]
        return [*woken, *self._match()]

    def abandon(self, ticket: Ticket) -> None:
        """The client of this ticket is gone, or was interrupted: whatever it holds is taken from it. Idempotent."""
        self._queue.pop(ticket.call, None)
        for worker_id, holder in list(self.held.items()):
            if holder is ticket:
                self._condemn(self.workers[worker_id], "abandoned")
                del self.held[worker_id]
        ticket.worker = None
        if ticket.session is not None and ticket.session.holder is ticket:
            ticket.session.holder = None
        ticket.state = TicketState.WITHDRAWN
        self.suspect()

    def _condemn(self, worker: Worker, reason: str) -> None:
        self._idle.pop(worker.worker_id, None)
        if worker.phase is not WorkerState.DYING:
            worker.reason = reason
        worker.phase = advance(worker.phase, WorkerStep.CONDEMN)
        self.attention = True

    def _shrink(self, worker: Worker) -> None:
        # A worker above the size that nobody takes leaves. Those that are dying already do not count.
        if worker.worker_id in self._idle and not self._queue:
            lasting = sum(other.phase is not WorkerState.DYING for other in self.workers.values())
            if lasting > self.limits.size:
                self._condemn(worker, "")

    def _recycle(self, now_ns: int, times: list[int]) -> list[Action]:
        # Rules 2 and 3 of the roster, for workers that are idle.
        limits, workers = self.limits, self.workers.values()
        if self.closing or (limits.max_age_ns is limits.idle_timeout_ns is limits.ping_interval_ns is None):
            return []
        lacking = len(self.workers) < self.floor or any(worker.phase is not _IDLE for worker in workers)
        lasting = sum(worker.phase is not WorkerState.DYING for worker in workers)
        spare = 0 if self._queue else lasting - self.floor
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
        return CircuitOpen(f"pool {self.name!r}: too many workers failed to start; the last: {self.circuit.last_error}")
