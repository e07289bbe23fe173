"""Checkers that only the self-check needs. Each decides from the workers' journals, so that no pool has to be observed.

Pure.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import msgspec

from harness.checker import Finding, finding
from harness.history import History
from harness.verdict import Verdict


class ServedBound(msgspec.Struct, frozen=True, kw_only=True):
    """No process serves more than `at_most` requests, by the workers' own journals (G16)."""

    at_most: int
    name: str = "served_bound"
    guarantees: tuple[str, ...] = ("G16",)

    def check(self, history: History) -> Finding:
        """Decide from the journals."""
        served = Counter(interval.pid for interval in history.services)
        if not served:
            return finding(self, Verdict.UNKNOWN, "no work of a worker was recorded")
        most = max(served.values())
        verdict = Verdict.FAIL if most > self.at_most else Verdict.PASS
        return finding(self, verdict, f"a worker served {most} requests; the limit is {self.at_most}")


class PromptHandOff(msgspec.Struct, frozen=True, kw_only=True):
    """A worker that has done its work while calls wait is at work for one of them within `within_s` seconds (G6).

    The median decides, so that one pause of the machine accuses nobody.
    """

    within_s: float
    name: str = "prompt_hand_off"
    guarantees: tuple[str, ...] = ("G6",)

    def check(self, history: History) -> Finding:
        """Decide from the workers' journals and from when the calls were made."""
        served = [interval for interval in history.services if interval.end_ns is not None]
        invoked = {op.nonce: op.invoked_ns for op in history.ops}
        gaps: list[int] = []
        for pid in {interval.pid for interval in served}:
            own = sorted((interval for interval in served if interval.pid == pid), key=lambda one: one.start_ns)
            for before, after in pairwise(own):
                if before.end_ns is not None and invoked.get(str(after.nonce), before.end_ns) < before.end_ns:
                    gaps.append(after.start_ns - before.end_ns)
        if len(gaps) < 5:
            return finding(self, Verdict.UNKNOWN, f"only {len(gaps)} workers were done while calls waited")
        median_s = sorted(gaps)[len(gaps) // 2] / 1e9
        verdict = Verdict.FAIL if median_s > self.within_s else Verdict.PASS
        return finding(
            self, verdict, f"a free worker waited {median_s:.4f} s (median of {len(gaps)}) for its next call"
        )


class ServedInOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Calls that surely came one after another, since they were made `apart_s` seconds apart, are served so (G7)."""

    apart_s: float
    name: str = "served_in_order"
    guarantees: tuple[str, ...] = ("G7",)

    def check(self, history: History) -> Finding:
        """Decide from the workers' journals and from when the calls were made."""
        began = {interval.nonce: interval.start_ns for interval in history.services}
        made = sorted((op.invoked_ns, began[op.nonce]) for op in history.ops if op.nonce in began)
        sure = [(one, other) for one, other in pairwise(made) if other[0] - one[0] > self.apart_s * 1e9]
        if len(sure) < 3:
            return finding(self, Verdict.UNKNOWN, f"only {len(sure)} calls surely came after another")
        overtaken = sum(one[1] > other[1] for one, other in sure)
        verdict = Verdict.FAIL if overtaken else Verdict.PASS
        return finding(self, verdict, f"{overtaken} of {len(sure)} calls were overtaken by the call that came next")
