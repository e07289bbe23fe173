"""Deadlines: absolute times inside a pool, relative timeouts at its interface.

The only module used by the pure core that reads the clock.
"""

from __future__ import annotations

import time


class Clock:
    """The clock of a pool: CLOCK_MONOTONIC in nanoseconds, the same in every process of a machine."""

    now_ns = staticmethod(time.monotonic_ns)
    sleep = staticmethod(time.sleep)

    def remaining_s(self, deadline_ns: int) -> float:
        """Seconds from now to the deadline; negative after the deadline."""
        return (deadline_ns - self.now_ns()) / 1e9

    def deadline_ns(self, timeout_s: float, *, start_ns: int | None = None) -> int:
        """The deadline `timeout_s` seconds after `start_ns` (default: now)."""
        return (self.now_ns() if start_ns is None else start_ns) + int(timeout_s * 1e9)


CLOCK = Clock()
"""The clock of this machine, and the only real one. A simulation passes a clock of its own to its pools."""
now_ns, remaining_s, deadline_ns = CLOCK.now_ns, CLOCK.remaining_s, CLOCK.deadline_ns
