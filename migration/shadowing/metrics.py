"""The guardrail metrics: makes one Guard thread-safe, for all threads of a migration.

Independent of pools. A call belongs to the step in which it began: calls of an earlier step do not count in the next.
"""

from __future__ import annotations

import threading
from collections import Counter, deque

import msgspec

from poolproof.bridge.clock import now_ns
from poolproof.migration.limits.guardrails import NOT_COUNTED, Figures, Guard
from poolproof.migration.plan import Guardrails, Side

MOST_UNCOUNTED = 256


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """The callers' calls that ended on each pool since the step began, and the copies that were compared."""

    calls: dict[str, int]
    failed: dict[str, int]
    copies: int
    mismatches: int


class GuardrailMetrics:
    """Collects the metrics. Every method may be called from any thread. `urgent` is set when a check is due at once.

    `ends` has an entry (step, side, outcome) for each call of a caller that ended and is not summed up yet; `good` is
    the entry of a call of v1 that has a result in this step.
    """

    def __init__(self, limits: Guardrails) -> None:
        self.urgent = threading.Event()
        self.candidate_calls = 0
        self.good = (0, Side.V1, "result")
        self._lock = threading.Lock()
        self._guard = Guard(limits)
        self._epoch = 0
        self._in_flight: dict[object, int] = {}
        self.ends: deque[tuple[int, Side, str]] = deque()
        self._served = Counter[Side]()
        self._failed = Counter[Side]()
        self._copies = self._mismatches = 0

    def restart(self) -> int:
        """Begin a new step. Returns its number."""
        with self._lock:
            self._epoch += 1
            self._guard.restart(now_ns())
            self._in_flight = {}
            self.candidate_calls = 0
            self.good = (self._epoch, Side.V1, "result")
            self.ends.clear()  # a call belongs to the step in which it began
            self._served, self._failed = Counter[Side](), Counter[Side]()
            self._copies = self._mismatches = 0
            return self._epoch

    def count(self, epoch: int, side: Side, outcome: str) -> None:
        """Count a caller's call that ended on `side`; copies are not counted. Takes no lock but for a sum at times."""
        self.ends.append((epoch, side, outcome))
        if len(self.ends) > MOST_UNCOUNTED:
            self.sum_up()

    def sum_up(self) -> None:
        """Sum up `ends`. Whoever appends to it does so from time to time."""
        with self._lock:
            self._sum_up()

    def _sum_up(self) -> None:
        ends, good, count = self.ends, self.good, 0
        for _ in range(len(ends)):
            end = ends.popleft()
            if end is good:
                count += 1
                continue
            epoch, side, outcome = end
            if epoch == self._epoch:
                self._served[side] += 1
                self._failed[side] += outcome != "result" and outcome not in NOT_COUNTED
        self._served[Side.V1] += count

    def served(self) -> Served:
        """Return what was served since the step began."""
        with self._lock:
            self._sum_up()
            return Served(
                calls={side.value: self._served[side] for side in Side},
                failed={side.value: self._failed[side] for side in Side},
                copies=self._copies,
                mismatches=self._mismatches,
            )

    def began(self, epoch: int, call: object, start_ns: int) -> None:
        """Record that a call of v2 began; `call` is an object unique to the call."""
        if epoch == self._epoch:
            self._in_flight[call] = start_ns

    def dropped(self, call: object) -> None:
        """Forget a call that began and is not to be counted."""
        self._in_flight.pop(call, None)

    def ended(self, epoch: int, side: Side, call: object, start_ns: int, outcome: str) -> None:
        """Record that a call ended."""
        with self._lock:
            self._in_flight.pop(call, None)
            if epoch != self._epoch:
                return
            at_ns = now_ns()
            self.candidate_calls += side is Side.V2
            urgent = self._guard.ended(side, at_ns, (at_ns - start_ns) / 1e9, outcome)
        if urgent:
            self.urgent.set()

    def compared(self, epoch: int, mismatch: str) -> None:
        """Record that a copy was compared."""
        with self._lock:
            urgent = epoch == self._epoch and self._guard.compared(now_ns(), mismatch)
            if epoch == self._epoch:
                self._copies += 1
                self._mismatches += bool(mismatch)
        if urgent:
            self.urgent.set()

    def lost(self, epoch: int, session_id: str) -> None:
        """Record that a session ended as lost."""
        with self._lock:
            if epoch == self._epoch:
                self._guard.lost(now_ns(), session_id)
        self.urgent.set()

    def find_breach(self) -> str:
        """Return why v2 must stop; empty if no limit is breached."""
        now = now_ns()
        with self._lock:
            started = list(self._in_flight.values())
            return self._guard.find_breach(now, [(now - start) / 1e9 for start in started])

    def figures(self) -> Figures:
        """Return the current contents of the windows."""
        with self._lock:
            return self._guard.figures(now_ns())
