"""Computes how many workers were at work at the same time, which noise in the timings cannot hide.

Pure. Intervals without an end are cut at their worker's end, or left out if that end is unknown.
"""

from __future__ import annotations

import numpy as np

from poolproof.harness.history.columns import Numbers


def overlap_degree(starts: Numbers, ends: Numbers) -> tuple[int, float]:
    """Return the largest number of concurrent intervals, and the mean number over the time with at least one interval.

    An interval that begins when another ends does not overlap it.
    """
    lasting = starts < ends
    starts, ends = starts[lasting], ends[lasting]
    if not len(starts):
        return 0, 0.0
    moments = np.concatenate((ends, starts))  # at the same moment, ends come before starts
    order = np.argsort(moments, kind="stable")
    moments = moments[order]
    level = np.cumsum(np.where(order < len(ends), -1, 1))
    busy = int(np.diff(moments)[level[:-1] > 0].sum())
    most = int(level.max())
    return most, (int((ends - starts).sum()) / busy if busy else float(most))
