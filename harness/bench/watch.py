"""The observer of one pool in observed blocks: the times at which each call was accepted, sent and answered.

It only collects events while calls run, and matches them to calls after the block. A pool may deliver an event late and
from another thread, so calls are matched by `Event.correlation`, or by the calling thread if a pool gives none.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping

from poolproof.bridge import Event, EventKind
from poolproof.harness.bench.statistics.histogram import tally

LATE_S = 1.0
"""The longest wait for the last events after a block."""
POLL_S = 0.005
STEPS = frozenset({EventKind.ACCEPT, EventKind.SEND, EventKind.RECEIVE})


class Watch:
    """Collects events. Thread-safe by the GIL: its lists are only appended to."""

    def __init__(self) -> None:
        self._here = threading.local()
        self._numbers: list[tuple[int, int]] = []
        self._steps: list[Event] = []
        self._done: list[int] = []

    def begin(self, number: int) -> None:
        """Note that this thread begins the call of this number."""
        self._here.number = number

    def observe(self, event: Event) -> None:
        """Record an event; pass this method to the pool as its observer."""
        if event.call is None:
            return
        if event.kind in STEPS:
            self._steps.append(event)
        elif event.kind is EventKind.ENQUEUE:
            number = event.correlation if event.correlation is not None else getattr(self._here, "number", None)
            if number is not None:
                self._numbers.append((event.call, number))
        elif event.kind is EventKind.DONE:
            self._done.append(event.call)

    def collect(self, begins: Mapping[int, int]) -> tuple[Counter[int], Counter[int]]:
        """The service times and the waits of the calls, as histogram counts; all events are then dropped.

        `begins` has the begin of each call of the block by its number, in nanoseconds.
        """
        end = time.monotonic() + LATE_S
        while True:
            numbers, done = dict(self._numbers), list(self._done)
            if begins.keys() <= {numbers.get(call) for call in done} or time.monotonic() >= end:
                break
            time.sleep(POLL_S)
        steps = self._steps
        self._numbers, self._steps, self._done = [], [], []
        times: dict[int, dict[EventKind, int]] = {}
        for event in sorted(steps, key=lambda step: step.at_ns):
            if event.call in numbers:  # of a repeated call, the last attempt counts
                times.setdefault(numbers[event.call], {})[event.kind] = event.at_ns
        service, wait = [], []
        for number, at in times.items():
            if number in begins and at.keys() >= STEPS:
                service.append(at[EventKind.RECEIVE] - at[EventKind.SEND])
                wait.append(max(at[EventKind.ACCEPT] - begins[number], 0))
        return tally(service), tally(wait)
