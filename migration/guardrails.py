"""The guardrails of a migration: compare v2's recent calls with v1's and check them against the limits.

Pure; the caller takes a lock. Times are nanoseconds and are passed in, so that a test can move the window.

Calls with an invalid request (InvalidRequest) and calls cancelled by the caller (Cancelled) are not counted. A
command's own error counts as a failure on both sides, because only the excess of v2 over v1 can breach a limit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import msgspec

from poolproof.harness.history.stats import quantile
from poolproof.migration.plan import Guardrails, Side

MOST_KEPT = 2000
"""The maximum number of calls kept per window (the latest ones), so that evaluation stays cheap."""
NOT_COUNTED = frozenset({"InvalidRequest", "Cancelled"})


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """The current contents of the windows. Latencies are seconds; None without calls."""

    calls: dict[str, int]
    failed: dict[str, int]
    latency_s: dict[str, float | None]
    compared: int
    mismatches: int
    lost_sessions: int


class Seen(msgspec.Struct, frozen=True):
    """A copy of one side's window. Only successful calls have a duration, in seconds."""

    calls: int
    failed: int
    in_row: int
    last: str
    durations_s: Sequence[float]


class View(msgspec.Struct, frozen=True, kw_only=True):
    """A copy of all windows at one moment, so that they can be evaluated without the lock."""

    v1: Seen
    v2: Seen
    compared: Sequence[str]
    lost: Sequence[str]

    def figures(self, limits: Guardrails) -> Figures:
        """Return the figures to show."""
        sides = {Side.V1.value: self.v1, Side.V2.value: self.v2}
        q = limits.latency_quantile
        return Figures(
            calls={name: seen.calls for name, seen in sides.items()},
            failed={name: seen.failed for name, seen in sides.items()},
            latency_s={
                name: quantile(seen.durations_s, q) if seen.durations_s else None for name, seen in sides.items()
            },
            compared=len(self.compared),
            mismatches=sum(map(bool, self.compared)),
            lost_sessions=len(self.lost),
        )

    def find_breach(self, limits: Guardrails, in_flight_s: Sequence[float] = ()) -> str:
        """Return why v2 must stop, in one sentence; empty if no limit is breached.

        `in_flight_s` has the ages of v2's running calls, in seconds.
        """
        window = f"in the last {limits.window_s:g} s"
        if len(self.lost) > limits.max_lost_sessions:
            names = ", ".join(sorted(set(self.lost))[:3])
            return f"lost sessions: {len(self.lost)} {window} ({names}); the limit is {limits.max_lost_sessions}"
        return (
            self._errors(limits, window)
            or self._mismatches(limits, window)
            or self._latency(limits, window, in_flight_s)
        )

    def _errors(self, limits: Guardrails, window: str) -> str:
        v1, v2 = self.v1, self.v2
        if v2.in_row >= limits.max_failures_in_row and v1.in_row < limits.max_failures_in_row:
            return f"errors: the last {v2.in_row} calls of v2 all failed; the latest error: {v2.last}"
        usual = v1.failed / v1.calls if v1.calls >= limits.min_calls else 0.0
        rate = v2.failed / max(1, v2.calls)
        if v2.calls < limits.min_calls or v2.failed < limits.min_errors or rate - usual <= limits.max_error_rate:
            return ""
        return (
            f"errors: {v2.failed} of {v2.calls} calls of v2 {window} failed ({rate:.1%}; v1 {usual:.1%}; "
            f"the limit is {limits.max_error_rate:.1%} above v1's rate); the latest error: {v2.last}"
        )

    def _mismatches(self, limits: Guardrails, window: str) -> str:
        wrong = [text for text in self.compared if text]
        total = len(self.compared)
        if total < limits.min_calls or len(wrong) / total <= limits.max_mismatch_rate:
            return ""
        return (
            f"mismatches: {len(wrong)} of {total} copied calls {window} got another answer from v2 than from "
            f"v1 ({len(wrong) / total:.1%}; "
            f"the limit is {limits.max_mismatch_rate:.1%}); the last mismatch: {wrong[-1]}"
        )

    def _latency(self, limits: Guardrails, window: str, in_flight_s: Sequence[float]) -> str:
        if limits.max_call_s is not None and (oldest := max(in_flight_s, default=0.0)) > limits.max_call_s:
            return f"latency: a call of v2 is {oldest:.2f} s in flight; the limit is {limits.max_call_s:g} s"
        if len(self.v1.durations_s) < limits.min_calls:
            return ""
        before = quantile(self.v1.durations_s, limits.latency_quantile)
        limit = max(before * limits.max_latency_ratio, before + limits.latency_slack_s)
        late = [age for age in in_flight_s if age > limit]  # these calls are too slow, however they end
        if len(self.v2.durations_s) + len(late) < limits.min_calls:
            return ""
        after = quantile([*self.v2.durations_s, *late], limits.latency_quantile)
        if after <= limit:
            return ""
        return (
            f"latency: p{limits.latency_quantile * 100:g} of v2 is {after * 1e3:.1f} ms {window}, "
            f"{after / before:.1f} times v1's {before * 1e3:.1f} ms; the limit is {limits.max_latency_ratio:g} times"
        )


