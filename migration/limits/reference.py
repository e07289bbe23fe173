"""The calls of v1: its rate of failures and its usual latency, overall and during a window of v2's calls. Pure."""

from __future__ import annotations

import math
from collections import deque

from poolproof.migration.plan import Guardrails

MOST_KEPT = 2000
"""The durations that are kept, and the calls that are counted whatever their age."""
MOST_NS = 600_000_000_000
"""Older calls count only if they are among the last MOST_KEPT. If v1 has served no call for this time, nothing is known
of it."""
BUCKET_NS = 1_000_000_000
RENEWAL = 20
"""The usual latency is computed again after a twentieth of the calls it was computed from, at most once a second."""
FEW = 400
"""With fewer calls than this, the usual latency may be computed more often than once a second."""


class Reference:
    """The calls of v1.

    `usual_s` is the `latency_quantile` of its last calls, None if too few are known, and `beyond` of these `judged`
    calls took longer. `limit_s` is the limit for v2's quantile.
    """

    def __init__(self, limits: Guardrails) -> None:
        self._limits = limits
        self._clear()

    def _clear(self) -> None:
        self._buckets: deque[list[int]] = deque()  # begin, calls, failed, judged by the usual latency, late
        self.durations_s: deque[float] = deque(maxlen=MOST_KEPT)
        self.calls = 0
        self.failed = 0
        self.in_row = 0
        self._last_ns = 0
        self._new = self._renewed_ns = 0
        self.usual_s: float | None = None
        self.limit_s = math.inf
        self.judged = 0
        self.beyond = 0

    def add(self, at_ns: int, seconds: float, failed: bool) -> None:
        """Record a call that ended."""
        begin = at_ns - at_ns % BUCKET_NS
        if not self._buckets or self._buckets[-1][0] != begin:
            self._buckets.append([begin, 0, 0, 0, 0])
            self.forget(at_ns)
        bucket = self._buckets[-1]
        self._last_ns = at_ns
        self.calls += 1
        bucket[1] += 1
        if failed:
            self.failed += 1
            self.in_row += 1
            bucket[2] += 1
            return
        self.in_row = 0
        self.durations_s.append(seconds)
        if self.usual_s is not None:
            bucket[3] += 1
            bucket[4] += seconds > self.usual_s
        self._new += 1
        if self._new * RENEWAL >= len(self.durations_s) >= self._limits.min_calls and (
            self.judged < FEW or at_ns - self._renewed_ns >= BUCKET_NS
        ):
            self._renewed_ns = at_ns
            self._renew()

    def _renew(self) -> None:
        limits = self._limits
        self._new = 0
        ordered = sorted(self.durations_s)
        self.judged = len(ordered)
        rank = max(0, math.ceil(limits.latency_quantile * self.judged) - 1)
        self.usual_s = usual = ordered[rank]
        self.beyond = sum(seconds > usual for seconds in ordered[rank:])
        self.limit_s = max(usual * limits.max_latency_ratio, usual + limits.latency_slack_s)

    def forget(self, now_ns: int) -> None:
        """Remove the counts of v1's calls that are too old for a comparison."""
        from_ns = now_ns - MOST_NS
        if self.calls and self._last_ns < from_ns:
            self._clear()
            return
        buckets = self._buckets
        while buckets and buckets[0][0] < from_ns and self.calls - buckets[0][1] >= MOST_KEPT:
            _, calls, failed, _, _ = buckets.popleft()
            self.calls -= calls
            self.failed -= failed

    def since(self, from_ns: int) -> tuple[int, int, int, int]:
        """Return four counts of v1's calls since then: all, failed, compared with the usual latency, later than it."""
        begin = from_ns - from_ns % BUCKET_NS
        total = [0, 0, 0, 0]
        for bucket in reversed(self._buckets):
            if bucket[0] < begin:
                break
            for index in range(4):
                total[index] += bucket[index + 1]
        return total[0], total[1], total[2], total[3]
