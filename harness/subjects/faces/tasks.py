"""The asyncio faces: AsyncPool over the pool, on an event loop in its own thread; each call is a task on the loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from importlib import import_module
from typing import Any, TypeVar, cast

from poolproof.bridge import Pool
from poolproof.harness.model.face import Face, Setting, Way
from poolproof.pool_v2 import AsyncPool, PoolV2

Value = TypeVar("Value")


class Tasks(Way):
    """An AsyncPool on a loop that `new_loop` makes. A client waits for its task, and cancels it if interrupted."""

    def __init__(self, pool: Pool, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        super().__init__(pool)
        self._tasks = AsyncPool.over(cast("PoolV2", pool))
        self._loop = new_loop()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._loop.run_forever, name="event-loop", daemon=True)
        self._thread.start()

    def execute(
        self,
        command: str,
        args: dict[str, Any],
        *,
        session: str | None = None,
        timeout_s: float | None = None,
        checkout_timeout_s: float | None = None,
    ) -> Any:  # noqa: ANN401
        """Make one call as a task."""
        return self._run(
            self._tasks.execute(
                command, args, session=session, timeout_s=timeout_s, checkout_timeout_s=checkout_timeout_s
            )
        )

    def close(self, grace_s: float) -> None:
        """Close the pool from a task, then stop the loop."""
        with self._lock:
            if self._loop.is_closed():
                return
            try:
                self._run(self._tasks.close(grace_s))
            finally:
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._thread.join()
                self._loop.run_until_complete(self._loop.shutdown_asyncgens())
                self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Value]) -> Value:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise


def _uvloop() -> asyncio.AbstractEventLoop:
    loop: asyncio.AbstractEventLoop = import_module("uvloop").new_event_loop()
    return loop


def _on_asyncio(pool: Pool, setting: Setting) -> Way:
    return Tasks(pool, asyncio.new_event_loop)


def _on_uvloop(pool: Pool, setting: Setting) -> Way:
    return Tasks(pool, _uvloop)


ASYNCIO = Face(name="asyncio", summary="AsyncPool: each call is a task on one asyncio event loop", over=_on_asyncio)
UVLOOP = Face(
    name="uvloop",
    summary="AsyncPool: each call is a task on one uvloop event loop",
    over=_on_uvloop,
    package="uvloop",
    prepare=lambda: _uvloop().close(),  # the first libuv loop opens a pipe for signals that stays open
)
