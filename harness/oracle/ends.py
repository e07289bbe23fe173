"""Determines what may have ended a worker in a run, and the first such moment: some rules hold only before it. Pure."""

from __future__ import annotations

import numpy as np

from poolproof.harness.history.history import History
from poolproof.harness.model.fault import FaultKind

DEADLY = frozenset({"exit", "bad_frame"})
"""Commands that end their worker."""
HARMLESS = frozenset({FaultKind.PRINT})
"""Faults that end no worker."""


def first_end_ns(history: History) -> int:
    """Return the first moment at which something may have ended a worker; the largest number if nothing has."""
    ops = history.ops
    ending = ops.type.are("info") | ops.outcome.are("Cancelled", "CallTimeout", "CheckoutTimeout", "WorkerCrashed")
    ending |= ops.command.are(*DEADLY)
    times = [fault.at_ns for fault in history.faults if fault.kind not in HARMLESS]
    return min([*times, *ops.invoked_ns[ending].tolist()], default=np.iinfo(np.int64).max)
