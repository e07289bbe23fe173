"""The statistics: each call from its entry to its one outcome, conserved whatever interrupts it.

Knows nothing of workers. A call is one key of `calls`, set once when it begins and once when it ends, each by one step
of the interpreter, into which no interrupt can come.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

from poolproof.bridge import CommandError
from poolproof.bridge.wire.messages import Response

IN_FLIGHT = ""
MOST_UNCOUNTED = 64
"""A larger table would not stay in the processor's nearest memory."""


class Accounts:
    """Every call of one pool. `calls` has the outcome of each that is not summed up yet, by number."""

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self.calls: dict[int, str] = {}
        self._ended: Counter[str] = Counter()

    def in_flight(self, number: int) -> bool:
        """Whether this call has begun and has no outcome yet."""
        return self.calls.get(number) == IN_FLIGHT

    def sum_up(self) -> tuple[dict[str, int], int]:
        """How many calls have ended, by outcome, and how many are in flight. Takes the pool's lock."""
        with self._lock:
            done = [number for number, outcome in self.calls.copy().items() if outcome != IN_FLIGHT]
            self._ended.update(map(self.calls.pop, done))  # in one step: an interrupt must not come in between
            ended = dict(self._ended)
        return ended, len(self.calls)


def result_of(response: Response) -> Any:  # noqa: ANN401 - any JSON value
    """The response's result, verbatim. Raises CommandError."""
    if not response.success:
        raise CommandError(str(response.error))
    return response.result
