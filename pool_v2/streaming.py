"""Answers in parts: a worker sends each as it is made, and its client takes them one by one.

    with pool.execute_stream("parts", {"count": 3}) as parts:
        for part in parts: ...

Rules
1. A stream holds its worker from the first request to its end. A client that reads slowly slows its worker down;
   nothing is kept for it but what one read gives.
2. A stream that is left before its end (closed, raised out of, dropped, its thread ended) costs its worker, which is
   replaced: what it would still send belongs to nobody.
3. It is one call: it counts once, and ends once, with one outcome.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from bridge import CallTimeout, CommandError, EventKind, PoolClosed, PoolError, Sent, WorkerCrashed
from bridge.clock import now_ns
from bridge.conversation import Conversation
from bridge.messages import Response, encode_request, session_args
from pool_v2.accounts import IN_FLIGHT
from pool_v2.handover import as_change
from pool_v2.lease import Lease
from pool_v2.roster import Worker
from pool_v2.sessions import Session, StateChange
from pool_v2.ticket import Ticket

if TYPE_CHECKING:
    from pool_v2.engine import Engine


class Streaming:
    """Opens streams, and knows which are open. Every method may be called from any thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.open: dict[int, Session | None] = {}

    def begin(self, command: str, args: dict[str, Any], session_id: str | None, deadline: int, patience: int) -> Stream:
        """Check a worker out and send it the request; the times are absolute, in nanoseconds."""
        engine = self._engine
        number = next(engine.ids)
        engine.accounts.calls[number] = IN_FLIGHT
        try:
            engine.supervisor.emit(EventKind.ENQUEUE, call=number)
            sent = args if session_id is None else session_args(args, session_id)
            frame = encode_request(number, command, sent, limit_bytes=engine.limit_bytes, stream=True)
            change = None
            if session_id is not None and command in engine.config.state_commands:
                change = as_change(command, frame)
            self.open[number] = None
            if session_id is not None:
                with engine.lock:
                    self.open[number] = engine.coordinator.sessions.begin(session_id, number)
            return self._begin(number, frame, command, change, deadline, patience)
        except BaseException as error:
            try:
                told = self.end(number, error)
            except BaseException:  # an interrupt came into these very steps
                self.end(number, error)
                raise
            if told is error or told is None:
                raise
            raise told from error

    def _begin(
        self, number: int, frame: bytearray, command: str, change: StateChange | None, deadline: int, patience: int
    ) -> Stream:
        engine, session = self._engine, self.open[number]
        again = False
        while True:
            lease = engine.leases.open(number, command, session, deadline, patience, again=again, for_one_call=False)
            try:
                ticket = lease.require_ticket()
                with engine.lock:
                    worker = ticket.worker
                    lease.busy = worker is not None
                if worker is None:
                    raise lost(engine, None, deadline)
                if session is not None:
                    engine.sessions.drive(engine.sessions.hand_over(session, worker), worker.door, deadline)
                conversation = Conversation(worker.door, deadline_ns=deadline)
                conversation.ask(frame)
                engine.supervisor.emit(EventKind.SEND, call=number, worker=worker.worker_id, pid=worker.door.pid)
                lease.busy = False
                return Stream(engine, lease, conversation, worker, command, change, len(frame), deadline)
            except BaseException as error:
                lease.busy = False
                lease.end(error)
                if not engine.may_go_elsewhere(error, patience):
                    raise
                again = True

    def end(self, number: int, error: BaseException | None) -> BaseException | None:
        """The stream's one end, if it has not ended yet. Gives what its client is told of the error."""
        engine = self._engine
        told = engine.told(error) if isinstance(error, PoolError) else error
        if engine.accounts.calls.get(number) != IN_FLIGHT:
            return told
        outcome = "result" if told is None else type(told).__name__ if isinstance(told, PoolError) else "Cancelled"
        session = self.open.pop(number, None)
        engine.accounts.calls[number] = outcome
        if session is not None:
            with engine.lock:
                engine.coordinator.sessions.release(session, number, now_ns())
        engine.after_call(number, outcome)
        return told

    def reclaimed(self, ticket: Ticket) -> None:
        """The pool has taken back what this ticket held; if that was a stream, it was cancelled."""
        if ticket.call in self.open:
            self.end(ticket.call, GeneratorExit())


