"""Checkers that only the self-check needs. They decide from the workers' journals, so no pool must be observed.

Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise

import msgspec

from poolproof.bridge import ServiceInterval
from poolproof.harness.history.history import History, Op
from poolproof.harness.model.checker import Finding, finding
from poolproof.harness.model.verdict import Verdict


class ServedBound(msgspec.Struct, frozen=True, kw_only=True):
    """No process is given work once it has served `at_most` requests, by the workers' own journals (G16).

    Calls that a client sends before its previous call is answered form one batch; a batch is never cut short.
    """

    at_most: int
    name: str = "served_bound"
    guarantees: tuple[str, ...] = ("G16",)

    def check(self, history: History) -> Finding:
        """Judge the run by the journals, and from the begin and end of each client's calls."""
        calls = {op.nonce: op for op in history.ops}
        most = whole = 0
        for own in _by_process(history.services):
            begun = 0  # the number of requests served before the current batch
            for count, (one, other) in enumerate(pairwise(own), 1):
                if not _in_one_batch(calls.get(str(one.nonce)), calls.get(str(other.nonce))):
                    begun = count
            most, whole = max(most, begun + 1), max(whole, len(own))
        if not most:
            return finding(self, Verdict.UNKNOWN, "no work of a worker was recorded")
        verdict = Verdict.FAIL if most > self.at_most else Verdict.PASS
        beyond = f", and {whole} with the rest of its batch" if whole > most else ""
        return finding(self, verdict, f"a worker served {most} requests{beyond}; the limit is {self.at_most}")


class PromptHandOff(msgspec.Struct, frozen=True, kw_only=True):
    """A worker that ends its work while calls wait starts one of them within `within_s` seconds (G6).

    The median of all hand-offs counts, so that a single pause of the machine is no failure.
    """

    within_s: float
    name: str = "prompt_hand_off"
    guarantees: tuple[str, ...] = ("G6",)

    def check(self, history: History) -> Finding:
        """Judge the run by the workers' journals, and from the begin of each call."""
        invoked = {op.nonce: op.invoked_ns for op in history.ops}
        gaps: list[int] = []
        for own in _by_process(interval for interval in history.services if interval.end_ns is not None):
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
    """Calls that were made more than `apart_s` seconds apart are served in the order in which they were made (G7).

    Only calls that the same process served are compared: other calls may have waited in different queues, since a face
    may use two pools. So the checker suits pools with one worker.
    """

    apart_s: float
    name: str = "served_in_order"
    guarantees: tuple[str, ...] = ("G7",)

    def check(self, history: History) -> Finding:
        """Judge the run by the workers' journals, and from the begin of each call."""
        invoked = {op.nonce: op.invoked_ns for op in history.ops}
        sure: list[tuple[tuple[int, int], tuple[int, int]]] = []
        for own in _by_process(history.services):
            made = sorted((invoked[str(one.nonce)], one.start_ns) for one in own if one.nonce in invoked)
            sure += [(one, other) for one, other in pairwise(made) if other[0] - one[0] > self.apart_s * 1e9]
        if len(sure) < 3:
            return finding(self, Verdict.UNKNOWN, f"only {len(sure)} calls surely came after another")
        overtaken = sum(one[1] > other[1] for one, other in sure)
        verdict = Verdict.FAIL if overtaken else Verdict.PASS
        return finding(self, verdict, f"{overtaken} of {len(sure)} calls were overtaken by the next call")


def _by_process(services: Iterable[ServiceInterval]) -> list[list[ServiceInterval]]:
    # The work of each process, in order.
    found: defaultdict[int, list[ServiceInterval]] = defaultdict(list)
    for interval in sorted(services, key=lambda one: one.start_ns):
        found[interval.pid].append(interval)
    return list(found.values())


def _in_one_batch(one: Op | None, other: Op | None) -> bool:
    # Whether the client made the call `other` before its call `one` was answered.
    if one is None or other is None or one.client != other.client:
        return False
    return one.completed_ns is None or other.invoked_ns < one.completed_ns
