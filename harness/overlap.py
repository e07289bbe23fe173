"""How many workers were at work at the same time: structure that no noise can hide.

Pure. Intervals without an end are cut at their worker's end, or left out if that is not known.
"""

from __future__ import annotations

from collections.abc import Iterable

from bridge import ServiceInterval
from harness.history import History


def closed_intervals(history: History) -> list[tuple[int, int, ServiceInterval]]:
    """(start, end, interval) in nanoseconds for every interval whose end is known, by start."""
    return history.closed_intervals


def overlap_degree(intervals: Iterable[tuple[int, int]]) -> tuple[int, float]:
    """The largest number of intervals that hold at the same time, and its mean over the time in which any holds.

    An interval that begins when another ends does not overlap it.
    """
    intervals = [(start, end) for start, end in intervals if start < end]
    starts = sorted([start for start, _ in intervals])
    ends = sorted([end for _, end in intervals])
    most = level = place = 0
    busy = last = 0
    for end in ends:
        while place < len(starts) and starts[place] < end:
            at = starts[place]
            if level:
                busy += at - last
            level += 1
            last = at
            place += 1
        most = max(most, level)
        if level:
            busy += end - last
            level -= 1
        last = end
    weighted = sum(ends) - sum(starts)
    return most, (weighted / busy if busy else float(most))
