"""The path of a call through V2 by a task: the engine's own rules, with `await` where a thread would block.

Decides nothing that the engine does not. Threads and tasks, of however many loops, stand in one queue.

When a task goes away
1. Cancelled while it waits, it leaves the queue at once. Cancelled between hand-off and wake-up, the worker goes to the
   next in the queue. Cancelled in its exchange, the worker is killed and replaced. CancelledError goes on unchanged.
2. Its loop was closed around it: whoever has a worker for it finds the loop closed, and the supervisor takes the
   worker back. A worker that it holds already is found by the housekeeper.
3. Its coroutine is finalized (GeneratorExit). That may happen in the garbage collector, in any thread and under any
   lock; so nothing is done there: what is left to do is appended to a deque, and the supervisor does it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from threading import get_ident
from types import TracebackType
from typing import Any

from bridge import EventKind, LeaseError, PoolError
from bridge.channel import Channel
from bridge.clock import deadline_ns, now_ns, remaining_s
from bridge.messages import Response, encode_request, session_args
from pool_v2.accounts import IN_FLIGHT, result_of
from pool_v2.aio_channel import exchange
from pool_v2.aio_ticket import AsyncTicket, TaskRecord
from pool_v2.engine import Engine
from pool_v2.handover import Steps, T, as_change
from pool_v2.hooks import describe
from pool_v2.lease import Lease, Open
from pool_v2.lending import name_of
from pool_v2.roster import Worker
from pool_v2.sessions import CLEAN_UP, Session, StateChange
from pool_v2.ticket import TicketState


class TaskCalls:
    """Runs the calls of tasks. Every method may be used on any loop, by as many tasks as there are."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._limit_bytes = engine.config.max_frame_bytes

    async def run(
        self, command: str, args: dict[str, Any], session_id: str | None, deadline: int, patience: int
    ) -> Any:  # noqa: ANN401
        """Run one call to its one outcome, as Engine.run does; the times are absolute, in nanoseconds."""
        engine = self.engine
        number = engine.next_id()
        with _Counted(engine, number):
            if session_id is None:
                frame = encode_request(number, command, args, limit_bytes=self._limit_bytes)
                return result_of(await self._attempt(number, frame, command, None, None, deadline, patience))
            frame = encode_request(number, command, session_args(args, session_id), limit_bytes=self._limit_bytes)
            change = as_change(command, frame) if command in engine.config.state_commands else None
            with engine.lock:
                session = engine.coordinator.sessions.begin(session_id, number)
            try:
                response = await self._attempt(number, frame, command, session, change, deadline, patience)
            except BaseException as error:
                unwind(engine, error, partial(self.release, session, number))
                raise
            self.release(session, number)
            return result_of(response)

    async def end_session(self, session_id: str) -> bool:
        """Forget the session, on the worker that has it and in the table; False if there was none."""
        engine = self.engine
        with engine.lock:
            session = engine.coordinator.sessions.get(session_id)
            if session is None:
                return False
        try:
            limit = deadline_ns(engine.limit_s(None))
            await self.run(CLEAN_UP, {}, session_id, limit, min(limit, deadline_ns(engine.patience_s(None))))
        except PoolError as error:
            engine.sessions.forget(session, error)
        return True

    async def open_lease(
        self,
        command: Any,  # noqa: ANN401
        deadline: int,
        patience: int,
        *,
        number: int | None = None,
        session: Session | None = None,
        again: bool = False,
    ) -> tuple[Lease, AsyncTicket]:
        """A worker for this task; `deadline` bounds the whole lease."""
        engine = self.engine
        number = engine.next_id() if number is None else number
        while True:
            ticket = self._ticket(number, session, deadline)
            try:
                worker = await self._checkout(ticket, name_of(command), patience, again=again)
            except BaseException as error:
                unwind(engine, error, partial(self._abort, ticket))
                raise
            if not worker.door.exited():
                break
            self._abort(ticket, "exited")  # another worker is tried
            again = True
        lease = Lease(engine, ticket, owner=get_ident(), deadline_ns=deadline)
        record = Open(lease, ticket, engine.housekeeper.lost.append)
        record.thread = ticket
        engine.housekeeper.open[number] = record
        engine.housekeeper.keep_watch()
        return lease, ticket

    async def execute_on(
        self, lease: Lease, ticket: AsyncTicket, command: str, args: dict[str, Any], timeout_s: float | None
    ) -> Any:  # noqa: ANN401
        """One call on a lease's worker, as Engine.execute_on; one that is cancelled in its exchange ends the worker."""
        engine = self.engine
        worker = ticket.worker
        lost = lease.lost() if worker is None else engine.leases.why_lost(lease, worker) if worker.door.dirty else None
        if isinstance(lost, LeaseError):
            raise lost  # what a lease cannot do any more is no call
        number = engine.next_id()
        with _Counted(engine, number, worker=ticket.worker_id):
            deadline = min(deadline_ns(engine.limit_s(timeout_s)), lease.deadline_ns)
            frame = encode_request(number, command, args, limit_bytes=self._limit_bytes)
            return result_of(await self._use(lease, ticket, number, frame, deadline))

    async def _use(self, lease: Lease, ticket: AsyncTicket, number: int, frame: bytearray, deadline: int) -> Response:
        # `busy` keeps the pool from closing descriptors that the loop watches: see Lease.
        engine = self.engine
        worker = None
        try:
            with engine.lock:
                worker = ticket.worker
                lease.busy = worker is not None and not worker.door.dirty and lease.deadline_ns > now_ns()
            if worker is None:
                raise lease.lost()
            if not lease.busy:
                raise engine.leases.why_lost(lease, worker)
            engine.leases.set_deadline(ticket, deadline)
            response = await self._exchange(ticket, number, frame, deadline)
        except BaseException as error:
            unwind(engine, error, partial(self._after_failure, lease, ticket, worker, error))
            raise
        finally:
            lease.busy = False
        worker.served += lease.requests > 0  # the checkin counts one
        lease.requests += 1
        engine.leases.set_deadline(ticket, lease.deadline_ns)
        return response

    # One call.

    async def _attempt(
        self,
        number: int,
        frame: bytearray,
        command: str,
        session: Session | None,
        change: StateChange | None,
        deadline: int,
        patience: int,
    ) -> Response:
        # Again only if a worker was found dead before it took a byte: that costs nothing, and the call keeps its place.
        engine = self.engine
        again = False
        while True:
            ticket = self._ticket(number, session, deadline)
            try:
                worker = await self._checkout(ticket, command, patience, again=again)
                if session is None:
                    response = await self._exchange(ticket, number, frame, deadline)
                else:
                    channel: Channel = worker.door
                    await self.drive(engine.sessions.hand_over(session, worker), ticket, deadline)
                    response = await self._exchange(ticket, number, frame, deadline)
                    await self.drive(
                        engine.sessions.remember(session, worker, command, response, change, len(frame)),
                        ticket,
                        deadline,
                    )
                    if channel.dirty:  # a snapshot that was not answered
                        self._abort(ticket)
                        return response
                engine.housekeeper.open.pop(number, None)
                engine.leave(ticket)
                return response
            except BaseException as error:
                unwind(engine, error, partial(self._abort, ticket, self._reason(ticket, error)))
                if not engine.may_go_elsewhere(error, patience):
                    raise
                again = True

    def _reason(self, ticket: AsyncTicket, error: BaseException) -> str:
        # What a session's worker did for a task that was cancelled nobody has acknowledged: that state goes with it.
        if ticket.session is None or ticket.state is not TicketState.ACCEPTED or isinstance(error, PoolError):
            return ""
        return describe(error)

    def _ticket(self, number: int, session: Session | None, deadline: int) -> AsyncTicket:
        return AsyncTicket(
            number,
            session,
            deadline,
            get_ident(),
            loop=asyncio.get_running_loop(),
            on_dead_loop=self.engine.supervisor.abandon,
        )

    async def _checkout(self, ticket: AsyncTicket, command: str, patience: int, *, again: bool = False) -> Worker:
        engine = self.engine
        engine.housekeeper.open[ticket.call] = TaskRecord(ticket)
        engine.enter(ticket, again=again)
        if ticket.state is not TicketState.ACCEPTED:
            await ticket.wait_on_loop(remaining_s(patience))
            engine.settle(ticket, command)
        worker = ticket.worker
        assert worker is not None
        engine.supervisor.emit(EventKind.ACCEPT, call=ticket.call, worker=worker.worker_id)
        return worker

    async def _exchange(self, ticket: AsyncTicket, number: int, frame: bytearray, deadline: int) -> Response:
        worker = ticket.worker
        assert worker is not None, "only a ticket that owns a worker can use it"
        channel: Channel = worker.door
        emit, worker_id, pid = self.engine.supervisor.emit, worker.worker_id, channel.process.pid
        response = await exchange(
            ticket.loop,
            channel,
            number,
            frame,
            deadline_ns=deadline,
            on_sent=partial(emit, EventKind.SEND, call=number, worker=worker_id, pid=pid),
        )
        emit(EventKind.RECEIVE, call=number, worker=worker_id, pid=pid)
        return response

    async def drive(self, steps: Steps[T], ticket: AsyncTicket, deadline: int) -> T:
        """Exchange what the steps ask for, as Handover.drive does in a thread."""
        worker = ticket.worker
        assert worker is not None
        try:
            number, frame = next(steps)
            while True:
                try:
                    response = await exchange(ticket.loop, worker.door, number, frame, deadline_ns=deadline)
                except BaseException as error:
                    number, frame = steps.throw(error)
                else:
                    number, frame = steps.send(response)
        except StopIteration as end:
            result: T = end.value
            return result

    # Ends.

    def _abort(self, ticket: AsyncTicket, reason: str = "") -> None:
        self.engine.housekeeper.open.pop(ticket.call, None)
        self.engine.abort_surely(ticket, reason=reason)

    def _after_failure(self, lease: Lease, ticket: AsyncTicket, worker: Worker | None, error: BaseException) -> None:
        if not isinstance(error, PoolError) and worker is not None and worker.door.dirty:
            lease.fate = partial(self.engine.leases.fate, lease.deadline_ns, worker)
            self._abort(ticket)  # whatever the block makes of it, nobody can use this worker again
        else:
            self.engine.leases.set_deadline(ticket, lease.deadline_ns)

    def release(self, session: Session, number: int) -> None:
        """This call of the session is over."""
        with self.engine.lock:
            self.engine.coordinator.sessions.release(session, number, now_ns())


class _Counted:
    """One call in the statistics and for the observer, from its entry to its outcome."""

    __slots__ = ("_engine", "_number", "_worker")

    def __init__(self, engine: Engine, number: int, *, worker: int | None = None) -> None:
        self._engine = engine
        self._number = number
        self._worker = worker

    def __enter__(self) -> None:
        self._engine.accounts.calls[self._number] = IN_FLIGHT
        self._engine.supervisor.emit(EventKind.ENQUEUE, call=self._number, worker=self._worker)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        told = self._engine.told(error) if isinstance(error, PoolError) else None
        outcome = "result" if error is None else "Cancelled" if told is None else type(told).__name__
        self._engine.accounts.calls[self._number] = outcome
        unwind(self._engine, error, partial(self._engine.after_call, self._number, outcome))
        if told is not None and told is not error:
            raise told from error


def unwind(engine: Engine, error: BaseException | None, work: Callable[[], object]) -> None:
    """Do what is left to do now, or by rule 3 a little later, in the supervisor's thread."""
    if isinstance(error, GeneratorExit):
        engine.housekeeper.dropped.append(work)
    else:
        work()
