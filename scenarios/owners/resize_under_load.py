"""F12: a pool that is resized while calls run and wait loses neither a call nor, in the end, a worker."""

from __future__ import annotations

from poolproof.bridge import Capability
from poolproof.harness.checkers import CORE, FaultLanded, OneOutcome
from poolproof.harness.model.fault import Fault, FaultKind
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.workload import steady
from poolproof.harness.oracle import FullCapacity, OrderlyLife

CALL_S = 0.05
SMALL_S = 0.3
PATIENT_S = 60.0
"""No call of this scenario may time out, however loaded the machine is."""

SCENARIO = Scenario(
    name="resize_under_load",
    summary="a pool that is resized to one worker and back while calls run and wait serves every call",
    failures=("F12",),
    guarantees=("G3", "G8", "G14"),
    workload=steady("sleep", {"seconds": CALL_S}, calls=12, label="load"),
    commands=("sleep",),
    needs=frozenset({Capability.RESIZE}),
    faults=(Fault(kind=FaultKind.RESIZE, when="load:sent", for_s=SMALL_S),),
    config={"call_timeout_s": PATIENT_S, "checkout_timeout_s": PATIENT_S},
    checkers=(
        OneOutcome(allowed=frozenset({"result"}), guarantees=("G3",)),
        FaultLanded(kinds=(FaultKind.RESIZE,)),
        OrderlyLife(),
        FullCapacity(),
        *CORE,
    ),
    probed=True,
)
