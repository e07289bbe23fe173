"""Responses in parts: a worker sends each part when it is ready, and the client takes the parts one by one.

    with pool.execute_stream("parts", {"count": 3}) as parts:
        for part in parts: ...

Rules
1. A stream holds its worker from the request to the end of the stream. A client that reads slowly slows its worker
   down; only the bytes of one read are buffered.
2. If a stream is left before its end (closed, left by an exception, dropped, its thread or task ended), its worker is
   ended and replaced, because no client would read the remaining parts. If a task is cancelled whose cancelled calls
   keep their worker, the supervisor reads them.
3. A stream is one call: it counts once, and has one outcome.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from poolproof.bridge import CallTimeout, CommandError, EventKind, PoolClosed, PoolError, Sent, WorkerCrashed
from poolproof.bridge.errors import UNKNOWN_END
from poolproof.bridge.wire.exchange import Steps, receive, run, send
from poolproof.bridge.wire.messages import Response, encode_request, ends_stream, session_args
from poolproof.pool_v2.calls.handover import Handover, as_change
from poolproof.pool_v2.calls.io import THREAD, ClientIo
from poolproof.pool_v2.calls.lease import Lease
from poolproof.pool_v2.calls.leases import Leases
from poolproof.pool_v2.calls.transfer import abandon
from poolproof.pool_v2.core.accounts import IN_FLIGHT
from poolproof.pool_v2.core.sessions import Session, StateChange
from poolproof.pool_v2.core.ticket import Ticket
from poolproof.pool_v2.core.worker_table import Worker
from poolproof.pool_v2.running.runtime import Runtime


class StreamLeft(Exception):
    """The client has left the stream."""


class Streaming:
    """Keeps the open streams of one pool. Every method may be called from any thread."""

    def __init__(self, runtime: Runtime, leases: Leases, handover: Handover) -> None:
        self.runtime = runtime
        self.leases = leases
        self.handover = handover
        self.open: dict[int, Session | None] = {}

    def reclaimed(self, ticket: Ticket) -> None:
        """Cancel the stream of a ticket whose worker the pool has taken back, if the ticket belongs to a stream."""
        if ticket.call in self.open:
            self.end(ticket.call, GeneratorExit())

    def end(self, number: int, error: BaseException | None) -> BaseException | None:
        """End the call, if it has not ended yet. Returns the error for the client."""
        runtime = self.runtime
        told = runtime.told(error) if isinstance(error, PoolError) else error
        if runtime.accounts.calls.get(number) != IN_FLIGHT:
            return told
        outcome = "result" if told is None else type(told).__name__ if isinstance(told, PoolError) else "Cancelled"
        failure = None if error is None else type(error)
        session = self.open.pop(number, None)
        try:
            if session is not None:
                runtime.release_session(number, session, failure)
            runtime.tell_done(number, outcome)
        finally:
            runtime.accounts.calls[number] = outcome
        runtime.tidy(failure)
        return told


class StreamCall:
    """One call with a response in parts, for a thread or a task: from its entry to its one outcome."""

    def __init__(
        self, streams: Streaming, io: ClientIo, command: str, args: dict[str, Any], session_id: str | None
    ) -> None:
        self._streams = streams
        self._runtime = streams.runtime
        self._io = io
        self._command = command
        self._args = args
        self._session_id = session_id
        self._session: Session | None = None
        self._change: StateChange | None = None
        self._request_bytes = 0
        self._deadline_ns = 0
        self.number = 0
        self.lease: Lease | None = None
        self.worker: Worker | None = None

    @property
    def in_child(self) -> bool:
        """Whether this is the copy in a forked child, whose parent has the stream."""
        return self._runtime.process_manager.in_child

    def begin(self, deadline: int, until: int) -> Steps[None]:
        """Check a worker out and send it the request. Times are absolute, in nanoseconds."""
        runtime = self._runtime
        self.number = next(runtime.ids)
        self._deadline_ns = deadline
        runtime.accounts.calls[self.number] = IN_FLIGHT
        self._streams.open[self.number] = None
        try:
            if runtime.log is not None:
                runtime.log.enqueued(self.number)
            args = self._args if self._session_id is None else session_args(self._args, self._session_id)
            frame = encode_request(
                self.number,
                self._command,
                args,
                limit_bytes=runtime.limit_bytes,
                stream=True,
                takes_buffers=runtime.abilities.takes_buffers,
            )
            self._request_bytes = len(frame)
            if self._session_id is not None:
                if self._command in runtime.config.state_commands:
                    self._change = as_change(self._command, frame)
                with runtime.lock:
                    self._session = runtime.coordinator.sessions.begin(self._session_id, self.number)
                    self._streams.open[self.number] = self._session
            yield from self._send(frame, until)
        except BaseException as error:
            try:
                told = self.finish(error)
            except BaseException:  # an interrupt came during the cleanup itself
                self.finish(error)
                raise
            try:
                if told is error or told is None:
                    raise
                raise told from error
            finally:
                del told  # otherwise the error's traceback would keep a reference to the error

    def _send(self, frame: bytearray, until: int) -> Steps[None]:
        # Repeated only if a worker was found dead before it received a byte.
        runtime, again = self._runtime, False
        while True:
            lease: Lease | None = None
            try:
                lease = yield from self._streams.leases.open(
                    self._io, self.number, self._command, self._session, self._deadline_ns, until, again=again
                )
                ticket = lease.require_ticket()
                worker = self._take_up(lease, ticket)
                if self._session is not None:
                    yield from self._streams.handover.hand_over(self._io, ticket, self._deadline_ns)
                yield from send(self._io, worker.transport, frame, self._deadline_ns)
                if runtime.log is not None:
                    runtime.log.note(EventKind.SEND, self.number, worker.worker_id, worker.transport.pid)
                lease.busy = False
                self.lease, self.worker = lease, worker
                return
            except BaseException as error:
                if lease is not None:  # otherwise the worker ended in the checkout hook
                    lease.busy = False
                    lease.end(error)
                if not runtime.may_go_elsewhere(error, until):
                    raise
                again = True

    def next_response(self) -> Steps[Response]:
        """Return the next part or the last response. Raises the error that ended the stream."""
        lease = self.lease
        assert lease is not None, "a stream that has begun has a lease"
        ticket = lease.require_open()
        try:
            worker = self._take_up(lease, ticket)
            response = yield from receive(self._io, worker.transport, self.number, self._deadline_ns, parts=True)
            if not ends_stream(response):
                return response
            if self._runtime.log is not None:
                self._runtime.log.note(EventKind.RECEIVE, self.number, worker.worker_id, worker.transport.pid)
            if self._session is not None:
                yield from self._streams.handover.remember(
                    self._io,
                    ticket,
                    worker,
                    self._command,
                    response,
                    self._change,
                    self._request_bytes,
                    self._deadline_ns,
                )
            return response
        finally:
            lease.busy = False

    def _take_up(self, lease: Lease, ticket: Ticket) -> Worker:
        # `busy` keeps the pool from taking the worker back while its descriptors are in use: see Lease.
        with self._runtime.lock:
            worker = ticket.worker
            lease.busy = worker is not None
        if worker is None:
            raise self._lost()
        return worker

    def _lost(self) -> PoolError:
        # Returns the error that says why the stream has lost its worker.
        runtime, worker = self._runtime, self.worker
        worker_id = None if worker is None else worker.worker_id
        name = "its worker" if worker is None else f"worker {worker_id}"
        if runtime.coordinator.closing:
            message = f"pool {runtime.process_manager.name!r} was closed during the call"
            return PoolClosed(message, sent=Sent.YES, worker_id=worker_id)
        if self._deadline_ns <= runtime.now_ns():
            message = f"{name} did not complete its stream by the deadline"
            return CallTimeout(message, sent=Sent.YES, worker_id=worker_id)
        tail = "" if worker is None else worker.transport.last_words()
        ended = UNKNOWN_END if worker is None else worker.transport.end()
        message = ended.after(f"{name} ended in the middle of its stream")
        return WorkerCrashed(message, sent=Sent.YES, worker_id=worker_id, stderr_tail=tail, ended=ended)

    def _outlived(self, lease: Lease, error: BaseException | None) -> bool:
        # Returns whether the supervisor awaits the rest of this abandoned stream.
        ticket, record = lease.require_open(), None
        if error is None or not ticket.outlives(error):
            return False
        if ticket.session is not None and ticket.worker is not None:
            handover = self._streams.handover
            record = handover.remember_abandoned(ticket, self._command, self._change, self._request_bytes)
        kept = abandon(self._runtime, ticket, [self.number], parts=True, record=record)
        if kept:
            lease.let_go()
        return kept

    def finish(self, error: BaseException | None) -> BaseException | None:
        """Give the worker back, and count the one outcome. Returns the error for the client.

        If an interrupt comes during these steps, they are still completed.
        """
        lease, worker = self.lease, self.worker
        try:
            if lease is not None and worker is not None and not lease.ended and not self._outlived(lease, error):
                lease.end(error if worker.transport.dirty else None)
        finally:
            try:
                told = self._streams.end(self.number, error)
            except BaseException:
                self._streams.end(self.number, error)
                raise
        return told


class Stream:
    """An iterator of the parts of one response, in order, for the thread that requested it.

    Iteration raises CommandError if the worker's handler failed, and CallTimeout, WorkerCrashed or PoolClosed if the
    pool failed; the earlier parts are valid. If the command does not stream, its one result is the only part.
    """

    __slots__ = ("_call", "_open")

    def __init__(self, call: StreamCall) -> None:
        self._call = call
        self._open = True

    @classmethod
    def begin(
        cls,
        streams: Streaming,
        command: str,
        args: dict[str, Any],
        session_id: str | None,
        deadline: int,
        until: int,
    ) -> Self:
        """Check a worker out and send it the request. Times are absolute, in nanoseconds."""
        call = StreamCall(streams, THREAD, command, args, session_id)
        run(call.begin(deadline, until))
        return cls(call)

    @property
    def worker_id(self) -> int:
        """The id of the worker that sends the parts."""
        worker = self._call.worker
        assert worker is not None, "a stream that has begun has a worker"
        return worker.worker_id

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:  # noqa: ANN401 - any JSON value
        if not self._open:
            raise StopIteration
        self._require_mine()
        try:
            response = run(self._call.next_response())
        except BaseException as error:
            told = self._finish(error)
            try:
                if told is error or told is None:
                    raise
                raise told from error
            finally:
                del told  # see StreamCall.begin
        if not ends_stream(response):
            return response.result
        failure = None if response.success else CommandError(str(response.error))
        self._finish(failure)
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # otherwise the error's traceback would keep a reference to the error
        if response.more is False:
            raise StopIteration
        return response.result  # a normal response, not a stream

    def close(self) -> None:
        """Leave the stream. Leaving it before its end ends its worker. Idempotent; only for the stream's own thread."""
        if self._open:
            self._require_mine()
            self._finish(StreamLeft("before its end"))

    def _require_mine(self) -> None:
        assert self._call.lease is not None, "a stream that has begun has a lease"
        self._call.lease.require_mine()

    def _finish(self, error: BaseException | None) -> BaseException | None:
        self._open = False
        return self._call.finish(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._call.in_child:
            self.close()
