"""A worker that is killed in the middle of a call costs that call only."""

from __future__ import annotations

import random

from poolproof.bridge import Capability
from poolproof.harness.checkers import CORE, FaultLanded, LabelledOutcome, OneOutcome, Recovered
from poolproof.harness.model.fault import Fault, FaultKind
from poolproof.harness.model.scenario import PATIENT, Scenario
from poolproof.harness.model.workload import Plan, Size, Step

CALLS = 6
BACK_WITHIN_S = 10.0


def workload(_: random.Random, size: Size) -> Plan:
    """One client's long call is the victim; the other clients keep calling."""
    victim = Step(command="sleep", args={"seconds": 0.5}, label="victim")
    others = (Step(command="sleep", args={"seconds": 0.02}, label="other"),) * size.count(CALLS)
    return ((victim, *others), *((others,) * (size.clients - 1)))


SCENARIO = Scenario(
    name="worker_crash",
    summary="SIGKILL to a busy worker costs one call, and the worker is replaced",
    failures=("F12",),
    guarantees=("G3", "G5", "G8"),
    workload=workload,
    commands=("sleep",),
    needs=frozenset({Capability.KILL}),
    faults=(Fault(kind=FaultKind.KILL, when="victim:sent", after_s=0.05),),
    config=PATIENT,
    checkers=(
        OneOutcome(allowed=frozenset({"result", "WorkerCrashed"}), at_most={"WorkerCrashed": 1}),
        LabelledOutcome(label="victim", outcomes=frozenset({"WorkerCrashed"})),
        LabelledOutcome(label="other", outcomes=frozenset({"result"})),
        FaultLanded(kinds=(FaultKind.KILL,)),
        Recovered(first_ok_s=BACK_WITHIN_S, lost=1),
        *CORE,
    ),
)
