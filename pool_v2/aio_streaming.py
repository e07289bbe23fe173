"""Answers in parts for a task: `pool_v2.streaming` with `await`.

    async with pool.execute_stream("parts", {"count": 3}) as parts:
        async for part in parts: ...

The rules are those of streaming. The worker is checked out at the entry of the block, or with the first part.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self

from bridge import CommandError, EventKind, LeaseError
from bridge.clock import now_ns
from bridge.conversation import ends_stream
from bridge.messages import Response, encode_request, session_args
from pool_v2.accounts import IN_FLIGHT
from pool_v2.aio_calls import TaskCalls
from pool_v2.aio_conversation import AsyncConversation
from pool_v2.aio_ticket import AsyncTicket
from pool_v2.handover import as_change
from pool_v2.lease import Lease
from pool_v2.roster import Worker
from pool_v2.sessions import Session, StateChange
from pool_v2.streaming import lost


class AsyncStream:
    """The parts of one answer, in order, for the task that asks for them. Errors come as from `PoolV2.execute_stream`.

    A stream that is left before its end (closed, raised out of, dropped, its task cancelled) costs its worker.
    """

    def __init__(
        self,
        calls: TaskCalls,
        command: str,
        args: dict[str, Any],
        session_id: str | None,
        *,
        limit_ns: int,
        wait_ns: int,
    ) -> None:
        """`limit_ns` bounds all of it and `wait_ns` the wait for a worker; both count from the begin."""
        self._calls = calls
        self._engine = calls.engine
        self._command = command
        self._args = args
        self._session_id = session_id
        self._limits_ns = limit_ns, wait_ns
        self._deadline_ns = 0
        self._number = 0
        self._state = "new"
        self._busy = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lease: Lease | None = None
        self._worker: Worker | None = None
        self._conversation: AsyncConversation | None = None
        self._change: StateChange | None = None
        self._request_bytes = 0

    @property
    def worker_id(self) -> int:
        """Which worker sends the parts. Raises LeaseError before the begin."""
        if self._worker is None:
            raise LeaseError("this stream has no worker yet: use `async with`, or take its first part")
        return self._worker.worker_id

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:  # noqa: ANN401 - any JSON value
        self._require_free()
        self._busy = True
        try:
            if self._state == "new":
                await self._begin()
            if self._state == "ended":
                raise StopAsyncIteration
            try:
                response = await self._next_response()
            except BaseException as error:
                self._fail(error)
                raise
        finally:
            self._busy = False
        if not ends_stream(response):
            return response.result
        failure = None if response.success else CommandError(str(response.error))
        self._finish(failure)
        if failure is not None:
            raise failure
        if response.more is False:
            raise StopAsyncIteration
        return response.result  # it was no stream

    async def _begin(self) -> None:
        engine = self._engine
        engine.crew.require_owner()
        now, (limit_ns, wait_ns) = now_ns(), self._limits_ns
        self._deadline_ns = now + limit_ns
        self._state = "open"
        self._loop = asyncio.get_running_loop()
        self._number = engine.next_id()
        engine.accounts.calls[self._number] = IN_FLIGHT
        try:
            engine.supervisor.emit(EventKind.ENQUEUE, call=self._number)
            args = self._args if self._session_id is None else session_args(self._args, self._session_id)
            frame = encode_request(self._number, self._command, args, limit_bytes=engine.limit_bytes, stream=True)
            self._request_bytes = len(frame)
            if self._session_id is not None and self._command in engine.config.state_commands:
                self._change = as_change(self._command, frame)
            engine.streaming.open[self._number] = None
            if self._session_id is not None:
                with engine.lock:
                    engine.streaming.open[self._number] = engine.coordinator.sessions.begin(
                        self._session_id, self._number
                    )
            await self._send(frame, engine.streaming.open[self._number], now + min(limit_ns, wait_ns))
        except BaseException as error:
            self._fail(error)
            raise

    async def _send(self, frame: bytearray, session: Session | None, patience: int) -> None:
        # Again only if a worker was found dead before it took a byte.
        engine, calls, again = self._engine, self._calls, False
        while True:
            lease, ticket = await calls.open_lease(
                self._command, self._deadline_ns, patience, number=self._number, session=session, again=again
            )
            try:
                worker = self._use(lease, ticket)
                if session is not None:
                    await calls.drive(engine.sessions.hand_over(session, worker), ticket, self._deadline_ns)
                conversation = AsyncConversation(ticket.loop, worker.door, deadline_ns=self._deadline_ns)
                await conversation.ask(frame)
            except BaseException as error:
                lease.busy = False
                if isinstance(error, GeneratorExit):  # perhaps in the garbage collector: see aio_calls
                    engine.housekeeper.dropped.append(lambda lease=lease, error=error: lease.end(error))  # type: ignore[misc]
                    raise
                lease.end(error)
                if not engine.may_go_elsewhere(error, patience):
                    raise
                again = True
                continue
            lease.busy = False
            engine.supervisor.emit(EventKind.SEND, call=self._number, worker=worker.worker_id, pid=worker.door.pid)
            self._lease, self._worker, self._conversation = lease, worker, conversation
            return

    def _use(self, lease: Lease, ticket: AsyncTicket) -> Worker:
        # `busy` keeps the pool from closing descriptors that the loop watches: see Lease.
        with self._engine.lock:
            worker = ticket.worker
            lease.busy = worker is not None
        if worker is None:
            raise lost(self._engine, self._worker, self._deadline_ns)
        return worker

    async def _next_response(self) -> Response:
        engine, lease, conversation = self._engine, self._lease, self._conversation
        assert lease is not None, "a stream that has begun has a lease"
        assert conversation is not None, "and a conversation"
        ticket = lease.require_mine()
        assert isinstance(ticket, AsyncTicket), "a task's lease has a task's ticket"
        worker = self._use(lease, ticket)
        try:
            response = await conversation.next_part(self._number)
            if ends_stream(response):
                engine.supervisor.emit(
                    EventKind.RECEIVE, call=self._number, worker=worker.worker_id, pid=worker.door.pid
                )
                session = engine.streaming.open.get(self._number)
                if session is not None:
                    steps = engine.sessions.remember(
                        session, worker, self._command, response, self._change, self._request_bytes
                    )
                    await self._calls.drive(steps, ticket, self._deadline_ns)
            return response
        finally:
            lease.busy = False

    async def aclose(self) -> None:
        """Leave the stream. Before its end that costs its worker. Idempotent."""
        self._require_free()
        if self._state == "open":
            self._finish(GeneratorExit())
        self._state = "ended"

    async def __aenter__(self) -> Self:
        if self._state != "new":
            raise LeaseError("this stream was begun already; ask for another one")
        await self._begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _require_free(self) -> None:
        if self._busy or self._loop not in (None, asyncio.get_running_loop()):
            raise LeaseError("this stream is in use by another task, or on another loop")

    def _fail(self, error: BaseException) -> None:
        # Raises what the client is told, if that is not the error itself.
        if isinstance(error, GeneratorExit):  # perhaps in the garbage collector: see aio_calls
            self._state = "ended"
            self._engine.housekeeper.dropped.append(lambda: self._finish(error))
            return
        told = self._finish(error)
        if told is not None and told is not error:
            raise told from error

    def _finish(self, error: BaseException | None) -> BaseException | None:
        self._state = "ended"
        lease, worker = self._lease, self._worker
        try:
            if lease is not None and worker is not None:
                lease.end(error if worker.door.dirty else None)
        finally:
            told = self._engine.streaming.end(self._number, error)
        return told
