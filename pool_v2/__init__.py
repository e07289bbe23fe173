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
    # Loaded when asked for: they need asyncio and multiprocessing, for which a user of the pool alone does not pay.
    if name == "AsyncPool":
        from poolproof.pool_v2.aio.pool import AsyncPool

        return AsyncPool
    if name == "PoolExecutor":
        from poolproof.pool_v2.executor.executor import PoolExecutor

        return PoolExecutor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
