"""How many workers were at work at the same time: structure that no noise can hide.

Pure. Intervals without an end are cut at their worker's end, or left out if that is not known.
"""

from __future__ import annotations

from collections.abc import Iterable

from bridge import EventKind, ServiceInterval
from harness.history import History


def closed_intervals(history: History) -> list[tuple[int, int, ServiceInterval]]:
    """(start, end, interval) in nanoseconds for every interval whose end is known, by start."""
    ends: dict[int, int] = {}
    for kind in (EventKind.REAP, EventKind.KILL):  # the kill comes first in time, so it is written last
        for event in reversed(history.events_by_kind[kind]):
            if event.pid is not None:
                ends[event.pid] = event.at_ns
    found = []
    for interval in history.intervals:
        end = interval.end_ns if interval.end_ns is not None else ends.get(interval.pid)
        if end is not None and end >= interval.start_ns:
            found.append((interval.start_ns, end, interval))
    return sorted(found, key=lambda item: item[:2])


def overlap_degree(intervals: Iterable[tuple[int, int]]) -> tuple[int, float]:
    """The largest number of intervals that hold at the same time, and its mean over the time in which any holds.

    An interval that begins when another ends does not overlap it.
    """
    steps = sorted([step for start, end in intervals for step in ((start, 1), (end, -1))])
    most = level = 0
    busy = weighted = 0
    last = 0
    for at, change in steps:
        if level:
            busy += at - last
            weighted += level * (at - last)
        level += change
        most = max(most, level)
        last = at
    return most, (weighted / busy if busy else float(most))
