"""F12: workers are killed and stopped under a growing load, at any moment; each fault costs at most one call."""

from __future__ import annotations

from poolproof.bridge import Capability
from poolproof.harness.checkers import CORE, FaultLanded, OneOutcome
from poolproof.harness.model.composition import mix, ramp
from poolproof.harness.model.fault import Fault, FaultKind
from poolproof.harness.model.scenario import PATIENT, Scenario
from poolproof.harness.model.workload import Step

KILLS_S = (0.2, 0.6)
STOP_S = 0.4
STOPPED_S = 0.2
MIXED = mix(
    (3, Step(command="sleep", args={"seconds": 0.01})),
    (2, Step(command="echo")),
    (1, Step(command="blob", args={"bytes": 100_000})),
)

SCENARIO = Scenario(
    name="chaos",
    summary="workers that are killed or stopped at any moment, under a mixed and growing load, cost only the "
    "calls that they serve",
    failures=("F12", "F18"),
    guarantees=("G3", "G5", "G8"),
    workload=ramp(MIXED, from_per_s=20, to_per_s=45, for_s=1.5),
    commands=("sleep", "echo", "blob"),
    needs=frozenset({Capability.KILL}),
    faults=(
        *(Fault(kind=FaultKind.KILL, after_s=at_s) for at_s in KILLS_S),
        Fault(kind=FaultKind.STOP, after_s=STOP_S, for_s=STOPPED_S),
    ),
    config=PATIENT,
    checkers=(
        OneOutcome(
            allowed=frozenset({"result", "WorkerCrashed"}),
            at_least={"result": 1},
            at_most={"WorkerCrashed": len(KILLS_S)},
        ),
        FaultLanded(kinds=(FaultKind.KILL, FaultKind.STOP)),
        *CORE,
    ),
    compare_answers=False,
)
