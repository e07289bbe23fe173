"""The legacy pool: one manager thread, through which all I/O goes."""

from __future__ import annotations

from poolproof.pool_v1.pool import PoolV1

__all__ = ["PoolV1"]
