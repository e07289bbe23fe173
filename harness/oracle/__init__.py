"""The reference model: what any pool owes its callers, stated from the specification and not from a pool's code.

Each module states one part as a checker. A checker accepts every outcome that the specification allows at that moment,
and reports every other outcome. Its only inputs are what callers saw, what workers wrote in their journals, which
faults were injected, and which options the pool was given.
"""

from __future__ import annotations

from poolproof.harness.oracle.capacity import FullCapacity
from poolproof.harness.oracle.growth import NoGrowth
from poolproof.harness.oracle.life import OrderlyLife
from poolproof.harness.oracle.limits import LimitsKept
from poolproof.harness.oracle.options import OptionsKept
from poolproof.harness.oracle.outcomes import ExplainedOutcomes
from poolproof.harness.oracle.status import TrueStatus
from poolproof.harness.oracle.turns import TurnsKept
from poolproof.harness.oracle.waiters import WaitersLeave

PARTS: tuple[type, ...] = (
    ExplainedOutcomes,
    FullCapacity,
    LimitsKept,
    NoGrowth,
    OptionsKept,
    OrderlyLife,
    TrueStatus,
    TurnsKept,
    WaitersLeave,
)
"""Every part of the model."""

__all__ = [
    "PARTS",
    "ExplainedOutcomes",
    "FullCapacity",
    "LimitsKept",
    "NoGrowth",
    "OptionsKept",
    "OrderlyLife",
    "TrueStatus",
    "TurnsKept",
    "WaitersLeave",
]
