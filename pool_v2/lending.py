"""V2's leases: a worker for as long as its client wants it, by way of the behaviour's hooks.

Knows nothing of sessions' state. What a lease lost, and why, is told here; who may hold what, in the coordinator.
"""

from __future__ import annotations

from threading import get_ident
from typing import TYPE_CHECKING, Any

from bridge import CallTimeout, CheckoutTimeout, EventKind, LeaseError, PoolClosed, PoolError, Sent, WorkerCrashed
from bridge.clock import deadline_ns, now_ns, remaining_s
from bridge.messages import Response, encode_request
from pool_v2.accounts import IN_FLIGHT, result_of
from pool_v2.behaviour import MOST_CHARACTERS
from pool_v2.hooks import Removed, Spoilt, describe
from pool_v2.lease import Lease, Open
from pool_v2.roster import Worker
from pool_v2.sessions import Session
from pool_v2.ticket import Ticket, TicketState

if TYPE_CHECKING:
    from pool_v2.engine import Engine


class Lending:
    """Opens, uses and ends leases. Every method may be called from any thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def run(self, number: int, frame: bytearray, command: str, deadline: int, patience: int) -> Response:
        """One call outside sessions, with a behaviour: a lease for the time of its exchange."""
        enqueued = self._engine.hooks.enqueue(command)
        again = False
        while True:
            try:
                with self.open(number, enqueued, None, deadline, patience, again=again, enqueued=True) as lease:
                    return self._engine.exchange(lease.require_ticket(), number, frame, deadline)
            except WorkerCrashed as error:
                if not self._engine.may_go_elsewhere(error, patience):
                    raise
                again = True

    def open(
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
        number = next(self._engine.ids) if number is None else number
        if self._engine.hooks.active and not (again if enqueued is None else enqueued):
            command = self._engine.hooks.enqueue(command)
        cause: object = None
        while True:
            ticket = Ticket(number, session, deadline_ns=deadline, thread_id=get_ident())
            lease = Lease(self._engine, ticket, for_one_call=for_one_call, owner=get_ident(), deadline_ns=deadline)
            try:
                removed = self._admit(lease, ticket, command, patience, again=again)
                if removed is None:
                    return lease
            except BaseException as error:
                if ticket.state not in (TicketState.WITHDRAWN, TicketState.REFUSED):
                    self._engine.supervisor.abandon(ticket)  # an interrupt came into the very steps that give it back
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
                self._engine.hooks.cancelled("queued")
                raise CheckoutTimeout(f"{label!r}: no worker of pool {self._engine.crew.name!r} was fit in time")
            self._require_time(ticket, label)
            self._engine.checkout(ticket, label, patience, again=again)
            lease.busy = lease.for_one_call
            self._engine.housekeeper.open[number] = Open(lease, ticket, self._engine.housekeeper.lost.append)
            self._engine.housekeeper.keep_watch()
            self._require_time(ticket, label)  # it may have been held up at the lock
            if self._engine.hooks.active or not lease.for_one_call:
                self._introduce(lease, ticket, command)
            return None
        except Removed as removed:
            self.end_worker(ticket, removed.args[0])
            self._engine.housekeeper.open.pop(number, None)
            if isinstance(removed, Spoilt):
                raise removed.args[0] from None
            return removed
        except BaseException as error:
            held = ticket.state is TicketState.ACCEPTED
            self._engine.abort_surely(ticket)
            self._engine.housekeeper.open.pop(number, None)
            if not isinstance(error, Exception):
                self._engine.hooks.cancelled("checked_out" if held else "queued")
            raise

    def _require_time(self, ticket: Ticket, label: str) -> None:
        if ticket.deadline_ns <= now_ns():
            self._engine.hooks.cancelled("queued")
            raise CheckoutTimeout(f"{label!r}: there was no time left for pool {self._engine.crew.name!r} to serve it")

    def _introduce(self, lease: Lease, ticket: Ticket, command: Any) -> None:  # noqa: ANN401
        # The hooks of a checkout. Meanwhile the client is in the application's code: a worker that ends is taken back.
        worker = ticket.worker
        if worker is None or worker.door.exited():
            raise Removed("exited")
        lease.busy = False
        if self._engine.hooks.active:
            self._engine.housekeeper.deliver(ticket)
            lease.client = self._engine.hooks.checkout(command, ticket)
        with self._engine.lock:
            lease.busy = lease.for_one_call and ticket.worker is not None
        if ticket.worker is None:
            raise lease.lost()

    def execute(self, lease: Lease, ticket: Ticket, command: str, args: dict[str, Any], timeout_s: float | None) -> Any:  # noqa: ANN401
        """One call on a lease's worker. It is told from ENQUEUE, which names its worker, to DONE, with no ACCEPT."""
        worker = ticket.worker
        lost = lease.lost() if worker is None else self.why_lost(lease, worker) if worker.door.dirty else None
        if isinstance(lost, LeaseError):
            raise lost  # what a lease cannot do any more is no call
        number = next(self._engine.ids)
        if not lease.counted:
            return result_of(self._use(lease, ticket, number, command, args, timeout_s))
        engine = self._engine
        engine.accounts.calls[number] = IN_FLIGHT
        outcome = "Cancelled"
        try:
            engine.supervisor.emit(EventKind.ENQUEUE, call=number, worker=ticket.worker_id)
            result = result_of(self._use(lease, ticket, number, command, args, timeout_s))
            outcome = "result"
            return result
        except PoolError as error:
            told = engine.told(error)
            outcome = type(told).__name__
            if told is not error:
                raise told from error
            del told  # see Engine.run
            raise
        finally:
            engine.accounts.calls[number] = outcome  # at once: an interrupt may come into any call
            engine.after_call(number, outcome)

    def _use(
        self, lease: Lease, ticket: Ticket, number: int, command: str, args: dict[str, Any], timeout_s: float | None
    ) -> Response:
        # One exchange, unless the lease has lost its worker or is in the middle of another one.
        deadline = min(deadline_ns(self._engine.limit_s(timeout_s)), lease.deadline_ns)
        frame = encode_request(number, command, args, limit_bytes=self._engine.limit_bytes)
        worker, early = None, False
        try:  # before `busy` is set: an interrupt may come between any two steps
            with self._engine.lock:
                worker = ticket.worker
                if worker is not None and not worker.door.dirty and lease.deadline_ns > now_ns():
                    lease.busy = True
                    ticket.deadline_ns = deadline
                    early = deadline < self._engine.coordinator.watch_ns
            if worker is None:
                raise lease.lost()
            if not lease.busy:
                raise self.why_lost(lease, worker)
            if early:
                self._engine.supervisor.look()
            response = self._engine.exchange(ticket, number, frame, deadline)
            worker.served += lease.requests > 0  # the checkin counts one
            lease.requests += 1
            return response
        except PoolError as error:
            if worker is not None and worker.door.dirty:
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
        if self._engine.coordinator.closing:
            return PoolClosed(f"pool {self._engine.crew.name!r} was closed during the lease", worker_id=worker_id)
        if deadline <= now_ns():
            return CallTimeout(f"the lease of worker {worker_id} has passed its deadline", worker_id=worker_id)
        if worker.door.dirty:
            return LeaseError(f"a call on worker {worker_id} was not brought to its end; its lease is over")
        return WorkerCrashed(
            f"worker {worker_id} ended between two calls of its lease",
            sent=Sent.NO,
            worker_id=worker_id,
            stderr_tail=worker.door.last_words(),
        )

    def set_deadline(self, ticket: Ticket, deadline: int) -> None:
        """Have the supervisor end the ticket's worker at this time."""
        with self._engine.lock:
            ticket.deadline_ns = deadline
            early = deadline < self._engine.coordinator.watch_ns
        if early:
            self._engine.supervisor.look()

    def end(self, lease: Lease, ticket: Ticket, error: BaseException | None) -> None:
        """The client is done with its lease; with an error its worker is ended.

        Of a lease for one call an error costs a worker only if something is outstanding on it, or if its session's
        state is in doubt. A worker that is kept is checked in by its hook.
        """
        worker = ticket.worker
        lease.busy = False
        gone = worker is None or worker.door.dirty or worker.door.overdue or worker.exited
        in_order = error is None or (lease.for_one_call and (isinstance(error, PoolError) or ticket.session is None))
        try:
            if in_order and not gone and self._engine.hooks.active:
                self._engine.hooks.checkin(lease.client, ticket)
            if gone or not in_order:
                if worker is not None:
                    self.mark_ended(worker, self.why_lost(lease, worker) if error is None else error)
                self._engine.abort_surely(ticket, reason="" if in_order else describe(error) or "raised")
            elif error is None:
                self._engine.leave(ticket)
            else:
                self._engine.abort_surely(ticket)
        except Removed as removed:
            self.end_worker(ticket, removed.args[0])
        self._engine.housekeeper.open.pop(ticket.call, None)
        if error is not None and not (lease.for_one_call and isinstance(error, PoolError)):
            self._engine.hooks.cancelled("checked_out")

    def end_worker(self, ticket: Ticket, reason: object) -> None:
        """Give the worker back to be ended for this reason."""
        self.mark_ended(ticket.worker, reason)
        self._engine.abort_surely(ticket, reason=describe(reason) or "removed")

    def mark_ended(self, worker: Worker | None, reason: object) -> None:
        """Keep the reason for the worker's terminate hook, if it is the first."""
        if self._engine.hooks.active and worker is not None and worker.worker_id in self._engine.coordinator.workers:
            self._engine.housekeeper.reasons.setdefault(worker.worker_id, reason)


def name_of(command: object) -> str:
    """What a message calls the command of a checkout, which may be any object."""
    return command[:MOST_CHARACTERS] if isinstance(command, str) else "checkout"
