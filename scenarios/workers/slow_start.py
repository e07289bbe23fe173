"""F3: workers that take long to start must start concurrently, and no call may be lost meanwhile."""

from __future__ import annotations

from poolproof.harness.checkers import CORE, FaultLanded, OneOutcome, ParallelStart
from poolproof.harness.model.fault import Fault, FaultKind
from poolproof.harness.model.intended import BASELINE
from poolproof.harness.model.scenario import PATIENT, IntendedDifference, Scenario
from poolproof.harness.model.workload import Size, steady

START_S = 2.0

SCENARIO = Scenario(
    name="slow_start",
    summary="two workers that take 2 s to start are started at the same time, and no call of six clients is lost",
    failures=("F3",),
    guarantees=("G8", "G13"),
    workload=steady("sleep", {"seconds": 0.02}, calls=2),
    commands=("sleep",),
    faults=(Fault(kind=FaultKind.SLOW_START, for_s=START_S),),
    warm=False,
    fixed_size=Size(workers=2, clients=6),
    config=PATIENT,
    checkers=(OneOutcome(), FaultLanded(kinds=(FaultKind.SLOW_START,)), ParallelStart(at_least=2), *CORE),
    intended_differences=(
        IntendedDifference(
            pool=BASELINE,
            checker="parallel_start",
            reason="a serial pool starts its workers lazily and one by one, inside the manager that serves the calls",
        ),
    ),
)
