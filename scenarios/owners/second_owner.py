"""F17, F21: a pool with a taken name and one with an unknown option are refused; the first pool keeps working."""

from __future__ import annotations

from poolproof.harness.checkers import CORE, FaultLanded, OneOutcome, Seen, StableWorkers
from poolproof.harness.model.fault import Fault, FaultKind
from poolproof.harness.model.scenario import PATIENT, Scenario
from poolproof.harness.model.workload import Size, steady

SCENARIO = Scenario(
    name="second_owner",
    summary="a pool name that is in use and an unknown option are clear errors, and the pool that has the name "
    "is not disturbed",
    failures=("F17", "F21"),
    guarantees=("G16", "G20"),
    workload=steady("sleep", {"seconds": 0.02}, calls=5, label="load"),
    commands=("sleep",),
    faults=(
        Fault(kind=FaultKind.SECOND_OWNER, when="load:sent"),
        Fault(kind=FaultKind.BAD_OPTION, when="load:sent"),
    ),
    fixed_size=Size(workers=2, clients=2),
    config=PATIENT,
    checkers=(
        OneOutcome(),
        FaultLanded(kinds=(FaultKind.SECOND_OWNER, FaultKind.BAD_OPTION)),
        Seen(kind=FaultKind.SECOND_OWNER, allowed=frozenset({"PoolNameConflict"})),
        Seen(kind=FaultKind.BAD_OPTION, allowed=frozenset({"ConfigError"})),
        StableWorkers(),
        *CORE,
    ),
)
