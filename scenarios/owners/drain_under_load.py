"""F22: a pool that is drained while calls run and wait refuses new calls, and finishes the others."""

from __future__ import annotations

from poolproof.bridge import Capability
from poolproof.harness.checkers import CORE, FaultLanded, OneOutcome
from poolproof.harness.model.fault import Fault, FaultKind
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.workload import steady
from poolproof.harness.oracle import OrderlyLife

CALL_S = 0.2
PATIENT_S = 60.0
"""No call of this scenario may time out, however loaded the machine is."""

SCENARIO = Scenario(
    name="drain_under_load",
    summary="draining a busy pool lets running and waiting calls finish and refuses later calls",
    failures=("F19", "F22"),
    guarantees=("G20", "G21", "G22"),
    workload=steady("sleep", {"seconds": CALL_S}, calls=4, label="load"),
    commands=("sleep",),
    needs=frozenset({Capability.DRAIN}),
    faults=(Fault(kind=FaultKind.DRAIN, when="load:sent", after_s=0.1, for_s=PATIENT_S),),
    config={"call_timeout_s": PATIENT_S, "checkout_timeout_s": PATIENT_S},
    checkers=(
        OneOutcome(
            allowed=frozenset({"result", "PoolClosed"}),
            at_least={"PoolClosed": 1, "result": 1},
            guarantees=("G3", "G22"),
        ),
        FaultLanded(kinds=(FaultKind.DRAIN,)),
        OrderlyLife(),
        *CORE,
    ),
    probed=True,
    compare_answers=False,
)
