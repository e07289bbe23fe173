"""F8: if a request is answered twice, the second answer must not reach the next client."""

from __future__ import annotations

import random

from poolproof.harness.checkers import CORE, FaultLanded, LabelledOutcome, OneOutcome
from poolproof.harness.model.fault import FaultKind
from poolproof.harness.model.scenario import PATIENT, Scenario
from poolproof.harness.model.workload import Plan, Size, Step

ROUNDS = 3


def workload(_: random.Random, size: Size) -> Plan:
    """Requests that are answered twice, with echoes after each."""
    double = Step(command="odd_answer", args={"kind": "double"}, label="double", fault=FaultKind.DUPLICATED)
    echo = Step(command="echo", label="echo")
    return ((double, echo, echo) * size.count(ROUNDS),)


SCENARIO = Scenario(
    name="double_answer",
    summary="if a worker answers a request twice, the caller gets at most one answer, and no other caller gets "
    "the second",
    failures=("F8", "F20"),
    guarantees=("G1", "G5", "G25"),
    workload=workload,
    commands=("odd_answer", "echo"),
    fixed_size=Size(workers=1, clients=1),
    config=PATIENT,
    checkers=(
        OneOutcome(allowed=frozenset({"result", "WorkerCrashed"})),
        LabelledOutcome(label="double", outcomes=frozenset({"WorkerCrashed"})),
        LabelledOutcome(label="echo", outcomes=frozenset({"result"}), guarantees=("G3", "G25")),
        FaultLanded(kinds=(FaultKind.DUPLICATED,)),
        *CORE,
    ),
)
