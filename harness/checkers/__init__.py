"""The checkers: pure functions from a history to a finding; each checker decides one claim."""

from __future__ import annotations

from poolproof.harness.checkers.calls.answers import OwnAnswer
from poolproof.harness.checkers.calls.audit import Audit
from poolproof.harness.checkers.calls.deadlines import Deadlines, Prompt
from poolproof.harness.checkers.calls.linearizability import Linearizable
from poolproof.harness.checkers.calls.outcomes import LabelledOutcome, OneOutcome
from poolproof.harness.checkers.calls.programs import OwnModel
from poolproof.harness.checkers.calls.versions import Versions
from poolproof.harness.checkers.calls.waiting import HandOff, Independence, WorkConserving
from poolproof.harness.checkers.pools.closing import CloseBounded, Conserved, NothingLeft
from poolproof.harness.checkers.pools.counters import SessionCounters
from poolproof.harness.checkers.pools.faults import Seen
from poolproof.harness.checkers.pools.leases import AtMostOnce, CleanWorkers, ExclusiveLease, Fifo
from poolproof.harness.checkers.pools.lives import BoundedStart, Lives, Recycled, Restraint, TimeoutKills
from poolproof.harness.checkers.pools.parallelism import Overlap, ParallelStart
from poolproof.harness.checkers.pools.recovered import Recovered
from poolproof.harness.checkers.pools.resources import LeakSlope
from poolproof.harness.checkers.pools.sessions import Sessions
from poolproof.harness.checkers.pools.workers import FaultLanded, LiveBound, Replaced, StableWorkers
from poolproof.harness.model.checker import Checker

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
"""The checkers of every scenario."""

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
"""Every checker class."""

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
