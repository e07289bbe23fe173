"""Computes how a pool recovered after each fault: the first answer, the full size, and the calls that were lost.

Pure. It describes and does not judge.
"""

from __future__ import annotations

from operator import itemgetter

import msgspec
import numpy as np

from poolproof.bridge import EventKind
from poolproof.harness.history.columns import NONE, order_by
from poolproof.harness.history.history import History, OpType
from poolproof.harness.model.fault import FaultKind

UNHURT = frozenset({"result", "CommandError"})
"""Outcomes of calls that a worker answered."""


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """The recovery after one fault that landed, in seconds from the fault; None: not within the run, or unknown.

    `first_ok_s` is the end of the first call that began after the fault and has a result. `full_size_s` is when as many
    workers were ready as before (the victim does not count). `lost` is how many of the calls that were in flight had no
    answer.
    """

    kind: FaultKind
    at_ns: int
    first_ok_s: float | None = None
    full_size_s: float | None = None
    lost: int = 0


def recoveries(history: History) -> tuple[Recovery, ...]:
    """Return one recovery for each fault that landed before the close, in order of time."""
    close_ns = history.close_began_ns
    landed = sorted((fault for fault in history.faults if fault.landed), key=lambda fault: fault.at_ns)
    if not landed:
        return ()
    ops = history.ops
    answered = ops.take(ops.type.are(OpType.OK) & (ops.completed_ns != NONE))
    answered = answered.take(order_by(answered.invoked_ns))
    first_ends = np.minimum.accumulate(answered.completed_ns[::-1])[::-1]  # of all calls that began at a row or later
    hurt = ops.take(~ops.outcome.are(*UNHURT))
    size = _Size(history)
    found = []
    for fault in landed:
        if close_ns is not None and fault.at_ns >= close_ns:
            continue
        later = first_ends[np.searchsorted(answered.invoked_ns, fault.at_ns) :]
        first_ns = int(later[0]) if len(later) else None
        under_way = (hurt.completed_ns == NONE) | (hurt.completed_ns >= fault.at_ns)
        full_ns = size.full_again(fault.at_ns, fault.worker)
        found.append(
            Recovery(
                kind=fault.kind,
                at_ns=fault.at_ns,
                first_ok_s=None if first_ns is None else (first_ns - fault.at_ns) / 1e9,
                full_size_s=None if full_ns is None else (full_ns - fault.at_ns) / 1e9,
                lost=int((under_way & (hurt.invoked_ns <= fault.at_ns)).sum()),
            )
        )
    return tuple(found)


class _Size:
    """The number of ready workers at every event up to the close."""

    def __init__(self, history: History) -> None:
        close_ns = history.close_began_ns
        kinds = history.events_by_kind
        self._changes = [
            (event.at_ns, event.kind, event.worker)
            for kind in (EventKind.READY, EventKind.KILL, EventKind.REAP)
            for event in kinds[kind]
            if close_ns is None or event.at_ns < close_ns
        ]
        given_back = kinds[EventKind.CHECKIN]
        self._given_back = given_back if close_ns is None else given_back.take(given_back.at_ns < close_ns)

    def full_again(self, at_ns: int, struck: int | None) -> int | None:
        """Return when as many workers are ready as at `at_ns`, without counting worker `struck`; None if never."""
        ready: set[int | None] = set()
        target: int | None = None
        for when, kind, worker in sorted((*self._changes, *self._first_after(at_ns, struck)), key=itemgetter(0)):
            if when >= at_ns and target is None:
                target = len(ready)
                ready.discard(struck)
                if len(ready) >= target > 0:
                    return at_ns
            if kind is EventKind.READY or (kind is EventKind.CHECKIN and worker == struck and target is not None):
                ready.add(worker)
            elif kind is not EventKind.CHECKIN:
                ready.discard(worker)
            if target and len(ready) >= target:
                return when
        return None

    def _first_after(self, at_ns: int, struck: int | None) -> list[tuple[int, EventKind, int | None]]:
        # A worker that was stopped and continued counts as ready from its next answer on.
        later = slice(int(np.searchsorted(self._given_back.at_ns, at_ns)), None)
        of_struck = np.flatnonzero(self._given_back.worker[later] == (NONE if struck is None else struck))
        places = [0, *of_struck[:1].tolist()] if len(self._given_back.at_ns[later]) else []
        events = (self._given_back[later.start + place] for place in places)
        return [(event.at_ns, event.kind, event.worker) for event in events]
