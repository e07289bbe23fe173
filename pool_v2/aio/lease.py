"""The lease of a worker that a task holds for an `async with` block."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self

from poolproof.bridge import LeaseError
from poolproof.bridge.clock import deadline_ns
from poolproof.pool_v2.aio.io import AsyncTicket, TaskIo, follow
from poolproof.pool_v2.calls.lease import Lease
from poolproof.pool_v2.core.worker_table import NEVER_NS
from poolproof.pool_v2.running.engine import Engine


class AsyncLease:
    """The result of `AsyncPool.checkout`: a worker that one task holds from the entry to the exit of the block.

    If the block raises, the worker is ended and replaced, and the exception is passed on unchanged. After that, and
    after a cancelled call, `execute` raises LeaseError. With `keep_on_cancel`, a block that is cancelled keeps its
    worker if it has made at most one call.
    """

    def __init__(
        self,
        engine: Engine,
        io: TaskIo,
        command: Any,  # noqa: ANN401
        timeout_s: float | None,
        wait_s: float,
    ) -> None:
        self._engine = engine
        self._io = io
        self._command = command
        self._timeout_s = timeout_s
        self._wait_s = wait_s
        self._entered = False
        self._lease: Lease | None = None
        self._ticket: AsyncTicket | None = None
        self._busy: asyncio.Future[None] | None = None

    @property
    def worker_id(self) -> int:
        """The worker's id. Raises LeaseError before the block is entered and after it has ended."""
        return self._require()[0].worker_id

    @property
    def pid(self) -> int:
        """The worker's process id. Raises LeaseError before the block is entered and after it has ended."""
        return self._require()[0].pid

    async def execute(self, command: str, args: dict[str, Any] | None = None, *, timeout_s: float | None = None) -> Any:  # noqa: ANN401
        """Run one command on this worker. Returns the result verbatim.

        `timeout_s` (30 by default) bounds the call; the lease's own timeout applies too. Raises the errors of
        AsyncPool.execute, and LeaseError if the lease has ended, if another task's call is in flight, or if it is
        called on another loop. After CallTimeout or WorkerCrashed the worker is gone and the lease can no longer be
        used.
        """
        lease, ticket = self._require()
        if self._busy is not None or ticket.loop is not asyncio.get_running_loop():
            raise LeaseError(f"the lease of worker {ticket.worker_id} is in use by another task, or on another loop")
        busy = self._busy = ticket.loop.create_future()
        try:
            return await follow(self._engine.leases.execute(self._io, lease, ticket, command, args or {}, timeout_s))
        finally:
            self._busy = None
            if not ticket.loop.is_closed():
                busy.cancel()

    async def __aenter__(self) -> Self:
        if self._entered:
            raise LeaseError("this lease was entered already; check out another one")
        self._entered = True
        self._engine.process_manager.require_owner()
        limit = NEVER_NS if self._timeout_s is None else deadline_ns(self._timeout_s)
        until = min(limit, deadline_ns(self._wait_s))
        lease = await follow(self._engine.leases.open(self._io, None, self._command, None, limit, until, enqueued=True))
        ticket = lease.require_ticket()
        assert isinstance(ticket, AsyncTicket), "a task's lease has a task's ticket"
        self._lease, self._ticket = lease, ticket
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._engine.process_manager.in_child:
            return
        lease, ticket = self._entered_with()
        self._lease = None
        if isinstance(error, GeneratorExit):  # may run in the garbage collector: see the module docstring of aio.io
            self._engine.open.dropped.append(lambda: lease.end(error))
            return
        cancelled = None if self._busy is None else await self._break_off(ticket, self._busy)
        lease.end(cancelled or error)
        if cancelled is not None:
            raise cancelled

    async def _break_off(self, ticket: AsyncTicket, busy: asyncio.Future[None]) -> asyncio.CancelledError | None:
        # Another task's call is in flight. Killing the worker ends that call; only then may the worker's descriptors be
        # closed.
        worker = ticket.worker
        if worker is not None:
            worker.transport.kill()
        cancelled: asyncio.CancelledError | None = None
        while not busy.done():
            try:
                await asyncio.wait([busy])
            except asyncio.CancelledError as error:
                cancelled = error
        return cancelled

    def _require(self) -> tuple[Lease, AsyncTicket]:
        lease, ticket = self._entered_with()
        lease.require_open()
        return lease, ticket

    def _entered_with(self) -> tuple[Lease, AsyncTicket]:
        self._engine.process_manager.require_owner()
        if self._lease is None or self._ticket is None:
            what = (
                "has ended; the worker may serve another client now"
                if self._entered
                else "was not entered; use `async with`"
            )
            raise LeaseError(f"this lease {what}")
        return self._lease, self._ticket
