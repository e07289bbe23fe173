"""F11: if a hook returns an invalid value, its caller gets a typed error, and other pools are not affected."""

from __future__ import annotations

from poolproof.harness.checkers import CORE, FaultLanded, OneOutcome, Seen, StableWorkers
from poolproof.harness.model.fault import Fault, FaultKind
from poolproof.harness.model.scenario import PATIENT, Scenario
from poolproof.harness.model.workload import Size, steady

SCENARIO = Scenario(
    name="hook_junk",
    summary="a hook that returns an invalid value is an error that says so to the caller",
    failures=("F11",),
    guarantees=("G3", "G16"),
    workload=steady("sleep", {"seconds": 0.02}, calls=5, label="load"),
    commands=("sleep", "echo"),
    faults=(Fault(kind=FaultKind.HOOK_JUNK, when="load:sent"),),
    fixed_size=Size(workers=2, clients=2),
    config=PATIENT,
    checkers=(
        OneOutcome(),
        FaultLanded(kinds=(FaultKind.HOOK_JUNK,)),
        Seen(kind=FaultKind.HOOK_JUNK, allowed=frozenset({"HookError", "no hooks"}), guarantees=("G3",)),
        StableWorkers(),
        *CORE,
    ),
)
