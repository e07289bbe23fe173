"""The guardrails of a migration: compare v2's recent calls with v1's and check them against the limits.

Pure; the caller takes a lock. Times are nanoseconds and are passed in, so that a test can move the window.

A rate breaches its limit if it is beyond the limit *and* is unlikely to be an accident: if v2 were only as good as v1
at v1's upper confidence bound, such a window would still have a probability of at most `significance`
(docs/decisions/0023-guardrails.md).
Calls with an invalid request (InvalidRequest) and calls cancelled by the caller (Cancelled) are not counted. A
command's own error counts as a failure on both sides, because only the excess of v2 over v1 can breach a limit.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import msgspec

from poolproof.harness.history.stats import quantile
from poolproof.migration.limits.reference import Reference
from poolproof.migration.limits.significance import Trials, scales, tail, upper_bound
from poolproof.migration.plan import Guardrails, Side

MOST_KEPT = 2000
"""The calls of v2 whose durations are kept, and the comparisons that a rate of mismatches counts."""
NOT_COUNTED = frozenset({"InvalidRequest", "Cancelled"})
DOUBT_NATS = 3.0
"""v1's rate is taken at its upper confidence bound; the true rate is higher with a probability of exp(-3), 5 %."""
AT_ONCE = 1e-3
"""If both pools fail alike at the same time, how probable it is that v2's share of the failures is as large as seen."""
ENOUGH = 0.1
"""Failures at the same time are compared if v1 had at least this share of v2's calls."""


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """The current contents of the windows. Latencies are seconds; None without calls."""

    calls: dict[str, int]
    failed: dict[str, int]
    latency_s: dict[str, float | None]
    compared: int
    mismatches: int
    lost_sessions: int


