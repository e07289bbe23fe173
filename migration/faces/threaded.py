"""A blocking pool as a side of an asyncio face."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from poolproof.bridge import PoolError, PoolStatus

THREADS = 64
"""The most calls that a blocking pool gets at the same time."""


class Threaded:
    """A blocking pool with `await`: each call runs in one of THREADS threads, which do nothing else."""

    def __init__(self, pool: Any) -> None:  # noqa: ANN401
        self._pool = pool
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="migration-call")

    @property
    def name(self) -> str:
        """The pool's name."""
        return str(self._pool.name)

    def status(self) -> PoolStatus:
        """Return the pool's status; waits as the pool does."""
        found: PoolStatus = self._pool.status()
        return found

    async def execute(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401
        """Run one call of the pool."""
        return await self._beside(self._pool.execute, *args, **options)

    async def end_session(self, session_id: str) -> bool:
        """Forget the session."""
        return bool(await self._beside(self._pool.end_session, session_id))

    async def warm_up(self, n: int | None = None) -> int:
        """Start workers."""
        return int(await self._beside(self._pool.warm_up, n))

    async def execute_many(
        self, command: str, items: list[dict[str, Any]], *, return_errors: bool, **limits: float | None
    ) -> list[Any]:
        """Run the calls of a batch, one after another if the pool has no batches."""
        assert return_errors, "the caller sorts the errors out"
        if hasattr(self._pool, "execute_many"):
            found: list[Any] = await self._beside(self._pool.execute_many, command, items, return_errors=True, **limits)
            return found
        results: list[Any] = []
        for item in items:
            try:
                results.append(await self.execute(command, item, **limits))
            except PoolError as error:
                results.append(error)
        return results

    async def close(self, grace_s: float | None = None) -> None:
        """Close the pool and its threads."""
        try:
            await self._beside(self._pool.close, grace_s)
        finally:
            self._threads.shutdown(wait=False)

    async def _beside(self, call: Callable[..., Any], *args: Any, **options: Any) -> Any:  # noqa: ANN401
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: call(*args, **options))


def blocks(pool: Any) -> bool:  # noqa: ANN401 - any pool
    """Return whether the pool's calls block their thread."""
    return not inspect.iscoroutinefunction(pool.execute)
