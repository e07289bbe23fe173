"""F9: a worker whose call timed out must never serve again; its late answer would reach another client."""

from __future__ import annotations

import random

from poolproof.harness.checkers import CORE, Deadlines, FaultLanded, LabelledOutcome, OneOutcome, Replaced, TimeoutKills
from poolproof.harness.model.fault import FaultKind
from poolproof.harness.model.scenario import PATIENT, IntendedDifference, Scenario
from poolproof.harness.model.workload import Plan, Size, Step

OPERATION_S = 0.3
LIMIT_S = 0.1
ECHOES = 10
V1_KEEPS = "v1's manager reads the late answer itself and keeps the worker, while all other calls wait"


def workload(_: random.Random, __: Size) -> Plan:
    """A call of 300 ms with a timeout of 100 ms, then ten echoes."""
    slow = Step(command="sleep", args={"seconds": OPERATION_S}, timeout_s=LIMIT_S, label="slow", fault=FaultKind.LATE)
    return ((slow, *(Step(command="echo", label="echo"),) * ECHOES),)


SCENARIO = Scenario(
    name="dirty_worker",
    summary="after a call's timeout the next ten calls get right answers, from a new worker",
    failures=("F8", "F9"),
    guarantees=("G1", "G5", "G12"),
    workload=workload,
    commands=("sleep", "echo"),
    fixed_size=Size(workers=1, clients=1),
    config=PATIENT,
    checkers=(
        OneOutcome(allowed=frozenset({"result", "CallTimeout"}), at_most={"CallTimeout": 1}),
        LabelledOutcome(label="slow", outcomes=frozenset({"CallTimeout"})),
        LabelledOutcome(label="echo", outcomes=frozenset({"result"})),
        FaultLanded(kinds=(FaultKind.LATE,)),
        Replaced(label="slow"),
        TimeoutKills(grace_s=5.0),
        Deadlines(slack_s=1.0),
        *CORE,
    ),
    intended_differences=(
        IntendedDifference(pool="v1", checker="replaced:slow", reason=V1_KEEPS),
        IntendedDifference(pool="v1", checker="timeout_kills", reason=V1_KEEPS),
    ),
)