class Guard:
    """Records the recent calls of both pools, and finds breaches of the limits."""

    def __init__(self, limits: Guardrails) -> None:
        self._limits = limits
        self._window_ns = int(limits.window_s * 1e9)
        self._v1 = Reference(limits)
        self._lost: deque[tuple[int, str]] = deque(maxlen=MOST_KEPT)
        self.restart(0)

    def restart(self, at_ns: int) -> None:
        """Start a new step: discard v2's earlier calls, comparisons and lost sessions. v1's calls are kept."""
        self._warm_ns = at_ns + int(self._limits.warm_up_s * 1e9)
        self._cold = self._limits.warm_up_calls
        self._errors, self._late, self._compared = Trials(), Trials(), Trials()
        self._durations_s: deque[float] = deque(maxlen=MOST_KEPT)
        self._in_row = 0
        self._error = self._mismatch = ""
        self._lost.clear()

    def ended(self, side: Side, at_ns: int, seconds: float, outcome: str) -> bool:
        """Record the end of a call; `outcome` is one of poolproof.bridge.OUTCOMES.

        Returns True if v2 failed, so that the limits should be checked at once.
        """
        if outcome in NOT_COUNTED:
            return False
        failed = outcome != "result"
        if side is Side.V1:
            self._v1.add(at_ns, seconds, failed)
            return False
        self._in_row = self._in_row + 1 if failed else 0
        if failed:
            self._error = outcome
        if self._cold > 0 or at_ns < self._warm_ns:
            self._cold -= 1
            return failed
        self._errors.add(at_ns, failed)
        if not failed:
            self._durations_s.append(seconds)
            if (usual_s := self._v1.usual_s) is not None:
                self._late.add(at_ns, seconds > usual_s, seconds > self._v1.limit_s)
        return failed

    def compared(self, at_ns: int, mismatch: str) -> bool:
        """Record a comparison; `mismatch` is empty if both pools responded alike.

        Returns True on a mismatch, so that the limits should be checked at once.
        """
        self._compared.add(at_ns, bool(mismatch))
        self._mismatch = mismatch or self._mismatch
        return bool(mismatch)

    def lost(self, at_ns: int, session_id: str) -> None:
        """Record a session that ended as lost on v2, or during a handover from or to v2."""
        self._lost.append((at_ns, session_id))

    def find_breach(self, now_ns: int, in_flight_s: Sequence[float] = ()) -> str:
        """Return why v2 must stop, in one sentence; empty if no limit is breached.

        `in_flight_s` has the ages of v2's running calls, in seconds.
        """
        self._v1.forget(now_ns)
        return (
            self._lost_sessions(now_ns)
            or self._failures_in_row()
            or self._error_rate(now_ns)
            or self._mismatches()
            or self._latency(now_ns, in_flight_s)
        )

    def _lost_sessions(self, now_ns: int) -> str:
        limits = self._limits
        while self._lost and self._lost[0][0] < now_ns - self._window_ns:
            self._lost.popleft()
        if len(self._lost) <= limits.max_lost_sessions:
            return ""
        names = ", ".join(sorted({session_id for _, session_id in self._lost})[:3])
        return (
            f"lost sessions: {len(self._lost)} in the last {limits.window_s:g} s ({names}); "
            f"the limit is {limits.max_lost_sessions}"
        )

    def _failures_in_row(self) -> str:
        limits, v1 = self._limits, self._v1
        if self._in_row < limits.max_failures_in_row or v1.in_row >= limits.max_failures_in_row:
            return ""
        if v1.calls >= limits.min_calls:  # where calls of v1 fail too, some in a row are no surprise
            usual = upper_bound(v1.calls, v1.failed, DOUBT_NATS)
            if usual**self._in_row > limits.significance:
                return ""
        return f"errors: the last {self._in_row} calls of v2 all failed; the latest error: {self._error}"

    def _error_rate(self, now_ns: int) -> str:
        limits, v1 = self._limits, self._v1
        known = v1.calls >= limits.min_calls
        usual = v1.failed / v1.calls if known else 0.0
        worst: float | None = None
        for n in self._windows(self._errors, now_ns):
            failed, _ = self._errors.last(n)
            rate = failed / n
            if failed < limits.min_errors or rate - usual <= limits.max_error_rate:
                continue
            if worst is None:
                worst = upper_bound(v1.calls, v1.failed, DOUBT_NATS) if known else limits.max_error_rate
            if tail(n, failed, worst) > limits.significance:
                continue
            calls, bad, _, _ = v1.since(self._errors.begin_ns(n))
            if not _is_worse_now(n, failed, calls, bad, limits.max_error_rate):
                continue
            told, limit = tell_apart(rate - usual, limits.max_error_rate, percent=True)
            return (
                f"errors: {failed} of the last {n} calls of v2 failed ({rate:.2%}; v1 {usual:.2%}, which is {told} "
                f"less; the limit is {limit}); the latest error: {self._error}"
            )
        return ""

    def _mismatches(self) -> str:
        limits = self._limits
        n = min(self._compared.total, MOST_KEPT)
        wrong, _ = self._compared.last(n)
        limit = limits.max_mismatch_rate
        if not wrong or wrong / n <= limit:
            return ""
        if limit and (n < limits.min_calls or tail(n, wrong, limit) > limits.significance):
            return ""
        told, most = tell_apart(wrong / n, limit, percent=True)
        return (
            f"mismatches: {wrong} of the last {n} copied calls got another answer from v2 than from v1 ({told}; "
            f"the limit is {most}); the last mismatch: {self._mismatch}"
        )

    def _latency(self, now_ns: int, in_flight_s: Sequence[float]) -> str:
        limits, v1 = self._limits, self._v1
        if limits.max_call_s is not None and (oldest := max(in_flight_s, default=0.0)) > limits.max_call_s:
            told, most = tell_apart(oldest, limits.max_call_s)
            return f"latency: a call of v2 is {told} s in flight; the limit is {most} s"
        if v1.usual_s is None:
            return ""
        waiting = [age for age in in_flight_s if age > v1.limit_s]  # these calls are too slow, however they end
        share = 1 - limits.latency_quantile
        worst: float | None = None
        for ended in self._windows(self._late, now_ns, len(waiting)):
            n = ended + len(waiting)
            late, too_late = (count + len(waiting) for count in self._late.last(ended))
            if too_late <= n * share:
                continue
            if worst is None:
                worst = upper_bound(v1.judged, v1.beyond, DOUBT_NATS)
            if tail(n, late, worst) > limits.significance:
                continue
            begin_ns = min(self._late.begin_ns(ended) or now_ns, now_ns - int(max(waiting, default=0.0) * 1e9))
            _, _, calls, bad = v1.since(begin_ns)
            if not _is_worse_now(n, late, calls, bad, 0.0):
                continue
            after_s = quantile([*list(self._durations_s)[-ended or MOST_KEPT :], *waiting], limits.latency_quantile)
            if after_s <= v1.limit_s:
                continue
            told, limit = tell_apart(after_s / v1.usual_s, limits.max_latency_ratio)
            return (
                f"latency: p{limits.latency_quantile * 100:g} of the last {n} calls of v2 is {after_s * 1e3:.1f} ms, "
                f"{told} times v1's {v1.usual_s * 1e3:.1f} ms; the limit is {limit} times"
            )
        return ""

    def _windows(self, trials: Trials, now_ns: int, more: int = 0) -> list[int]:
        # How many trials to look back: a few, twice as many, and so on to the whole window.
        limits = self._limits
        most = trials.recent(now_ns - self._window_ns, limits.window_calls)
        least = max(limits.min_calls - more, 0)
        return list(scales(max(least, 1), most)) or ([most] if more and most >= least else [])

    def figures(self, now_ns: int) -> Figures:
        """Return the figures to show."""
        limits, v1 = self._limits, self._v1
        from_ns = now_ns - self._window_ns
        n = self._errors.recent(from_ns, limits.window_calls)
        calls, bad, _, _ = v1.since(from_ns)
        compared = min(self._compared.total, MOST_KEPT)
        durations = list(self._durations_s)
        q = limits.latency_quantile
        return Figures(
            calls={Side.V1.value: calls, Side.V2.value: n},
            failed={Side.V1.value: bad, Side.V2.value: self._errors.last(n)[0]},
            latency_s={
                Side.V1.value: quantile(list(v1.durations_s), q) if v1.durations_s else None,
                Side.V2.value: quantile(durations, q) if durations else None,
            },
            compared=compared,
            mismatches=self._compared.last(compared)[0],
            lost_sessions=sum(at_ns >= from_ns for at_ns, _ in self._lost),
        )


def _is_worse_now(n: int, bad: int, others: int, others_bad: int, margin: float) -> bool:
    # Whether v2 is worse than v1 was at the same time: what hits both pools is no fault of v2.
    if others == 0:
        return True
    if others >= n * ENOUGH:
        return tail(bad + others_bad, bad, n / (n + others)) <= AT_ONCE
    return bad / n - others_bad / others > margin


def tell_apart(value: float, limit: float, *, percent: bool = False) -> tuple[str, str]:
    """Return a value above its limit and the limit, with as many digits as show that it is above."""
    scale, unit = (100, " %") if percent else (1, "")
    for digits in range(1, 12):
        told, most = f"{value * scale:.{digits}f}", f"{limit * scale:.{digits}f}"
        if told != most and math.isclose(float(most), limit * scale, abs_tol=1e-9):
            return told + unit, most + unit
    return f"{value * scale}{unit}", f"{limit * scale}{unit}"
