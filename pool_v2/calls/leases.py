"""V2's leases: a client holds a worker as long as it wants; the behaviour's hooks run at checkout and checkin.

Session state is in `handover`; the coordinator decides which client gets which worker. This module reports why a lease
lost its worker.
"""

from __future__ import annotations

from functools import partial
from threading import get_ident
from typing import Any

from poolproof.bridge import CallTimeout, CheckoutTimeout, LeaseError, PoolClosed, PoolError, Sent, WorkerCrashed
from poolproof.bridge.wire.exchange import Steps, run
from poolproof.bridge.wire.messages import Response, encode_request
from poolproof.pool_v2.calls.io import ClientIo
from poolproof.pool_v2.calls.lease import Lease, Open
from poolproof.pool_v2.calls.transfer import abandon, checkout, use
from poolproof.pool_v2.core.accounts import IN_FLIGHT, result_of
from poolproof.pool_v2.core.actions import HEARTBEAT_NS
from poolproof.pool_v2.core.behaviour import MOST_CHARACTERS
from poolproof.pool_v2.core.sessions import Session
from poolproof.pool_v2.core.ticket import Ticket, TicketState
from poolproof.pool_v2.core.worker_table import Worker
from poolproof.pool_v2.running.hooks import Removed, Spoilt, describe
from poolproof.pool_v2.running.runtime import Runtime


