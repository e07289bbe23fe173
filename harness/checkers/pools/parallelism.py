"""Checks that workers work, and start, in parallel."""

from __future__ import annotations

from typing import ClassVar

import msgspec
import numpy as np

from poolproof.bridge import EventKind
from poolproof.harness.history.columns import NONE
from poolproof.harness.history.history import History
from poolproof.harness.history.overlap import overlap_degree
from poolproof.harness.model.checker import Finding, finding
from poolproof.harness.model.evidence import FROM_JOURNALS, Evidence
from poolproof.harness.model.verdict import Verdict


class Overlap(msgspec.Struct, frozen=True, kw_only=True):
    """At some moment at least `at_least` workers (default: all) were at work, and never more than `at_most`.

    The checker decides from the workers' own journals, so noise of the machine does not matter (G10). The result is
    UNKNOWN if the clients never had as many calls in flight as workers are required.
    """

    at_least: int | None = None
    at_most: int | None = None
    name: str = "overlap"
    guarantees: tuple[str, ...] = ("G10",)
    evidence: ClassVar[frozenset[Evidence]] = FROM_JOURNALS

    def check(self, history: History) -> Finding:
        """Judge the run by the service intervals."""
        intervals = history.closed_intervals
        if not len(intervals):
            return finding(self, Verdict.UNKNOWN, "no work of a worker was recorded")
        most, mean = overlap_degree(intervals.start_ns, intervals.end_ns)
        wanted = history.info.workers if self.at_least is None else self.at_least
        figures: dict[str, float | int | str] = {"max": most, "mean": round(mean, 3), "workers": history.info.workers}
        if most < wanted:
            under_way = _calls_under_way(history)
            if under_way is not None and under_way < wanted:
                claim = (
                    f"the clients had at most {under_way} calls under way at the same time, too few to keep "
                    f"{wanted} workers at work"
                )
                return finding(self, Verdict.UNKNOWN, claim, figures=figures)
            claim = f"at most {most} of {history.info.workers} workers were at work at the same time"
            return finding(self, Verdict.FAIL, claim, figures=figures)
        if self.at_most is not None and most > self.at_most:
            claim = f"{most} workers were at work at the same time; at most {self.at_most} workers may be"
            return finding(self, Verdict.FAIL, claim, figures=figures)
        claim = f"up to {most} workers were at work at the same time, {mean:.1f} on average"
        return finding(self, Verdict.PASS, claim, figures=figures)


def _calls_under_way(history: History) -> int | None:
    # The most calls in flight at any moment, as the clients saw it; None if there are no operations.
    ops = history.ops
    if not len(ops):
        return None
    ends = np.where(ops.completed_ns == NONE, ops.invoked_ns.max() + 1, ops.completed_ns)
    most, _ = overlap_degree(ops.invoked_ns, ends)
    return most


class ParallelStart(msgspec.Struct, frozen=True, kw_only=True):
    """At some moment at least `at_least` workers were starting (G13)."""

    at_least: int = 2
    name: str = "parallel_start"
    guarantees: tuple[str, ...] = ("G13",)
    needs_events: ClassVar[bool] = True

    def check(self, history: History) -> Finding:
        """Judge each start by its events SPAWN and READY; a worker that is never ready counts as starting until its
        end.
        """
        ends = {
            event.worker: event.at_ns
            for kind in (EventKind.REAP, EventKind.KILL, EventKind.READY)  # the last kind written counts
            for event in history.events_by_kind[kind]
        }
        last_ns = history.close_began_ns
        starts = [
            (event.at_ns, end_ns)
            for event in history.events_by_kind[EventKind.SPAWN]
            if (end_ns := ends.get(event.worker, last_ns)) is not None
        ]
        if not starts:
            return finding(self, Verdict.UNKNOWN, "no worker was seen to start")
        most, _ = overlap_degree(*np.array(starts).T)
        verdict = Verdict.PASS if most >= self.at_least else Verdict.FAIL
        claim = f"at most {most} of {len(starts)} workers were starting at the same time"
        return finding(self, verdict, claim, figures={"max": most, "started": len(starts)})
