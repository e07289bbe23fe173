"""Which workers are started, kept and replaced: events of workers, the pool's size, and the circuit.

Pure. The rules are those of `coordinator`, `circuit` and `worker_table`.
"""

from __future__ import annotations

from poolproof.bridge import CircuitOpen
from poolproof.bridge.lifecycle import WorkerState, WorkerStep, advance
from poolproof.pool_v2.core.actions import Act, Action, end_worker, recycle
from poolproof.pool_v2.core.circuit import Circuit
from poolproof.pool_v2.core.grants import Grants
from poolproof.pool_v2.core.ticket import Ticket
from poolproof.pool_v2.core.worker_table import EARLY_NS, Limits, Worker, request_limit

_IDLE = WorkerState.IDLE
FREE_EARLY_ENDS = 2
"""How many early ends in a row, times the pool's size, do not delay a start yet (rule 4 of `circuit`)."""


class Replacement(Grants):
    """The starts and ends of one pool's workers."""

    def __init__(self, name: str, circuit: Circuit, limits: Limits) -> None:
        super().__init__(limits)
        self.name = name
        self.circuit = circuit
        self.floor = limits.floor
        self._most = limits.most
        self.closing = False

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

    def released(self, worker: Worker) -> None:
        """Record that the worker is reaped; its place is free."""
        worker.phase = advance(worker.phase, WorkerStep.RELEASE)
        self.sessions.forget_worker(worker.worker_id)
        del self.workers[worker.worker_id]
        self.attention = True

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
        """Use these limits from now on. No call is interrupted: surplus leased workers leave when they are returned.

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

    @property
    def ready_workers(self) -> int:
        """The number of living workers that are idle or leased."""
        return sum(worker.phase is WorkerState.IDLE and not worker.exited_ns for worker in self.workers.values())

    def failing_starts(self) -> str:
        """Return why workers do not start, as the end of an error's message; empty if no reason is known."""
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

    def _may_stay(self, worker: Worker) -> bool:
        # Decides about a worker that `resize` has marked. Once there are no more workers than allowed, no worker is
        # marked any longer.
        excess = self._lasting() - self.limits.most
        if excess <= 1:
            for other in self.workers.values():
                other.request_limit = request_limit(self.limits, other.worker_id)
        return excess <= 0 and worker.served < worker.request_limit

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

    def _look_for_proof(self, now_ns: int, times: list[int]) -> None:
        # Rule 4 of `circuit`.
        for worker in self.workers.values() if self.circuit.early_ends else ():
            if worker.phase is _IDLE and not worker.exited_ns and worker.born_ns > self.circuit.doubted_ns:
                proven_ns = worker.idle_since_ns + EARLY_NS
                if worker.served or proven_ns <= now_ns:
                    self.circuit.proved()
                    return
                times.append(proven_ns)

    def _circuit_open(self) -> CircuitOpen:
        return CircuitOpen(
            f"pool {self.name!r}: too many workers failed to start; the last error: {self.circuit.last_error}"
        )
