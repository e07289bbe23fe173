"""The statistics of a migrating pool: each call from its entry to its one outcome, however it was served.

Knows nothing of pools: copies and handovers, which no caller made, are not in it. A call is one key of `calls`, set
once when it begins and once when it ends, each by one step of the interpreter, into which no interrupt can come.
"""

from __future__ import annotations

import threading
from collections import Counter

from poolproof.bridge import Statistics

IN_FLIGHT = ""
MOST_UNCOUNTED = 64


class Accounts:
    """Every call of one pool. `calls` has the outcome of each that is not summed up yet, by number."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.calls: dict[int, str] = {}
        self._ended: Counter[str] = Counter()

    def sum_up(self) -> Statistics:
        """All calls so far."""
        with self._lock:
            for number, outcome in self.calls.copy().items():  # in one step: callers go on without the lock
                if outcome != IN_FLIGHT:
                    self._ended[outcome] += 1
                    del self.calls[number]
            ended, in_flight = dict(self._ended), len(self.calls)
        return Statistics(submitted=sum(ended.values()) + in_flight, in_flight=in_flight, outcomes=ended)
