"""Counts the calls of a migrating pool: each call from its entry to its one outcome, whichever pool served it.

Independent of pools. Copies and handovers are not counted, because no caller made them. A call is one key of `calls`,
set once when the call begins and once when it ends. Each assignment is atomic, so no interrupt can split it.
"""

from __future__ import annotations

import threading
from collections import Counter

from poolproof.bridge import Statistics

IN_FLIGHT = ""
MOST_UNCOUNTED = 64


class Accounts:
    """The calls of one pool. `calls` maps the number of each call that is not summed up yet to its outcome."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.calls: dict[int, str] = {}
        self._ended: Counter[str] = Counter()

    def sum_up(self) -> Statistics:
        """Return the statistics of all calls so far."""
        with self._lock:
            for number, outcome in self.calls.copy().items():  # atomic: callers take no lock
                if outcome != IN_FLIGHT:
                    self._ended[outcome] += 1
                    del self.calls[number]
            ended, in_flight = dict(self._ended), len(self.calls)
        return Statistics(submitted=sum(ended.values()) + in_flight, in_flight=in_flight, outcomes=ended)
