"""How a pool came back after each fault: the first answer, its full size, and the calls that it cost.

Pure. It describes and refuses to judge.
"""

from __future__ import annotations

import msgspec

from bridge import EventKind
from harness.columns import NONE
from harness.fault import FaultKind
from harness.history import History, OpType
from harness.tables import Events

UNHURT = frozenset({"result", "CommandError"})
"""A call with one of these outcomes had its worker's answer."""


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """After one fault that landed, in seconds from it; None: not within the run, or nobody can tell.

    `first_ok_s` is the end of the first call that was begun after the fault and has a result, `full_size_s` when as
    many workers were ready as before (the worker that was struck does not count), `lost` how many of the calls that
    were under way had no answer.
    """

    kind: FaultKind
    at_ns: int
    first_ok_s: float | None = None
    full_size_s: float | None = None
    lost: int = 0


def recoveries(history: History) -> tuple[Recovery, ...]:
    """One for each fault that landed before the close, in order of time."""
    close_ns = history.close_began_ns
    landed = sorted((fault for fault in history.faults if fault.landed), key=lambda fault: fault.at_ns)
    if not landed:
        return ()
    ops = history.ops
    answered = ops.take(ops.type.are(OpType.OK) & (ops.completed_ns != NONE))
    hurt = ops.take(~ops.outcome.are(*UNHURT))
    found = []
    for fault in landed:
        if close_ns is not None and fault.at_ns >= close_ns:
            continue
        later = answered.completed_ns[answered.invoked_ns >= fault.at_ns]
        first_ns = int(later.min()) if len(later) else None
        under_way = (hurt.completed_ns == NONE) | (hurt.completed_ns >= fault.at_ns)
        full_ns = _full_again(history, fault.at_ns, fault.worker)
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


def _of_interest(events: Events, struck: int | None) -> Events:
    # Of a worker that was not struck it is of no interest when it was given back.
    if struck is None:
        return events.take(~events.kind.are(EventKind.CHECKIN))
    return events.take(~events.kind.are(EventKind.CHECKIN) | (events.worker == struck))


def _full_again(history: History, at_ns: int, struck: int | None) -> int | None:
    # A worker that was stopped and came to itself again is one that is there, from its next answer on.
    steps = [
        (event.at_ns, event.kind, event.worker)
        for kind in (EventKind.READY, EventKind.KILL, EventKind.REAP, EventKind.CHECKIN)
        for event in _of_interest(history.events_by_kind[kind], struck)
        if history.close_began_ns is None or event.at_ns < history.close_began_ns
    ]
    ready: set[int | None] = set()
    target: int | None = None
    for when, kind, worker in sorted(steps, key=lambda step: step[0]):
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
