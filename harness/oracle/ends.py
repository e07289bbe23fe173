"""Determines what may have ended a worker in a run, and when: some rules hold only at other times. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from poolproof.harness.history.columns import NONE, Numbers
from poolproof.harness.history.history import History
from poolproof.harness.model.fault import FaultKind

DEADLY = frozenset({"exit", "bad_frame"})
"""Commands that end their worker."""
HARMLESS = frozenset({FaultKind.PRINT})
"""Faults that end no worker."""
NOTED_NS = 500_000_000
"""How late a pool may note the end of a worker, on a heavily loaded machine."""
FOUND_NS = 2_000_000_000
"""How late a pool may end the worker of a client that was cancelled or interrupted."""
Flags = NDArray[np.bool_]


def first_end_ns(history: History) -> int:
    """Return the first moment at which something may have ended a worker; the largest number if nothing has."""
    ops = history.ops
    times = [fault.at_ns for fault in history.faults if fault.kind not in HARMLESS]
    return min([*times, *ops.invoked_ns[_ending(history)].tolist()], default=np.iinfo(np.int64).max)


def ending_times(history: History) -> tuple[Numbers, Numbers]:
    """Return the begins and the ends of the times in which something may have ended a worker, in no order.

    A pool takes a moment to note what has ended, and longer to find what an interrupted client has left behind.
    """
    ops = history.ops
    rows = np.flatnonzero(_ending(history))
    ends = np.where(ops.completed_ns[rows] == NONE, np.iinfo(np.int64).max - FOUND_NS, ops.completed_ns[rows])
    ends += np.where(ops.outcome.are("Cancelled")[rows], FOUND_NS, NOTED_NS)
    faults = np.array([fault.at_ns for fault in history.faults if fault.kind not in HARMLESS], np.int64)
    return np.concatenate([ops.invoked_ns[rows], faults]), np.concatenate([ends, faults + NOTED_NS])


def _ending(history: History) -> Flags:
    ops = history.ops
    ending = ops.type.are("info") | ops.outcome.are("Cancelled", "CallTimeout", "CheckoutTimeout", "WorkerCrashed")
    return ending | ops.command.are(*DEADLY)
