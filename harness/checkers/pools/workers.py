"""Checks that workers live as long as they should, no longer, and are never too many."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from poolproof.bridge import EventKind
from poolproof.harness.history.columns import NONE
from poolproof.harness.history.history import History
from poolproof.harness.model.checker import Finding, finding
from poolproof.harness.model.evidence import FROM_EVENTS_OR_JOURNALS, Evidence
from poolproof.harness.model.fault import FaultKind
from poolproof.harness.model.verdict import Verdict


class StableWorkers(msgspec.Struct, frozen=True, kw_only=True):
    """No worker ended before the pool was closed, and no more workers served than the pool's size (G16)."""

    name: str = "stable_workers"
    guarantees: tuple[str, ...] = ("G16",)
    evidence: ClassVar[frozenset[Evidence]] = FROM_EVENTS_OR_JOURNALS

    def check(self, history: History) -> Finding:
        """Judge the run by the operations' workers, and from the pool's events if the run was observed."""
        pids = set(history.ops.pid.tolist()) - {NONE}
        if not pids or history.close_began_ns is None:
            return finding(
                self, Verdict.UNKNOWN, "no worker is known to have served a call, or close() was not recorded"
            )
        early = [
            f"worker {event.worker} ended before the pool was closed: {event.detail}"
            for kind in (EventKind.KILL, EventKind.REAP)
            for event in history.events_by_kind[kind]
            if event.at_ns < history.close_began_ns
        ]
        if early:
            return finding(self, Verdict.FAIL, f"{len(early)} workers ended before the pool was closed", examples=early)
        if len(pids) > history.info.workers:
            return finding(
                self,
                Verdict.FAIL,
                f"{len(pids)} processes served calls, but the pool has {history.info.workers} workers",
            )
        if not history.info.observed:
            return finding(self, Verdict.PASS, f"at most {len(pids)} processes served calls")
        return finding(self, Verdict.PASS, f"the same {len(pids)} workers lived until the pool was closed")


class Replaced(msgspec.Struct, frozen=True, kw_only=True):
    """The worker that served the calls with the label was ended before the close and served no later call (G5, G12)."""

    label: str
    guarantees: tuple[str, ...] = ("G5", "G12")
    evidence: ClassVar[frozenset[Evidence]] = FROM_EVENTS_OR_JOURNALS

    @property
    def name(self) -> str:
        """The checker's name: `replaced:LABEL`."""
        return f"replaced:{self.label}"

    def check(self, history: History) -> Finding:
        """Judge the run by the operations' pids, and from KILL and REAP if the run was observed."""
        victims = [op for op in history.labelled(self.label) if op.pid is not None]
        if not victims:
            return finding(self, Verdict.UNKNOWN, f"no worker is known to have served {self.label!r}")
        close_ns = history.close_began_ns
        ended = {
            event.pid
            for kind in (EventKind.KILL, EventKind.REAP)
            for event in history.events_by_kind[kind]
            if close_ns is None or event.at_ns < close_ns
        }
        wrong = []
        for victim in victims:
            later = (history.ops.pid == victim.pid) & (history.ops.invoked_ns > victim.invoked_ns)
            if later.any():
                call = history.ops.index[later.argmax()]
                wrong.append(f"process {victim.pid} served call {call} after call {victim.index}")
            if victim.pid not in ended and history.info.observed:
                wrong.append(f"process {victim.pid} was still alive after call {victim.index}")
        if wrong:
            return finding(
                self, Verdict.FAIL, f"a worker that served a call {self.label!r} was not replaced", examples=wrong
            )
        if not history.info.observed:
            return finding(self, Verdict.PASS, f"no worker served another call after a call {self.label!r}")
        return finding(self, Verdict.PASS, f"each worker that served a call {self.label!r} was ended and replaced")


class LiveBound(msgspec.Struct, frozen=True, kw_only=True):
    """Never more than `at_most` workers (default: the pool's size) are alive, dying workers included (G14)."""

    at_most: int | None = None
    name: str = "live_bound"
    guarantees: tuple[str, ...] = ("G14",)
    needs_events: ClassVar[bool] = True

    def check(self, history: History) -> Finding:
        """Judge the run by the events SPAWN and REAP of all workers."""
        steps = [(event.at_ns, 1) for event in history.events_by_kind[EventKind.SPAWN]]
        if not steps:
            return finding(self, Verdict.UNKNOWN, "no worker was seen to start")
        steps += [(event.at_ns, -1) for event in history.events_by_kind[EventKind.REAP]]
        live = most = 0
        for _, change in sorted(steps):
            live += change
            most = max(most, live)
        limit = history.info.workers if self.at_most is None else self.at_most
        figures: dict[str, float | int | str] = {"max": most, "limit": limit}
        if most > limit:
            return finding(
                self, Verdict.FAIL, f"{most} workers lived at the same time; the limit is {limit}", figures=figures
            )
        return finding(self, Verdict.PASS, f"at most {most} workers lived at the same time", figures=figures)


class FaultLanded(msgspec.Struct, frozen=True, kw_only=True):
    """Every kind of fault that the scenario tests reached a worker or the pool; otherwise nothing was tested."""

    kinds: tuple[FaultKind, ...]
    name: str = "fault_landed"
    guarantees: tuple[str, ...] = ()

    def check(self, history: History) -> Finding:
        """Judge the run by the fault records: PASS or UNKNOWN."""
        landed = [fault.kind for fault in history.faults if fault.landed]
        missing = [kind.value for kind in self.kinds if kind not in landed]
        if missing:
            told = [f"{fault.kind}: {fault.detail}" for fault in history.faults if not fault.landed]
            return finding(
                self,
                Verdict.UNKNOWN,
                f"these kinds of faults were never in effect: {', '.join(missing)}",
                examples=told,
            )
        count = sum(kind in self.kinds for kind in landed)
        return finding(self, Verdict.PASS, f"{count} faults were in effect", figures={"landed": count})
