"""Deadlines: absolute inside a pool, relative at its interface.

The only file of the pure core's neighbours that reads the clock.
"""

from __future__ import annotations

import time

now_ns = time.monotonic_ns
"""The one clock of poolproof: CLOCK_MONOTONIC, in nanoseconds, the same in every process of a machine."""


def remaining_s(deadline_ns: int) -> float:
    """Seconds from now to the deadline; negative once it has passed."""
    return (deadline_ns - now_ns()) / 1e9


def deadline_ns(timeout_s: float, *, start_ns: int | None = None) -> int:
    """The deadline that lies `timeout_s` after `start_ns` (now, unless given)."""
    return (now_ns() if start_ns is None else start_ns) + int(timeout_s * 1e9)
