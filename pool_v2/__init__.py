"""The refactored pool: each client checks a worker out and does its own I/O."""

from __future__ import annotations

from pool_v2.pool import PoolV2

__all__ = ["PoolV2"]
