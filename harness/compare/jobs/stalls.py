"""Notices when the whole machine stands still, such as a virtual machine that its host has paused.

The process that directs the runs reads the clock several times a second. If that process itself did not run for a long
time, then neither did the pools and their clients, so a deadline that passed meanwhile is not held against the pool.
"""

from __future__ import annotations

import threading
import time

from poolproof.harness.compare.comparison import RunResult
from poolproof.harness.model.verdict import Verdict

STALL_S = 2.0
"""The shortest pause that counts, in seconds. Overload, even by twenty times, causes shorter pauses."""

TIMED = frozenset(
    {
        *("bounded_start", "close_bounded", "deadlines", "independence", "nothing_left", "one_outcome", "overlap"),
        *("parallel", "parallel_start", "prompt", "recovered", "timeout_kills", "work_conserving"),
    }
)
"""The checkers with a limit of time, without labels. A stall cannot cause a wrong answer or make a call run twice."""


def may_be_due_to_a_stall(result: RunResult) -> bool:
    """Return whether a machine that stood still may be the only reason why this run did not pass."""
    failed = [found.checker.partition(":")[0] for found in result.findings if found.verdict is Verdict.FAIL]
    return result.verdict is not Verdict.PASS and not result.skipped and TIMED.issuperset(failed)


class Stalls:
    """What was noticed so far. `tick` is called from any thread, several times a second as long as runs are made."""

    def __init__(self) -> None:
        self.told: list[str] = []
        """A sentence for each run that was made again."""
        self._lock = threading.Lock()
        self._last_s = time.monotonic()
        self._found: list[tuple[float, float]] = []

    def begin(self) -> None:
        """Begin the observation: earlier pauses do not count."""
        with self._lock:
            self._last_s = time.monotonic()

    def tick(self) -> None:
        """Read the clock, and record a stall if the last reading is too long ago."""
        with self._lock:
            now_s = time.monotonic()
            if now_s - self._last_s >= STALL_S:
                self._found.append((self._last_s, now_s))
            self._last_s = now_s

    def longest_since(self, began_s: float) -> float:
        """Return the length in seconds of the longest stall of the machine since that moment; 0 if there was none."""
        self.tick()
        with self._lock:
            return max(
                (end_s - max(start_s, began_s) for start_s, end_s in self._found if end_s > began_s), default=0.0
            )
