"""The call statistics: counts each call from its entry to its one outcome, whatever interrupts it.

Independent of workers. A call is one key of `calls`, set once when the call begins and once when it ends. Each
assignment is atomic, so no interrupt can split it.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

from poolproof.bridge import CommandError
from poolproof.bridge.wire.messages import Response

IN_FLIGHT = ""
MOST_UNCOUNTED = 64
"""The size of `calls` above which ended calls are summed up; a larger table would not fit in the processor's nearest
cache."""


class Accounts:
    """The calls of one pool. `calls` maps the number of each call that is not summed up yet to its outcome.

    `own` does the same for the calls that the pool makes by itself, which count in no statistics.
    """

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self.calls: dict[int, str] = {}
        self.own: dict[int, str] = {}
        self._ended: Counter[str] = Counter()

    def in_flight(self, number: int) -> bool:
        """Return whether this call has begun and has no outcome yet."""
        return IN_FLIGHT in (self.calls.get(number), self.own.get(number))

    def sum_up(self) -> tuple[dict[str, int], int]:
        """Return how many calls have ended, by outcome, and how many are in flight. Takes the pool's lock."""
        with self._lock:
            done = [number for number, outcome in self.calls.copy().items() if outcome != IN_FLIGHT]
            self._ended.update(map(self.calls.pop, done))  # atomic: an interrupt must not split it
            ended = dict(self._ended)
        return ended, len(self.calls)


def result_of(response: Response) -> Any:  # noqa: ANN401 - any JSON value
    """Return the response's result, verbatim. Raises CommandError."""
    if not response.success:
        raise CommandError(str(response.error))
    return response.result
