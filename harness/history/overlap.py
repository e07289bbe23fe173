"""How many workers were at work at the same time: structure that no noise can hide.

Pure. Intervals without an end are cut at their worker's end, or left out if that is not known.
"""

from __future__ import annotations

import numpy as np

from poolproof.harness.history.columns import Numbers


def overlap_degree(starts: Numbers, ends: Numbers) -> tuple[int, float]:
    """The largest number of intervals that hold at the same time, and its mean over the time in which any holds.

    An interval that begins when another ends does not overlap it.
    """
    lasting = starts < ends
    starts, ends = starts[lasting], ends[lasting]
    if not len(starts):
        return 0, 0.0
    moments = np.concatenate((ends, starts))  # at one moment the ends come first
    order = np.argsort(moments, kind="stable")
    moments = moments[order]
    level = np.cumsum(np.where(order < len(ends), -1, 1))
    busy = int(np.diff(moments)[level[:-1] > 0].sum())
    most = int(level.max())
    return most, (int((ends - starts).sum()) / busy if busy else float(most))
