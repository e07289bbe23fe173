"""The refactored pool: each client checks a worker out and does its own I/O."""

from __future__ import annotations

if __name__ == "pool_v2":
    raise ImportError("there is no package pool_v2: import poolproof.pool_v2")

from typing import TYPE_CHECKING

from poolproof.pool_v2.calls.lease import Lease
from poolproof.pool_v2.core.behaviour import Ok, Remove, Skip, Stop, WorkerBehaviour
from poolproof.pool_v2.pool import PoolV2

if TYPE_CHECKING:
    from poolproof.pool_v2.aio.pool import AsyncPool
    from poolproof.pool_v2.executor.executor import PoolExecutor

__all__ = ["AsyncPool", "Lease", "Ok", "PoolExecutor", "PoolV2", "Remove", "Skip", "Stop", "WorkerBehaviour"]


def __getattr__(name: str) -> object:
    # Imported on first use: asyncio and multiprocessing are slow to import, and PoolV2 alone needs neither.
    if name == "AsyncPool":
        from poolproof.pool_v2.aio.pool import AsyncPool

        return AsyncPool
    if name == "PoolExecutor":
        from poolproof.pool_v2.executor.executor import PoolExecutor

        return PoolExecutor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
