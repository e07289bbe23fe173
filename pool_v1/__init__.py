"""The legacy pool: one manager thread does all the I/O."""

from __future__ import annotations

if __name__ == "pool_v1":
    raise ImportError("there is no package pool_v1: import poolproof.pool_v1")

from poolproof.pool_v1.pool import PoolV1

__all__ = ["PoolV1"]
