"""F22: closing a busy pool lets running calls finish, refuses all others at once, and leaks no resources."""

from __future__ import annotations

from poolproof.harness.checkers import CORE, CloseBounded, FaultLanded, OneOutcome
from poolproof.harness.model.fault import Fault, FaultKind
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.workload import steady

CALL_S = 0.2
GRACE_S = 3.0
REFUSED_WITHIN_S = 1.5
UNTOLD_S = 10.0
"""The timeout of a call that the close neither refuses nor lets finish."""

SCENARIO = Scenario(
    name="close_under_load",
    summary="closing a busy pool lets running calls finish and refuses the calls that wait",
    failures=("F19", "F22"),
    guarantees=("G20", "G21", "G22"),
    workload=steady("sleep", {"seconds": CALL_S}, calls=4, label="load"),
    commands=("sleep",),
    faults=(Fault(kind=FaultKind.CLOSE, when="load:sent", after_s=0.1, for_s=GRACE_S),),
    config={"call_timeout_s": UNTOLD_S, "checkout_timeout_s": UNTOLD_S},
    checkers=(
        OneOutcome(
            allowed=frozenset({"result", "PoolClosed"}),
            at_least={"PoolClosed": 1, "result": 1},
            guarantees=("G3", "G22"),
        ),
        FaultLanded(kinds=(FaultKind.CLOSE,)),
        CloseBounded(within_s=GRACE_S + 2.0, refusal_s=REFUSED_WITHIN_S),
        *CORE,
    ),
    compare_answers=False,
)
