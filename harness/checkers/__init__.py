"""The checkers: pure functions from a history to a finding, each deciding one claim."""

from __future__ import annotations

from harness.checker import Checker
from harness.checkers.answers import OwnAnswer
from harness.checkers.audit import Audit
from harness.checkers.closing import CloseBounded, Conserved, NothingLeft
from harness.checkers.counters import SessionCounters
from harness.checkers.deadlines import Deadlines, Prompt
from harness.checkers.faults import Seen
from harness.checkers.leases import AtMostOnce, CleanWorkers, ExclusiveLease, Fifo
from harness.checkers.linearizability import Linearizable
from harness.checkers.lives import BoundedStart, Lives, Recycled, Restraint, TimeoutKills
from harness.checkers.outcomes import LabelledOutcome, OneOutcome
from harness.checkers.parallelism import Overlap, ParallelStart
from harness.checkers.programs import OwnModel
from harness.checkers.recovered import Recovered
from harness.checkers.resources import LeakSlope
from harness.checkers.sessions import Sessions
from harness.checkers.versions import Versions
from harness.checkers.waiting import HandOff, Independence, WorkConserving
from harness.checkers.workers import FaultLanded, LiveBound, Replaced, StableWorkers

CORE: tuple[Checker, ...] = (
    OwnAnswer(),
    ExclusiveLease(),
    AtMostOnce(),
    CleanWorkers(),
    Conserved(),
    Lives(),
    LiveBound(),
    NothingLeft(),
)
"""What holds in every scenario."""

ALL: tuple[type, ...] = (
    AtMostOnce,
    Audit,
    BoundedStart,
    CleanWorkers,
    CloseBounded,
    Conserved,
    Deadlines,
    ExclusiveLease,
    FaultLanded,
    Fifo,
    HandOff,
    Independence,
    LabelledOutcome,
    LeakSlope,
    Linearizable,
    LiveBound,
    Lives,
    NothingLeft,
    OneOutcome,
    Overlap,
    OwnAnswer,
    OwnModel,
    ParallelStart,
    Prompt,
    Recovered,
    Recycled,
    Replaced,
    Seen,
    Restraint,
    SessionCounters,
    Sessions,
    StableWorkers,
    TimeoutKills,
    Versions,
    WorkConserving,
)
"""Every kind of checker."""

__all__ = [
    "ALL",
    "CORE",
    "AtMostOnce",
    "Audit",
    "BoundedStart",
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
    "LeakSlope",
    "Linearizable",
    "LiveBound",
    "Lives",
    "NothingLeft",
    "OneOutcome",
    "Overlap",
    "OwnAnswer",
    "OwnModel",
    "ParallelStart",
    "Prompt",
    "Recovered",
    "Recycled",
    "Replaced",
    "Restraint",
    "Seen",
    "SessionCounters",
    "Sessions",
    "StableWorkers",
    "TimeoutKills",
    "Versions",
    "WorkConserving",
]
