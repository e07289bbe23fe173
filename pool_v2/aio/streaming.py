"""Responses in parts for a task: `poolproof.pool_v2.calls.streaming` with `await`.

    async with pool.execute_stream("parts", {"count": 3}) as parts:
        async for part in parts: ...

The rules of `calls.streaming` apply. The worker is checked out when the block is entered, or with the first part.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self

from poolproof.bridge import CommandError, LeaseError
from poolproof.bridge.clock import now_ns
from poolproof.bridge.wire.messages import ends_stream
from poolproof.pool_v2.aio.io import follow
from poolproof.pool_v2.calls.io import ClientIo
from poolproof.pool_v2.calls.streaming import StreamCall, StreamLeft
from poolproof.pool_v2.running.engine import Engine


class AsyncStream:
    """An asynchronous iterator of the parts of one response, in order. Raises the errors of `PoolV2.execute_stream`.

    If a stream is left before its end (closed, left by an exception, dropped, or its task cancelled), its worker is
    ended; with `keep_on_cancel`, a cancelled task's stream is read to its end, and its worker is kept.
    """

    def __init__(
        self,
        engine: Engine,
        io: ClientIo,
        command: str,
        args: dict[str, Any],
        session_id: str | None,
        *,
        limit_ns: int,
        wait_ns: int,
    ) -> None:
        """`limit_ns` bounds the whole stream, `wait_ns` the wait for a worker; both count from the stream's start."""
        self._engine = engine
        self._call = StreamCall(engine.streaming, io, command, args, session_id)
        self._limits_ns = limit_ns, wait_ns
        self._state = "new"
        self._busy = False
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def worker_id(self) -> int:
        """The id of the worker that sends the parts. Raises LeaseError before the stream has started."""
        if self._call.worker is None:
            raise LeaseError("this stream has no worker yet: use `async with`, or take its first part")
        return self._call.worker.worker_id

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
                response = await follow(self._call.next_response())
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
            try:
                raise failure
            finally:
                del failure  # otherwise the error's traceback would keep a reference to the error
        if response.more is False:
            raise StopAsyncIteration
        return response.result  # a normal response, not a stream

    async def _begin(self) -> None:
        self._engine.process_manager.require_owner()
        now, (limit_ns, wait_ns) = now_ns(), self._limits_ns
        self._state = "open"
        self._loop = asyncio.get_running_loop()
        try:
            await follow(self._call.begin(now + limit_ns, now + min(limit_ns, wait_ns)))
        except BaseException:
            self._state = "ended"
            raise

    async def aclose(self) -> None:
        """Leave the stream. Leaving it before its end ends its worker. Idempotent."""
        self._require_free()
        if self._state == "open":
            self._finish(StreamLeft("before its end"))
        self._state = "ended"

    async def __aenter__(self) -> Self:
        if self._state != "new":
            raise LeaseError("this stream was begun already; call execute_stream again for a new stream")
        await self._begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._engine.process_manager.in_child:
            return
        if self._state == "open" and isinstance(error, GeneratorExit | asyncio.CancelledError):
            self._finish(error)  # may run in the garbage collector: see the module docstring of aio.io
        elif not isinstance(error, GeneratorExit):
            await self.aclose()

    def _require_free(self) -> None:
        if self._busy or self._loop not in (None, asyncio.get_running_loop()):
            raise LeaseError("this stream is in use by another task, or on another loop")

    def _fail(self, error: BaseException) -> None:
        # Raises the error for the client, if it is not `error` itself.
        told = self._finish(error)
        if told is not None and told is not error:
            try:
                raise told from error
            finally:
                del told  # otherwise the error's traceback would keep a reference to the error

    def _finish(self, error: BaseException | None) -> BaseException | None:
        self._state = "ended"
        return self._call.finish(error)
