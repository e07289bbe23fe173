"""Decides who gets which worker, and which workers should be started or ended.

Pure: no threads, processes or clock; the pool calls it under its one lock and performs the effects outside it.

Invariants, true between any two calls
1. Each worker has at most one holder, and `held` says which ticket; a ticket holds at most one worker.
2. No worker is idle while a compatible ticket waits (work conservation).
3. Among tickets that are compatible with a worker, the longest waiting gets it (FIFO).
4. living = starting + idle + leased + dying, and never more than `workers + overflow`.
5. A session is `busy` exactly while a ticket of it holds a worker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from bridge import CircuitOpen, PoolClosed, PoolError, QueueFull, SessionLost
from bridge.lifecycle import WorkerState, WorkerStep, advance
from pool_v2.circuit import Circuit
from pool_v2.ticket import Ticket, TicketState


class Wake(msgspec.Struct, frozen=True):
    """The ticket was offered a worker, or refused: its thread must go on."""

    ticket: Ticket


class Attend(msgspec.Struct, frozen=True):
    """The supervisor should look whether a worker is to be started."""


class Retire(msgspec.Struct, frozen=True):
    """Nobody holds this worker and nobody will: ask it to leave."""

    worker_id: int


class Kill(msgspec.Struct, frozen=True):
    """End this worker at once, whoever holds it."""

    worker_id: int
    reason: str


class Bury(msgspec.Struct, frozen=True):
    """This worker has ended and nobody holds it: close what is left of it."""

    worker_id: int


Effect = Wake | Attend | Retire | Kill | Bury
Effects = Iterable[Effect]
NOTHING: tuple[Effect, ...] = ()
ATTEND = Attend()


class Worker:
    """What the coordinator knows of a worker."""

    __slots__ = ("exited", "served", "state", "worker_id")

    def __init__(self, worker_id: int) -> None:
        self.worker_id = worker_id
        self.state = WorkerState.STARTING
        self.served = 0
        self.exited = False

    def step(self, step: WorkerStep) -> None:
        """Take one step of the lifecycle's table."""
        self.state = advance(self.state, step)