class Leases:
    """Opens, uses and ends leases of threads and tasks. Every method may be used in any thread, and on any loop."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.mail: dict[int, Any] = {}
        """The undelivered messages of each worker: a deque by worker id."""
        self.reasons: dict[int, object] = {}
        """The reason of each ended worker by worker id, for the terminate hook."""

    def open(
        self,
        io: ClientIo,
        number: int | None,
        command: Any,  # noqa: ANN401 - the hooks' own
        session: Session | None,
        deadline: int,
        until: int,
        *,
        again: bool = False,
        enqueued: bool | None = None,
        for_one_call: bool = False,
    ) -> Steps[Lease]:
        """Open a lease, including the hooks. `deadline` bounds the whole lease, `until` the wait for a worker.

        `enqueued`: the enqueue hook has already seen the command (default: the value of `again`).
        """
        runtime = self._runtime
        number = next(runtime.ids) if number is None else number
        if runtime.hooks.active and not (again if enqueued is None else enqueued):
            command = runtime.hooks.enqueue(command)
        cause: object = None
        while True:
            ticket = io.ticket(number, session, deadline, until, get_ident(), None)
            lease = Lease(self, ticket, for_one_call=for_one_call, owner=get_ident(), deadline_ns=deadline)
            try:
                removed = yield from self._admit(io, lease, ticket, command, until, again=again)
                if removed is None:
                    return lease
            except BaseException as error:
                if ticket.state not in (TicketState.WITHDRAWN, TicketState.REFUSED) and not isinstance(
                    error, GeneratorExit
                ):
                    runtime.supervisor.abandon(ticket)  # an interrupt came during the cleanup itself
                if isinstance(error, CheckoutTimeout) and isinstance(cause, Exception):
                    raise error from cause  # the reason why there was no worker
                raise
            cause, again = removed.args[0], True  # another worker is tried

    def _admit(
        self,
        io: ClientIo,
        lease: Lease,
        ticket: Ticket,
        command: Any,  # noqa: ANN401
        until: int,
        *,
        again: bool,
    ) -> Steps[Removed | None]:
        # Gives the lease a worker that the hooks accept. If this raises or returns a Removed, the lease has no worker.
        runtime, number, label = self._runtime, ticket.call, name_of(command)
        try:
            if again and runtime.clock.remaining_s(until) <= 0:
                runtime.hooks.cancelled("queued")
                raise CheckoutTimeout(
                    f"{label!r}: no worker of pool {runtime.process_manager.name!r} passed its "
                    "checkout hook before the deadline"
                )
            self._require_time(ticket, label)
            yield from checkout(runtime, io, ticket, label, until, again)
            lease.busy = lease.for_one_call
            record = Open(lease, ticket, runtime.open.lost.append)
            io.own(record)
            runtime.open.by_call[number] = record
            self._keep_watch()
            self._require_time(ticket, label)  # waiting for the lock may have taken long
            if runtime.hooks.active or not lease.for_one_call:
                self._introduce(lease, ticket, command)
            return None
        except Removed as removed:
            self._end_worker(ticket, removed.args[0])
            if isinstance(removed, Spoilt):
                raise removed.args[0] from None
            return removed
        except BaseException as error:
            held = ticket.state is TicketState.ACCEPTED
            runtime.give_up(ticket, error)
            if not isinstance(error, Exception | GeneratorExit):
                runtime.hooks.cancelled("checked_out" if held else "queued")
            raise

    def _require_time(self, ticket: Ticket, label: str) -> None:
        if ticket.deadline_ns <= self._runtime.now_ns():
            self._runtime.hooks.cancelled("queued")
            raise CheckoutTimeout(
                f"{label!r}: the deadline passed before pool {self._runtime.process_manager.name!r} could serve "
                f"the call{self._runtime.coordinator.circuit.trouble()}"
            )

    def _keep_watch(self) -> None:
        # Wakes the supervisor if it would sleep for long, so that it finds lost leases.
        if self._runtime.coordinator.watch_ns > self._runtime.now_ns() + 2 * HEARTBEAT_NS:
            self._runtime.supervisor.look()

    def _introduce(self, lease: Lease, ticket: Ticket, command: Any) -> None:  # noqa: ANN401
        # Runs the hooks of a checkout. They are application code, so a worker that ends meanwhile is taken back.
        worker = ticket.worker
        if worker is None or worker.transport.exited():
            raise Removed("exited")
        lease.busy = False
        if self._runtime.hooks.active:
            self.deliver(ticket)
            lease.client = self._runtime.hooks.checkout(command, ticket)
        with self._runtime.lock:
            lease.busy = lease.for_one_call and ticket.worker is not None
        if ticket.worker is None:
            raise lease.lost()

    def deliver(self, ticket: Ticket) -> None:
        """Run the hook `message` for all undelivered broadcasts of the ticket's worker. Raises Removed."""
        mail = None if ticket.worker_id is None else self.mail.get(ticket.worker_id)
        while mail:
            self._runtime.hooks.message(mail.popleft(), ticket)

    def execute(
        self,
        io: ClientIo,
        lease: Lease,
        ticket: Ticket,
        command: str,
        args: dict[str, Any],
        timeout_s: float | None,
    ) -> Steps[Any]:
        """Run one call on a lease's worker. Its events go from ENQUEUE, with the worker's id, to DONE; no ACCEPT."""
        runtime, worker = self._runtime, ticket.worker
        lost = lease.lost() if worker is None else self.why_lost(lease, worker) if worker.transport.dirty else None
        if isinstance(lost, LeaseError):
            raise lost  # a call that the lease no longer allows is not counted
        number = next(runtime.ids)
        if not lease.counted:
            return result_of((yield from self._use(io, lease, ticket, number, command, args, timeout_s)))
        runtime.accounts.calls[number] = IN_FLIGHT
        outcome, failure = "Cancelled", None
        try:
            if runtime.log is not None:
                runtime.log.enqueued(number, ticket.worker_id)
            result = result_of((yield from self._use(io, lease, ticket, number, command, args, timeout_s)))
            outcome = "result"
            return result
        except PoolError as error:
            told = runtime.told(error)
            outcome = type(told).__name__
            try:
                if told is not error:
                    raise told from error
                raise
            finally:
                del told  # see Calls.execute
        except BaseException as error:
            failure = type(error)
            raise
        finally:
            try:
                runtime.tell_done(number, outcome)
            finally:
                runtime.accounts.calls[number] = outcome  # atomic: an interrupt may come into any function call
            runtime.tidy(failure)

    def execute_blocking(
        self, lease: Lease, ticket: Ticket, command: str, args: dict[str, Any], timeout_s: float | None
    ) -> Any:  # noqa: ANN401 - any JSON value
        """`execute` in this thread."""
        return run(self.execute(self._runtime.io, lease, ticket, command, args, timeout_s))

    def _use(
        self,
        io: ClientIo,
        lease: Lease,
        ticket: Ticket,
        number: int,
        command: str,
        args: dict[str, Any],
        timeout_s: float | None,
    ) -> Steps[Response]:
        # Runs one exchange. Raises if the lease has lost its worker or another exchange is in progress.
        runtime = self._runtime
        deadline = min(runtime.clock.deadline_ns(runtime.limit_s(timeout_s)), lease.deadline_ns)
        frame = encode_request(
            number,
            command,
            args,
            limit_bytes=runtime.limit_bytes,
            takes_buffers=runtime.abilities.takes_buffers,
            share=runtime.abilities.most_kept_bytes > 0,
        )
        worker, early, gone = None, False, False
        try:  # the `try` begins before `busy` is set, because an interrupt may come between any two steps
            with runtime.lock:
                worker = ticket.worker
                if worker is not None and not worker.transport.dirty and lease.deadline_ns > runtime.now_ns():
                    lease.busy = True
                    ticket.deadline_ns = deadline
                    early = deadline < runtime.coordinator.look_ns
            if worker is None:
                raise lease.lost()
            if not lease.busy:
                raise self.why_lost(lease, worker)
            if early:
                runtime.supervisor.look()
            response = yield from use(runtime, io, ticket, number, frame, deadline)
            worker.served += lease.requests > 0  # the checkin counts the first request
            lease.requests += 1
            return response
        except BaseException as error:
            gone = isinstance(error, GeneratorExit)
            if worker is not None and worker.transport.dirty:
                if isinstance(error, PoolError):
                    self.mark_ended(worker, error)
                elif not lease.requests and ticket.outlives(error) and abandon(runtime, ticket, [number]):
                    gone = True
                    lease.let_go()
                else:  # the worker is unusable, even if the block catches this error
                    lease.fate = partial(self.fate, lease.deadline_ns, worker)
                    runtime.give_up(ticket, error)
            raise
        finally:
            lease.busy = False  # an atomic step that no interrupt can split
            if not gone:
                self._set_deadline(ticket, lease.deadline_ns)

    def why_lost(self, lease: Lease, worker: Worker) -> PoolError:
        """Return the error for a client whose lease can no longer be used."""
        return self.fate(lease.deadline_ns, worker)

    def fate(self, deadline: int, worker: Worker) -> PoolError:
        """Return the error of `why_lost`, without a reference to the lease, which would be a reference cycle."""
        worker_id = worker.worker_id
        if self._runtime.coordinator.closing:
            return PoolClosed(
                f"pool {self._runtime.process_manager.name!r} was closed during the lease", worker_id=worker_id
            )
        if deadline <= self._runtime.now_ns():
            return CallTimeout(f"the lease of worker {worker_id} has passed its deadline", worker_id=worker_id)
        if worker.transport.dirty:
            return LeaseError(f"a call on worker {worker_id} was broken off, so its lease has ended")
        ended = worker.transport.end()
        return WorkerCrashed(
            ended.after(f"worker {worker_id} ended between two calls of its lease"),
            sent=Sent.NO,
            worker_id=worker_id,
            stderr_tail=worker.transport.last_words(),
            ended=ended,
        )

    def _set_deadline(self, ticket: Ticket, deadline: int) -> None:
        # Lets the supervisor end the ticket's worker at `deadline`.
        with self._runtime.lock:
            ticket.deadline_ns = deadline
            early = deadline < self._runtime.coordinator.look_ns
        if early:
            self._runtime.supervisor.look()

    def end(self, lease: Lease, ticket: Ticket, error: BaseException | None) -> None:
        """End a lease: check its worker in, or end the worker if there is an error.

        In a lease for one call, an error ends the worker only if a response is outstanding, or if the session's state
        is in doubt; in a lease of a task whose cancelled calls keep their worker, only if the client has made several
        calls, between which it may have left the worker anyhow. The checkin hook runs for a worker that is kept.
        """
        runtime, worker = self._runtime, ticket.worker
        lease.busy = False
        gone = worker is None or worker.transport.dirty or worker.transport.overdue or worker.exited
        in_order = error is None or (lease.for_one_call and (isinstance(error, PoolError) or ticket.session is None))
        in_order = in_order or (error is not None and lease.requests <= 1 and ticket.outlives(error))
        try:
            if in_order and not gone and runtime.hooks.active:
                runtime.hooks.checkin(lease.client, ticket)
            if gone or not in_order:
                if worker is not None:
                    self.mark_ended(worker, self.why_lost(lease, worker) if error is None else error)
                runtime.give_up(ticket, error, reason="" if in_order else describe(error) or "raised")
            elif error is None:
                runtime.leave(ticket)
            else:
                runtime.give_up(ticket, error)
        except Removed as removed:
            self._end_worker(ticket, removed.args[0])
        runtime.open.by_call.pop(ticket.call, None)
        if error is not None and not (lease.for_one_call and isinstance(error, PoolError)):
            runtime.hooks.cancelled("checked_out")

    def interrupted(self, ticket: Ticket, interrupt: BaseException) -> None:
        """Handle an interrupt during the end of a lease: the supervisor takes back what the ticket holds."""
        self.mark_ended(ticket.worker, interrupt)
        self._runtime.supervisor.abandon(ticket)

    def update(self, ticket: Ticket, message: Any) -> None:  # noqa: ANN401
        """Publish `message` to the worker's state through the behaviour's `update`. Raises HookError or LeaseError."""
        self._runtime.hooks.update(ticket, message)

    def require_owner(self) -> None:
        """Raise PoolClosed in a forked child."""
        if self._runtime.process_manager.in_child:
            self._runtime.process_manager.require_owner()

    def _end_worker(self, ticket: Ticket, reason: object) -> None:
        # Gives the worker back, to be ended for this reason.
        self.mark_ended(ticket.worker, reason)
        self._runtime.give_up(ticket, None, reason=describe(reason) or "removed")

    def mark_ended(self, worker: Worker | None, reason: object) -> None:
        """Keep the reason for the worker's terminate hook, if it is the first reason."""
        runtime = self._runtime
        if runtime.hooks.active and worker is not None and worker.worker_id in runtime.coordinator.workers:
            self.reasons.setdefault(worker.worker_id, reason)


def name_of(command: object) -> str:
    """Return the name of a checkout's command for messages; the command may be any object."""
    return command[:MOST_CHARACTERS] if isinstance(command, str) else "checkout"
