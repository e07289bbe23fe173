"""The checkers: pure functions from a history to a finding, each deciding one claim."""

from __future__ import annotations

from harness.checker import Checker
from harness.checkers.answers import OwnAnswer
from harness.checkers.audit import Audit
from harness.checkers.closing import CloseBounded, Conserved, NothingLeft
from harness.checkers.deadlines import Deadlines, Prompt
from harness.checkers.leases import AtMostOnce, CleanWorkers, ExclusiveLease, Fifo
from harness.checkers.linearizability import Linearizable
from harness.checkers.outcomes import LabelledOutcome, OneOutcome
from harness.checkers.parallelism import Overlap, ParallelStart
from harness.checkers.sessions import Sessions
from harness.checkers.waiting import HandOff, Independence, WorkConserving
from harness.checkers.workers import FaultLanded, LiveBound, Replaced, StableWorkers

CORE: tuple[Checker, ...] = (
    OwnAnswer(),
    ExclusiveLease(),
    AtMostOnce(),
    CleanWorkers(),
    Conserved(),
    LiveBound(),
    NothingLeft(),
)
"""What holds in every scenario."""

ALL: tuple[type, ...] = (
    WorkConserving,
    Independence,
    HandOff,
    Audit,
    AtMostOnce,
    CleanWorkers,
    CloseBounded,
    Conserved,
    Deadlines,
    ExclusiveLease,
    FaultLanded,
    Fifo,
    LabelledOutcome,
    Linearizable,
    LiveBound,
    NothingLeft,
    OneOutcome,
    Overlap,
    OwnAnswer,
    ParallelStart,
    Prompt,
    Replaced,
    Sessions,
    StableWorkers,
)
"""Every kind of checker."""

__all__ = [
    "ALL",
    "CORE",
    "AtMostOnce",
    "Audit",
    "CleanWorkers",
    "CloseBounded",
    "Conserved",
    "Deadlines",
    "ExclusiveLease",
    "FaultLanded",
    "Fifo",
    "HandOff",
    "Independence",
    "LabelledOutcome",
    "Linearizable",
    "LiveBound",
    "NothingLeft",
    "OneOutcome",
    "Overlap",
    "OwnAnswer",
    "ParallelStart",
    "Prompt",
    "Replaced",
    "Sessions",
    "StableWorkers",
    "WorkConserving",
]