class Coordinator:
    """The queue, the grants and the replacement of one pool."""

    def __init__(
        self,
        name: str,
        circuit: Circuit,
        *,
        workers: int,
        overflow: int = 0,
        lazy: bool = False,
        max_queue: int | None = None,
        max_requests: int | None = None,
    ) -> None:
        self.name = name
        self.circuit = circuit
        self.most = workers + overflow
        self.size = workers
        self.floor = 0 if lazy else workers
        self.max_queue = max_queue
        self.max_requests = max_requests
        self.closing = False
        self.workers: dict[int, Worker] = {}
        self.held: dict[int, Ticket] = {}
        self._idle: dict[int, Worker] = {}  # in the order in which they became idle
        self._queue: dict[int, Ticket] = {}  # by call, in the order of arrival

    # Calls.

    def enter(self, ticket: Ticket, now_ns: int) -> Effects:
        """Give the ticket a worker (ACCEPTED) or a place in the queue (WAITING).

        Raises PoolClosed, CircuitOpen, SessionLost or QueueFull; then the ticket is REFUSED and owns nothing.
        """
        ticket.state = TicketState.REFUSED
        if self.closing:
            raise PoolClosed(f"pool {self.name!r} is closed")
        if ticket.session is not None and ticket.session.lost:
            raise SessionLost(f"session {ticket.session.session_id!r}: {ticket.session.lost}")
        worker = self._idle_worker_for(ticket)
        if worker is not None:
            self._give(worker, ticket)
            ticket.state = TicketState.ACCEPTED
            return NOTHING
        if not self._serving() and self.circuit.refuses(now_ns):
            raise self._circuit_open()
        if self.max_queue is not None and len(self._queue) >= self.max_queue:
            raise QueueFull(f"pool {self.name!r}: {len(self._queue)} calls wait already; the limit is {self.max_queue}")
        ticket.arm()
        ticket.state = TicketState.WAITING
        self._queue[ticket.call] = ticket
        return (ATTEND,) if len(self.workers) < self.most else NOTHING

    def accept(self, ticket: Ticket) -> None:
        """The client took what it was offered."""
        assert ticket.state is TicketState.OFFERED, f"a ticket {ticket.state} cannot be accepted"
        ticket.state = TicketState.ACCEPTED

    def leave(self, ticket: Ticket, *, clean: bool) -> Effects:
        """The client is done with its ticket, in whatever state: it leaves the queue, or its worker is checked in.

        `clean` says that the worker stands at a frame's boundary with nothing outstanding; otherwise it ends.
        """
        if ticket.state is TicketState.WAITING:
            del self._queue[ticket.call]
            ticket.state = TicketState.WITHDRAWN
            return NOTHING
        if ticket.worker_id is None:
            return NOTHING
        worker = self.workers[ticket.worker_id]
        del self.held[worker.worker_id]
        ticket.worker_id = None
        ticket.state = TicketState.WITHDRAWN
        if ticket.session is not None:
            ticket.session.busy = False
        worker.served += 1
        spent = self.max_requests is not None and worker.served >= self.max_requests
        effects: list[Effect] = []
        if clean and not (spent or worker.exited or self.closing):
            worker.step(WorkerStep.CHECKIN)
            self._idle[worker.worker_id] = worker
        else:
            effects += self._condemn(worker, kill="" if clean else "dirty")
        if self._queue:
            effects += self._match()
        if len(self.workers) > self.size:
            effects += self._shrink(worker)
        return effects

    # Workers.

    def wanted_starts(self, now_ns: int) -> int:
        """How many workers should be started now."""
        if self.closing:
            return 0
        starting = sum(worker.state is WorkerState.STARTING for worker in self.workers.values())
        unserved = sum(self._worker_of(ticket) is None for ticket in self._queue.values())
        wanted = max(self.floor - len(self.workers), unserved - starting - len(self._idle))
        wanted = min(wanted, self.most - len(self.workers))
        return self.circuit.allowed_starts(wanted, starting, now_ns) if wanted > 0 else 0

    def started(self, worker_id: int) -> None:
        """A process was started for `worker_id`, which has yet to answer."""
        self.workers[worker_id] = Worker(worker_id)

    def ready(self, worker_id: int) -> Effects:
        """The worker answered its init ping."""
        worker = self.workers[worker_id]
        if worker.state is not WorkerState.STARTING:
            return NOTHING
        self.circuit.succeeded()
        worker.step(WorkerStep.READY)
        self._idle[worker_id] = worker
        return [*self._match(), *self._shrink(worker)]

    def start_failed(self, worker_id: int, error: str, now_ns: int) -> Effects:
        """The worker did not start; refuses whoever waits if that opens the circuit and nobody serves."""
        worker = self.workers[worker_id]
        if worker.state is not WorkerState.STARTING:
            return NOTHING
        self.circuit.failed(error, now_ns)
        effects = list(self._condemn(worker, kill="start failed"))
        if self.circuit.tripped and not self._serving():
            effects += self._refuse_all(self._circuit_open)
        return effects

    def exited(self, worker_id: int) -> Effects:
        """The worker's process has ended, for whatever reason."""
        worker = self.workers[worker_id]
        worker.exited = True
        if worker_id in self.held:
            return self._match()  # its holder will notice, and leave; its sessions may go elsewhere
        if worker.state is not WorkerState.DYING:
            self._condemn(worker, kill="")
        return (Bury(worker_id), *self._match())

    def buried(self, worker_id: int) -> Effects:
        """Nothing is left of the worker; its place is free."""
        self.workers.pop(worker_id).step(WorkerStep.BURY)
        return (ATTEND,)

    # The pool.

    def attend(self) -> Effects:
        """Have the supervisor look whether a worker is to be started."""
        return (ATTEND,)

    def close(self) -> Effects:
        """Refuse what comes and what waits, retire what is idle; leased workers go on. Idempotent."""
        if self.closing:
            return NOTHING
        self.closing = True
        effects = self._refuse_all(lambda: PoolClosed(f"pool {self.name!r} was closed before the call began"))
        for worker in list(self.workers.values()):
            if worker.worker_id not in self.held and worker.state is not WorkerState.DYING:
                kill = "close" if worker.state is WorkerState.STARTING else ""
                effects += self._condemn(worker, kill=kill)
        return effects

    def kill_rest(self, reason: str) -> Effects:
        """End whatever still lives, leased workers included."""
        return [Kill(worker_id, reason) for worker_id, worker in self.workers.items() if not worker.exited]

    @property
    def waiting(self) -> int:
        """How many tickets are in the queue."""
        return len(self._queue)

    @property
    def ready_workers(self) -> int:
        """How many workers are idle or leased and alive."""
        return sum(w.state in (WorkerState.IDLE, WorkerState.LEASED) and not w.exited for w in self.workers.values())

    def _serving(self) -> bool:
        return bool(self._idle or self.held)

    def _worker_of(self, ticket: Ticket) -> Worker | None:
        # The living worker that has the state of the ticket's session, and so must serve it.
        if ticket.session is None or ticket.session.worker_id is None:
            return None
        worker = self.workers.get(ticket.session.worker_id)
        return None if worker is None or worker.exited or worker.state is WorkerState.DYING else worker

    def _idle_worker_for(self, ticket: Ticket) -> Worker | None:
        if ticket.session is not None:
            if ticket.session.busy:
                return None
            own = self._worker_of(ticket)
            if own is not None:
                return self._idle.get(own.worker_id)
        return next(iter(self._idle.values()), None)

    def _give(self, worker: Worker, ticket: Ticket) -> None:
        del self._idle[worker.worker_id]
        worker.step(WorkerStep.CHECKOUT)
        self.held[worker.worker_id] = ticket
        ticket.worker_id = worker.worker_id
        if ticket.session is not None:
            ticket.session.busy = True

    def _match(self) -> list[Effect]:
        effects: list[Effect] = []
        for ticket in list(self._queue.values()):
            if not self._idle:
                break
            worker = self._idle_worker_for(ticket)
            if worker is not None:
                del self._queue[ticket.call]
                self._give(worker, ticket)
                ticket.state = TicketState.OFFERED
                effects.append(Wake(ticket))
        return effects

    def _shrink(self, worker: Worker) -> list[Effect]:
        # A worker above the size that nobody takes leaves. Those that are dying already do not count.
        lasting = sum(other.state is not WorkerState.DYING for other in self.workers.values())
        return self._condemn(worker, kill="") if worker.state is WorkerState.IDLE and lasting > self.size else []

    def _condemn(self, worker: Worker, *, kill: str) -> list[Effect]:
        self._idle.pop(worker.worker_id, None)
        worker.step(WorkerStep.CONDEMN)
        if worker.exited:
            return [Bury(worker.worker_id)]
        return [Kill(worker.worker_id, kill) if kill else Retire(worker.worker_id)]

    def _refuse_all(self, reason: Callable[[], PoolError]) -> list[Effect]:
        refused = list(self._queue.values())
        self._queue.clear()
        for ticket in refused:
            ticket.state = TicketState.REFUSED
            ticket.error = reason()
        return [Wake(ticket) for ticket in refused]

    def _circuit_open(self) -> CircuitOpen:
        return CircuitOpen(f"pool {self.name!r}: too many workers failed to start; the last: {self.circuit.last_error}")
