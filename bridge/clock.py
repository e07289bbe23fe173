"""Deadlines: absolute times inside a pool, relative timeouts at its interface.

The only module used by the pure core that reads the clock.
"""

from __future__ import annotations

import time

now_ns = time.monotonic_ns
"""The only clock of poolproof: CLOCK_MONOTONIC in nanoseconds, the same in every process of a machine."""


def remaining_s(deadline_ns: int) -> float:
    """Seconds from now to the deadline; negative after the deadline."""
    return (deadline_ns - now_ns()) / 1e9


def deadline_ns(timeout_s: float, *, start_ns: int | None = None) -> int:
    """The deadline `timeout_s` seconds after `start_ns` (default: now)."""
    return (now_ns() if start_ns is None else start_ns) + int(timeout_s * 1e9)