class _Window:
    # The calls of one side as (at_ns, seconds, failed), the oldest first.

    def __init__(self) -> None:
        self.calls: deque[tuple[int, float, bool]] = deque(maxlen=MOST_KEPT)
        self.in_row = 0
        self.last = ""

    def seen(self) -> Seen:
        durations = [seconds for _, seconds, failed in self.calls if not failed]
        return Seen(len(self.calls), len(self.calls) - len(durations), self.in_row, self.last, durations)


class Guard:
    """Records the recent calls of both pools."""

    def __init__(self, window_s: float) -> None:
        self._window_ns = int(window_s * 1e9)
        self._sides = {side: _Window() for side in Side}
        self._compared: deque[tuple[int, str]] = deque(maxlen=MOST_KEPT)
        self._lost: deque[tuple[int, str]] = deque(maxlen=MOST_KEPT)

    def restart(self) -> None:
        """Start a new step: discard v2's earlier calls, comparisons and lost sessions. v1's calls are kept."""
        self._sides[Side.V2] = _Window()
        self._compared.clear()
        self._lost.clear()

    def ended(self, side: Side, at_ns: int, seconds: float, outcome: str) -> bool:
        """Record the end of a call; `outcome` is one of poolproof.bridge.OUTCOMES.

        Returns True if v2 failed, so that the limits should be checked at once.
        """
        if outcome in NOT_COUNTED:
            return False
        window = self._sides[side]
        failed = outcome != "result"
        window.calls.append((at_ns, seconds, failed))
        if not failed:
            window.in_row = 0
            return False
        window.in_row += 1
        window.last = outcome
        return side is Side.V2

    def compared(self, at_ns: int, mismatch: str) -> bool:
        """Record a comparison; `mismatch` is empty if both pools responded alike.

        Returns True on a mismatch, so that the limits should be checked at once.
        """
        self._compared.append((at_ns, mismatch))
        return bool(mismatch)

    def lost(self, at_ns: int, session_id: str) -> None:
        """Record a session that ended as lost on v2, or during a handover from or to v2."""
        self._lost.append((at_ns, session_id))

    def view(self, now_ns: int) -> View:
        """Return a copy of the windows at `now_ns`."""
        from_ns = now_ns - self._window_ns
        for window in self._sides.values():
            while window.calls and window.calls[0][0] < from_ns:
                window.calls.popleft()
        for kept in (self._compared, self._lost):
            while kept and kept[0][0] < from_ns:
                kept.popleft()
        return View(
            v1=self._sides[Side.V1].seen(),
            v2=self._sides[Side.V2].seen(),
            compared=[text for _, text in self._compared],
            lost=[session_id for _, session_id in self._lost],
        )
