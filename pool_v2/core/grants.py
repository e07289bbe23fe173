"""Which client gets which worker: the queue, the idle workers, and the workers that tickets hold.

Pure. The rules are those of `coordinator`; this class makes the grants, and repairs them after an interrupt.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from poolproof.bridge import PoolError
from poolproof.bridge.lifecycle import WorkerState, WorkerStep, advance
from poolproof.pool_v2.core.sessions import Session, SessionTable
from poolproof.pool_v2.core.ticket import Ticket, TicketState
from poolproof.pool_v2.core.worker_table import Limits, Worker


class Affinity(StrEnum):
    """How a session's call chooses among idle workers.

    STRICT waits for the worker that has the session's state, as long as that worker lives. PREFER takes that worker if
    it is idle, otherwise any other idle worker, after a handover. NONE takes the first idle worker, after a handover.
    """

    STRICT = "strict"
    PREFER = "prefer"
    NONE = "none"


class Grants:
    """The tables of workers and tickets, and the decisions about both. `limits` are those of the pool."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._hot = limits.hot
        self.affinity = Affinity.STRICT
        self.attention = False
        """Whether the supervisor should call `plan` now; cleared by `plan`."""
        self.look_ns = 0
        """A call with a deadline before this time needs a `plan` of the supervisor before the next planned one."""
        self.workers: dict[int, Worker] = {}
        self.sessions = SessionTable(has_worker=self.workers.__contains__)
        self.held: dict[int, Ticket] = {}
        self._idle: dict[int, Worker] = {}  # in the order in which they became idle
        self._queue: dict[int, Ticket] = {}  # by call, in the order of arrival
        self._suspect = False

    def waiting_calls(self) -> list[Ticket]:
        """Return the tickets in the queue."""
        return list(self._queue.values())

    def open_calls(self) -> list[Ticket]:
        """Return the tickets that hold a worker."""
        return list(self.held.values())

    @property
    def has_idle(self) -> bool:
        """Whether a worker is idle, and no ticket waits."""
        return bool(self._idle) and not self._queue

    @property
    def waiting(self) -> int:
        """The number of tickets in the queue."""
        return len(self._queue)

    def idle_workers(self) -> list[Worker]:
        """Return the idle workers, the longest idle first."""
        return list(self._idle.values())

    def suspect(self) -> None:
        """Record that a client was interrupted in the middle of a step: `plan` will check the whole state."""
        self._suspect = True
        self.attention = True

    def retire(self, worker: Worker, reason: str) -> None:
        """End this worker as soon as no ticket holds it."""
        if worker.worker_id in self._idle:
            self._condemn(worker, reason)
        else:
            worker.overdue = True

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
        worker.phase = advance(worker.phase, WorkerStep.RETIRE)
        self.attention = True

    def _refuse_all(self, reason: Callable[[], PoolError]) -> list[Ticket]:
        refused = [ticket for ticket in self._queue.values() if ticket.worker is None]
        for ticket in refused:
            ticket.error = reason()
            ticket.state = TicketState.REFUSED
            self._queue.pop(ticket.call, None)
        return refused
