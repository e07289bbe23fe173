"""The checkers: pure functions from a history to a finding, each deciding one claim."""

from __future__ import annotations

from poolproof.harness.checker import Checker
from poolproof.harness.checkers.answers import OwnAnswer
from poolproof.harness.checkers.audit import Audit
from poolproof.harness.checkers.closing import CloseBounded, Conserved, NothingLeft
from poolproof.harness.checkers.counters import SessionCounters
from poolproof.harness.checkers.deadlines import Deadlines, Prompt
from poolproof.harness.checkers.faults import Seen
from poolproof.harness.checkers.leases import AtMostOnce, CleanWorkers, ExclusiveLease, Fifo
from poolproof.harness.checkers.linearizability import Linearizable
from poolproof.harness.checkers.lives import BoundedStart, Lives, Recycled, Restraint, TimeoutKills
from poolproof.harness.checkers.outcomes import LabelledOutcome, OneOutcome
from poolproof.harness.checkers.parallelism import Overlap, ParallelStart
from poolproof.harness.checkers.programs import OwnModel
from poolproof.harness.checkers.recovered import Recovered
from poolproof.harness.checkers.resources import LeakSlope
from poolproof.harness.checkers.sessions import Sessions
from poolproof.harness.checkers.versions import Versions
from poolproof.harness.checkers.waiting import HandOff, Independence, WorkConserving
from poolproof.harness.checkers.workers import FaultLanded, LiveBound, Replaced, StableWorkers

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
