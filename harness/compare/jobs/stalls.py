"""Notices when the whole machine stands still, such as a virtual machine that its host has paused.

The process that directs the runs looks at the clock all the time. If it was kept from that for long, so were the pools
and their clients, in processes of their own: a deadline that was missed then was not missed by the pool.
"""

from __future__ import annotations

import threading
import time

STALL_S = 2.0
"""A pause of the directing process that counts, in seconds. A machine with twenty times too much to do shows less."""


class Stalls:
    """What was noticed so far. `tick` is called from any thread, several times a second as long as runs are made."""

    def __init__(self) -> None:
        self.told: list[str] = []
        """A sentence for each run that was made again."""
        self._lock = threading.Lock()
        self._last_s = time.monotonic()
        self._found: list[tuple[float, float]] = []

    def begin(self) -> None:
        """Begin to look: what was before does not count."""
        with self._lock:
            self._last_s = time.monotonic()

    def tick(self) -> None:
        """Look at the clock."""
        with self._lock:
            now_s = time.monotonic()
            if now_s - self._last_s >= STALL_S:
                self._found.append((self._last_s, now_s))
            self._last_s = now_s

    def longest_since(self, began_s: float) -> float:
        """Return how long the longest stall since then was, in seconds; 0 if there was none."""
        self.tick()
        with self._lock:
            return max(
                (end_s - max(start_s, began_s) for start_s, end_s in self._found if end_s > began_s), default=0.0
            )
