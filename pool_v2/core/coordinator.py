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
   no ticket holds does not count as living, even if it is not reaped yet. After a `resize` to fewer, the surplus
   workers leave without a further lease, and no worker is started before there are fewer than the new limit.
5. A session's calls hold at most one worker at a time.

A client may be interrupted between any two steps of a call (Ctrl-C). Then `plan` repairs the state: it ends a living
worker that is neither held nor idle, and completes or takes back a grant that was begun. Other clients are not
affected.
"""

from __future__ import annotations

from collections import deque
from typing import Self

from poolproof.bridge import CheckoutTimeout, PoolClosed, PoolConfig, QueueFull, SessionLost
from poolproof.bridge.lifecycle import WorkerState
from poolproof.pool_v2.core.actions import HEARTBEAT_NS, Act, Action, end_worker, watch_lease, watch_queue
from poolproof.pool_v2.core.circuit import Circuit
from poolproof.pool_v2.core.grants import Affinity
from poolproof.pool_v2.core.replacement import Replacement
from poolproof.pool_v2.core.ticket import Ticket, TicketState
from poolproof.pool_v2.core.worker_table import NEVER_NS, Limits, Worker

# Module-level aliases for the members that each call needs: member access on the class costs a function call.
_ACCEPTED = TicketState.ACCEPTED
_OFFERED = TicketState.OFFERED
_REFUSED = TicketState.REFUSED
_WAITING = TicketState.WAITING
_WITHDRAWN = TicketState.WITHDRAWN
_IDLE = WorkerState.IDLE
LAST_RESPONSES = 1024


class Coordinator(Replacement):
    """The queue, the grants and the worker replacement of one pool."""

    def __init__(self, name: str, circuit: Circuit, limits: Limits, *, max_queue: int | None = None) -> None:
        super().__init__(name, circuit, limits)
        self.max_queue = max_queue
        self.refusing = False
        """Whether new calls are refused: while the pool drains, and when it closes."""
        self.watch_ns = 0
        """When the supervisor will call `plan` without a wake-up."""
        self.stop_reason = ""
        self.response_ns: deque[int] = deque(maxlen=LAST_RESPONSES)
        """How long the last clients took, from their request for a worker until they gave it back."""

    @classmethod
    def of(cls, config: PoolConfig, name: str) -> Self:
        """Return the coordinator of a pool with these options and this name."""
        circuit = Circuit(failures_to_open=config.start_failures_to_open, reset_s=config.circuit_reset_s)
        coordinator = cls(name, circuit, Limits.of(config), max_queue=config.max_queue)
        coordinator.affinity = Affinity(config.session_affinity)
        return coordinator

    def enter(self, ticket: Ticket, now_ns: int, *, again: bool = False) -> None:
        """Give the ticket a worker (ACCEPTED) or a place in the queue (WAITING); its old place if called `again`.

        Raises PoolClosed, CircuitOpen, SessionLost, QueueFull, or CheckoutTimeout if the call's deadline has passed. In
        these cases the ticket is REFUSED and owns nothing.
        """
        session = ticket.session
        ticket.entered_ns = now_ns
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
        if ticket.entered_ns:  # not for a ping
            self.response_ns.append(now_ns - ticket.entered_ns)
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
        return [Action(Act.START)] * self.wanted_starts(now_ns) + orders

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
