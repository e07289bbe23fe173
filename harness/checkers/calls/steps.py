"""Checks that the steps that a pool reports of each call are in the order in which calls are made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import msgspec
import numpy as np

from poolproof.bridge import EventKind
from poolproof.harness.history.columns import NONE, Numbers
from poolproof.harness.history.history import History
from poolproof.harness.model.checker import Finding, finding
from poolproof.harness.model.verdict import Verdict

ANSWERED = ("result", "CommandError")
"""Outcomes that only an answer of a worker can give."""
LAST_NS = np.iinfo(np.int64).max


class CallSteps(msgspec.Struct, frozen=True, kw_only=True):
    """Each call is enqueued first and done last, both once; its answer comes after its request and before its end (G3).

    So no step of a call that its own client takes comes after the call is done, and a call with an answer has received
    it. A pool may still receive an answer whose client has given up. An offer is made by another client, which may
    report it late. The calls of a batch are granted a worker as one,
    and the calls on a lease have theirs from the beginning, so that a grant of their own is not demanded.
    """

    name: str = "call_steps"
    guarantees: tuple[str, ...] = ("G3",)
    needs_events: ClassVar[bool] = True

    def check(self, history: History) -> Finding:
        """Decide from the order of each call's events in time."""
        steps = _Steps(history)
        if not len(steps.calls):
            return finding(self, Verdict.UNKNOWN, "the pool reported no step of a call")
        wrong = list(steps.objections())
        if wrong:
            claim = f"{len(wrong)} steps of calls are missing, repeated or in the wrong order"
            return finding(self, Verdict.FAIL, claim, examples=wrong)
        return finding(self, Verdict.PASS, f"the steps of {len(steps.calls)} calls are in their order")


class _Steps:
    """For each call and each kind of event: how many there are, the first and the last time."""

    def __init__(self, history: History) -> None:
        events = history.events.take(history.events.call != NONE)
        self.calls, rows = np.unique(events.call, return_inverse=True)
        self._count: dict[EventKind, Numbers] = {}
        self._first: dict[EventKind, Numbers] = {}
        self._last: dict[EventKind, Numbers] = {}
        for kind in EventKind:
            chosen = events.kind.are(kind)
            first, last = np.full(len(self.calls), LAST_NS), np.full(len(self.calls), NONE)
            np.minimum.at(first, rows[chosen], events.at_ns[chosen])
            np.maximum.at(last, rows[chosen], events.at_ns[chosen])
            self._count[kind] = np.bincount(rows[chosen], minlength=len(self.calls))
            self._first[kind], self._last[kind] = first, last
        answered = events.kind.are(EventKind.DONE) & events.detail.are(*ANSWERED)
        self._answered = np.bincount(rows[answered], minlength=len(self.calls)) > 0
        self._receives = bool(self._count[EventKind.RECEIVE].any())

    def objections(self) -> Iterator[str]:
        kinds, count, first, last = EventKind, self._count, self._first, self._last
        for kind in (kinds.ENQUEUE, kinds.DONE):
            yield from self._tell(count[kind] > 1, f"has more than one {kind}")
        queued_ns = np.where(count[kinds.ENQUEUE] > 0, first[kinds.ENQUEUE], NONE)
        done_ns = np.where(count[kinds.DONE] > 0, last[kinds.DONE], LAST_NS)
        for kind in (kinds.OFFER, kinds.ACCEPT, kinds.SEND, kinds.RECEIVE, kinds.CHECKIN, kinds.DONE):
            yield from self._tell(first[kind] < queued_ns, f"has {kind} before it was enqueued")
        for kind in (kinds.ACCEPT, kinds.SEND):
            yield from self._tell(last[kind] > done_ns, f"has {kind} after it was done")
        yield from self._tell(self._answered & (last[kinds.RECEIVE] > done_ns), "was answered after it was done")
        given = (count[kinds.ACCEPT] > 0) & (first[kinds.SEND] < first[kinds.ACCEPT])
        yield from self._tell(given, "was sent before it had a worker")
        received = count[kinds.RECEIVE] > 0
        yield from self._tell(received & (first[kinds.RECEIVE] < first[kinds.SEND]), "was answered before it was sent")
        kept = (count[kinds.CHECKIN] > 0) & (last[kinds.RECEIVE] > last[kinds.CHECKIN])
        yield from self._tell(kept, "was answered after its worker was checked in")
        if self._receives:
            yield from self._tell(self._answered & ~received, "has an answer that was never received")

    def _tell(self, rows: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], what: str) -> Iterator[str]:
        for call in self.calls[rows].tolist():
            yield f"pool call {call} {what}"
