"""A worker that is stopped (SIGSTOP) must cost its own call only, at that call's deadline."""

from __future__ import annotations

import random

from poolproof.bridge import Capability
from poolproof.harness.checkers import (
    CORE,
    Deadlines,
    FaultLanded,
    Independence,
    LabelledOutcome,
    OneOutcome,
    Prompt,
    TimeoutKills,
)
from poolproof.harness.model.fault import Fault, FaultKind
from poolproof.harness.model.intended import BASELINE
from poolproof.harness.model.scenario import PATIENT, IntendedDifference, Scenario
from poolproof.harness.model.workload import Plan, Size, Step

LIMIT_S = 0.6
LATE_S = 1.0
STOPPED_S = LIMIT_S + 1.6 * LATE_S
"""How long the worker is stopped, in seconds: longer than any call may take, so a call that waits for it is late."""
OTHERS_WITHIN_S = HELD_UP_S = 1.0
V1_WAITS = "a serial pool's manager waits for the stopped worker, and everybody waits for the manager"


def workload(_: random.Random, size: Size) -> Plan:
    """One call's worker is stopped until after the call's deadline; the other clients call meanwhile."""
    victim = Step(command="sleep", args={"seconds": 0.3}, timeout_s=LIMIT_S, label="victim")
    others = (Step(command="echo", after="stop:landed", label="other"),) * 3
    return ((victim,), *((others,) * max(1, size.workers - 1)))


SCENARIO = Scenario(
    name="stopped_worker",
    summary="a stopped worker (SIGSTOP) costs only the call that it serves, and delays no other call",
    failures=("F1", "F9"),
    guarantees=("G10", "G11", "G12"),
    workload=workload,
    commands=("sleep", "echo"),
    needs=frozenset({Capability.KILL}),
    faults=(Fault(kind=FaultKind.STOP, when="victim:sent", after_s=0.05, for_s=STOPPED_S),),
    config=PATIENT,
    checkers=(
        OneOutcome(allowed=frozenset({"result", "CallTimeout"}), at_most={"CallTimeout": 1}),
        LabelledOutcome(label="victim", outcomes=frozenset({"CallTimeout"})),
        Prompt(label="other", within_s=OTHERS_WITHIN_S),
        Deadlines(slack_s=LATE_S),
        TimeoutKills(grace_s=5.0),
        Independence(epsilon_s=HELD_UP_S),
        FaultLanded(kinds=(FaultKind.STOP,)),
        *CORE,
    ),
    intended_differences=(
        IntendedDifference(pool=BASELINE, checker="prompt:other", reason=V1_WAITS),
        IntendedDifference(pool=BASELINE, checker="independence", reason=V1_WAITS),
        IntendedDifference(
            pool="v1",
            checker="timeout_kills",
            reason="v1's caller gives up at its limit, and the manager keeps the worker and reads its late answer",
        ),
    ),
)