class Stream:
    """The parts of one answer, in order, for the thread that asked for them.

    Iteration raises CommandError where the worker's handler failed, and CallTimeout, WorkerCrashed or PoolClosed where
    the pool did; the parts before that are good. A command that does not stream gives its one result as the only part.
    """

    __slots__ = (
        "_change",
        "_command",
        "_conversation",
        "_deadline_ns",
        "_engine",
        "_lease",
        "_number",
        "_open",
        "_request_bytes",
        "_worker",
    )

    def __init__(
        self,
        engine: Engine,
        lease: Lease,
        conversation: Conversation,
        worker: Worker,
        command: str,
        change: StateChange | None,
        request_bytes: int,
        deadline_ns: int,
    ) -> None:
        self._engine = engine
        self._lease = lease
        self._conversation = conversation
        self._worker = worker
        self._number = lease.require_ticket().call
        self._command = command
        self._change = change
        self._request_bytes = request_bytes
        self._deadline_ns = deadline_ns
        self._open = True

    @property
    def worker_id(self) -> int:
        """Which worker sends the parts."""
        return self._worker.worker_id

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:  # noqa: ANN401 - any JSON value
        if not self._open:
            raise StopIteration
        ticket = self._lease.require_mine()
        try:
            response = self._next_response(ticket)
        except BaseException as error:
            told = self._finish(error)
            if told is error or told is None:
                raise
            raise told from error
        if response.success and response.more is True:
            return response.result
        failure = None if response.success else CommandError(str(response.error))
        self._finish(failure)
        if failure is not None:
            raise failure
        if response.more is False:
            raise StopIteration
        return response.result  # it was no stream

    def _next_response(self, ticket: Ticket) -> Response:
        engine, lease, worker = self._engine, self._lease, self._worker
        try:
            with engine.lock:
                lease.busy = ticket.worker is worker
            if not lease.busy:
                raise lost(engine, worker, self._deadline_ns)
            response = self._conversation.next_part(self._number)
            if not response.success or response.more is not True:
                engine.supervisor.emit(
                    EventKind.RECEIVE, call=self._number, worker=worker.worker_id, pid=worker.door.pid
                )
                session = engine.streaming.open.get(self._number)
                if session is not None:
                    steps = engine.sessions.remember(
                        session, worker, self._command, response, self._change, self._request_bytes
                    )
                    engine.sessions.drive(steps, worker.door, self._deadline_ns)
            return response
        finally:
            lease.busy = False

    def close(self) -> None:
        """Leave the stream. Before its end that costs its worker. Idempotent; only for the stream's own thread."""
        if self._open:
            self._lease.require_mine()
            self._finish(GeneratorExit())

    def _finish(self, error: BaseException | None) -> BaseException | None:
        self._open = False
        try:
            self._lease.end(error if self._worker.door.dirty else None)
        finally:
            try:
                told = self._engine.streaming.end(self._number, error)
            except BaseException:  # an interrupt came into these very steps
                self._engine.streaming.end(self._number, error)
                raise
        return told

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def lost(engine: Engine, worker: Worker | None, deadline_ns: int) -> PoolError:
    """Why a stream has no worker any more."""
    worker_id = None if worker is None else worker.worker_id
    name = "its worker" if worker is None else f"worker {worker_id}"
    if engine.coordinator.closing:
        return PoolClosed(f"pool {engine.crew.name!r} was closed during the call", sent=Sent.YES, worker_id=worker_id)
    if deadline_ns <= now_ns():
        return CallTimeout(f"{name} did not end its stream by the deadline", sent=Sent.YES, worker_id=worker_id)
    tail = "" if worker is None else worker.door.last_words()
    return WorkerCrashed(
        f"{name} ended in the middle of its stream", sent=Sent.YES, worker_id=worker_id, stderr_tail=tail
    )
