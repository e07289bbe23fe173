"""AsyncPool: V2 for asyncio. A task checks a worker out and does its own I/O on its loop; a call uses no thread.

`poolproof.pool_v2.calls` runs the calls. One pool serves tasks of any number of loops, and threads, from one queue.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypeVar

from poolproof.bridge import ConfigError, Health, Observer, PoolConfig, PoolStatus, SessionStatus
from poolproof.bridge.clock import deadline_ns, now_ns, remaining_s
from poolproof.bridge.session_calls import AsyncSessionCalls
from poolproof.pool_v2.aio.io import TaskIo, follow
from poolproof.pool_v2.aio.lease import AsyncLease
from poolproof.pool_v2.aio.streaming import AsyncStream
from poolproof.pool_v2.calls.batch import require_all
from poolproof.pool_v2.core.behaviour import WorkerBehaviour
from poolproof.pool_v2.pool import WARM_UP_ROUNDS, PoolV2
from poolproof.pool_v2.running.engine import Engine

WARM_UP_LOOK_S = 0.005
T = TypeVar("T")
__all__ = ["AsyncLease", "AsyncPool", "AsyncStream"]


class AsyncPool(AsyncSessionCalls):
    """The refactored pool with `await`: the same arguments, errors, statistics and events as PoolV2.

    `async with AsyncPool(PoolConfig(workers=4)) as pool: await pool.execute("ping")`. The pool may be created outside
    any loop and is not bound to a loop. Raises ConfigError for a `behaviour`, because its hooks would block the loop.

    A call that is cancelled while its worker is at work ends the worker. With `keep_on_cancel` the worker goes on, its
    responses are dropped, and then it serves the next call; the deadline of the cancelled call still ends it. This
    holds for calls, with and without a session, batches and streams, and for a lease with at most one call.
    """

    version = PoolV2.version
    capabilities = PoolV2.capabilities

    def __init__(
        self,
        config: PoolConfig | None = None,
        *,
        observer: Observer | None = None,
        behaviour: WorkerBehaviour | None = None,
        keep_on_cancel: bool = False,
    ) -> None:
        if behaviour is not None:
            raise ConfigError(
                "AsyncPool takes no `behaviour`, because the hooks would block the event loop; use PoolV2 and threads"
            )
        self._stand_before(PoolV2(config, observer=observer), keep_on_cancel)

    @classmethod
    def over(cls, pool: PoolV2, *, keep_on_cancel: bool = False) -> Self:
        """Wrap a living PoolV2, so that tasks and threads share its workers. Closing either object closes the pool.

        Raises ConfigError if the pool has a behaviour.
        """
        if pool._engine.hooks.active:
            raise ConfigError(
                f"AsyncPool cannot share pool {pool.name!r}: that pool has a `behaviour`, whose "
                "hooks would block the event loop"
            )
        self = cls.__new__(cls)
        self._stand_before(pool, keep_on_cancel)
        return self

    def _stand_before(self, pool: PoolV2, keep_on_cancel: bool) -> None:
        self._pool = pool
        self._engine: Engine = pool._engine
        self._io = TaskIo(self._engine.open, self._engine.supervisor.abandon, keep_on_cancel=keep_on_cancel)
        self._limit_ns = int(self._engine.limit_s(None) * 1e9)
        self._wait_ns = int(self._engine.wait_s(None) * 1e9)

    @property
    def name(self) -> str:
        """The pool's name, unique among this user's living pools on this machine."""
        return self._pool.name

    @property
    def threads(self) -> PoolV2:
        """The same pool for threads: a PoolV2."""
        return self._pool

    async def execute(
        self,
        command: str,
        args: dict[str, Any] | None = None,
        *,
        session: str | None = None,
        timeout_s: float | None = None,
        checkout_timeout_s: float | None = None,
    ) -> Any:  # noqa: ANN401 - any JSON value
        """Check a worker out, write the request, read the response, check the worker in. Returns `result` verbatim.

        All I/O happens on this task's loop. `timeout_s` (30 by default) bounds the whole call: at the deadline, the
        worker is killed and CallTimeout raised. `checkout_timeout_s` (5 by default) bounds the wait for a worker:
        afterwards, CheckoutTimeout is raised. If the task is cancelled during the exchange, the worker is killed and
        replaced.
        """
        engine = self._engine
        engine.process_manager.require_owner()
        now = now_ns()
        limit_ns, wait_ns = self._limits_ns(timeout_s, checkout_timeout_s)
        until = now + min(limit_ns, wait_ns)
        steps = engine.calls.execute(self._io, command, args or {}, session, now + limit_ns, until)
        return await follow(steps)

    async def execute_many(
        self,
        command: str,
        items: Iterable[dict[str, Any]],
        *,
        session: str | None = None,
        return_errors: bool = False,
        timeout_s: float | None = None,
        checkout_timeout_s: float | None = None,
    ) -> list[Any]:
        """Execute `command` once per item on one worker, with pipelined requests. Returns the results in order.

        Timeouts and errors are the same as for PoolV2.execute_many.
        """
        engine = self._engine
        engine.process_manager.require_owner()
        limit_ns, wait_ns = self._limits_ns(timeout_s, checkout_timeout_s)
        now = now_ns()
        until = now + min(limit_ns, wait_ns)
        found = await follow(engine.batch.run(self._io, command, list(items), session, now + limit_ns, until))
        return found if return_errors else require_all(found)

    def execute_stream(
        self,
        command: str,
        args: dict[str, Any] | None = None,
        *,
        session: str | None = None,
        timeout_s: float | None = None,
        checkout_timeout_s: float | None = None,
    ) -> AsyncStream:
        """`execute` in parts: `async with pool.execute_stream(...) as parts: async for part in parts`.

        `timeout_s` bounds the whole stream. Leaving the stream early ends its worker.
        """
        limit_ns, wait_ns = self._limits_ns(timeout_s, checkout_timeout_s)
        return AsyncStream(self._engine, self._io, command, args or {}, session, limit_ns=limit_ns, wait_ns=wait_ns)

    def _limits_ns(self, timeout_s: float | None, checkout_timeout_s: float | None) -> tuple[int, int]:
        engine, limit_ns, wait_ns = self._engine, self._limit_ns, self._wait_ns
        if timeout_s is not None:
            limit_ns = int(engine.limit_s(timeout_s) * 1e9)
        if checkout_timeout_s is not None:
            wait_ns = int(engine.wait_s(checkout_timeout_s) * 1e9)
        return limit_ns, wait_ns

    def checkout(
        self,
        command: Any = None,  # noqa: ANN401 - told in a CheckoutTimeout
        *,
        timeout_s: float | None = None,
        checkout_timeout_s: float | None = None,
    ) -> AsyncLease:
        """Lease a worker for a block: `async with pool.checkout() as worker: await worker.execute(...)`.

        `timeout_s` bounds the whole block: at the deadline, the worker is ended; None sets no limit.
        `checkout_timeout_s` (5 by default) bounds the wait: afterwards, CheckoutTimeout is raised. Both count from the
        entry of the block.
        """
        if timeout_s is not None:
            self._engine.limit_s(timeout_s)
        wait_s = self._engine.wait_s(checkout_timeout_s)
        return AsyncLease(self._engine, self._io, command, timeout_s, wait_s)

    async def end_session(self, session_id: str) -> bool:
        """Forget the session and its state. Returns False if the session did not exist."""
        self._engine.process_manager.require_owner()
        return await follow(self._engine.calls.end_session(self._io, session_id))

    def sessions(self) -> tuple[SessionStatus, ...]:
        """Return the sessions that have not ended. Never waits."""
        return self._pool.sessions()

    def status(self) -> PoolStatus:
        """Return a consistent snapshot of the pool. Never waits."""
        return self._pool.status()

    def health_check(self) -> Health:
        """Return whether the pool can serve at its full size now. Never waits."""
        return self._pool.health_check()

    async def warm_up(self, n: int | None = None) -> int:
        """Start workers in parallel until `n` are ready (default: the pool's size). Returns how many are ready.

        Raises CircuitOpen or StartFailed if workers do not start, and PoolClosed if the pool is closed first.
        """
        engine = self._engine
        engine.process_manager.require_owner()
        wanted = min(self._pool.size if n is None else n, self._pool.size)
        limit = deadline_ns(engine.config.start_timeout_s * WARM_UP_ROUNDS)
        while (ready := engine.warm_up(wanted, now_ns())) < wanted and remaining_s(limit) > 0:
            if engine.coordinator.circuit.refuses(now_ns()):
                break
            await asyncio.sleep(WARM_UP_LOOK_S)
        return self._pool.require_ready(ready, wanted)

    def resize(self, n: int) -> None:
        """Change the pool's size to `n` workers, 1 to 1024, as PoolV2.resize does. Never waits."""
        self._pool.resize(n)

    async def drain(self, timeout_s: float | None = None) -> bool:
        """Accept no more calls, let all calls and leases that have begun end, waiting calls too, then close the pool.

        New calls get PoolClosed. After `timeout_s` seconds (None: no limit) the pool is closed anyway, and the calls
        that have not ended get PoolClosed. Returns whether all have ended. The loop keeps running meanwhile. If this
        task is cancelled, the pool is still drained and closed.
        """
        self._engine.process_manager.require_owner()
        return await _beside(lambda: self._pool.drain(timeout_s), name=f"{self.name}-drain")

    async def close(self, grace_s: float | None = None) -> None:
        """Close the pool: waiting calls get PoolClosed at once, leased workers get `grace_s` seconds. Idempotent.

        The loop keeps running meanwhile, so its tasks can finish. If this task is cancelled, the pool is still closed.
        """
        self._engine.process_manager.require_owner()
        await _beside(lambda: self._pool.close(grace_s), name=f"{self.name}-close")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._engine.process_manager.in_child:  # a forked child that leaves the block has nothing to close
            await self.close()


async def _beside(work: Callable[[], T], *, name: str) -> T:
    """Run `work` in its own thread while the loop keeps running. Returns its result, or raises what it raises."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Future[T]] = loop.create_future()

    def settle(ended: Future[T]) -> None:
        if not done.done():
            done.set_result(ended)

    def run() -> None:
        ended: Future[T] = Future()
        try:
            ended.set_result(work())
        except BaseException as error:
            ended.set_exception(error)
        try:
            loop.call_soon_threadsafe(settle, ended)
        except RuntimeError:
            pass  # the loop was closed meanwhile

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    ended = await done
    thread.join()
    return ended.result()
