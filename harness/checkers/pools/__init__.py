"""Checkers of pools: workers, leases, sessions, resources, faults and the close."""

from __future__ import annotations

from poolproof.harness.checkers.pools.closing import CloseBounded, Conserved, NothingLeft
from poolproof.harness.checkers.pools.counters import SessionCounters
from poolproof.harness.checkers.pools.faults import Seen
from poolproof.harness.checkers.pools.leases import AtMostOnce, CleanWorkers, ExclusiveLease
from poolproof.harness.checkers.pools.lives import BoundedStart, Lives, Recycled, Restraint, TimeoutKills
from poolproof.harness.checkers.pools.parallelism import Overlap, ParallelStart
from poolproof.harness.checkers.pools.recovered import Recovered
from poolproof.harness.checkers.pools.resources import LeakSlope
from poolproof.harness.checkers.pools.sessions import Sessions
from poolproof.harness.checkers.pools.workers import FaultLanded, LiveBound, Replaced, StableWorkers

__all__ = [
    "AtMostOnce",
    "BoundedStart",
    "CleanWorkers",
    "CloseBounded",
    "Conserved",
    "ExclusiveLease",
    "FaultLanded",
    "LeakSlope",
    "LiveBound",
    "Lives",
    "NothingLeft",
    "Overlap",
    "ParallelStart",
    "Recovered",
    "Recycled",
    "Replaced",
    "Restraint",
    "Seen",
    "SessionCounters",
    "Sessions",
    "StableWorkers",
    "TimeoutKills",
]
