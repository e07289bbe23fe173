"""F19: a worker's child holds the worker's pipes; the pool must notice the worker's death, and end the child."""

from __future__ import annotations

import random

from poolproof.harness.checkers import CORE, FaultLanded, LabelledOutcome, OneOutcome, Prompt
from poolproof.harness.model.fault import FaultKind
from poolproof.harness.model.scenario import PATIENT, Scenario
from poolproof.harness.model.workload import Plan, Size, Step

CHILD_S = 60.0
NOTICED_WITHIN_S = 2.0


def workload(_: random.Random, __: Size) -> Plan:
    """The only worker starts a child and exits in its next call; after two echoes the next worker starts a child."""
    child = Step(
        command="spawn_child",
        args={"seconds": CHILD_S, "pipes": True},
        label="child",
        fault=FaultKind.GRANDCHILD,
    )
    leave = Step(command="exit", args={"code": 3}, label="exit", fault=FaultKind.EXIT)
    echo = Step(command="echo", label="echo")
    return ((child, leave, echo, echo, child),)


SCENARIO = Scenario(
    name="grandchild",
    summary="a child process that holds its worker's pipes does not hide the worker's death, and is ended with "
    "the pool",
    failures=("F19",),
    guarantees=("G3", "G20"),
    workload=workload,
    commands=("spawn_child", "exit", "echo"),
    fixed_size=Size(workers=1, clients=1),
    config=PATIENT,
    checkers=(
        OneOutcome(allowed=frozenset({"result", "WorkerCrashed"}), at_most={"WorkerCrashed": 1}),
        LabelledOutcome(label="exit", outcomes=frozenset({"WorkerCrashed"})),
        LabelledOutcome(label="child", outcomes=frozenset({"result"})),
        LabelledOutcome(label="echo", outcomes=frozenset({"result"})),
        Prompt(label="exit", within_s=NOTICED_WITHIN_S),
        FaultLanded(kinds=(FaultKind.GRANDCHILD, FaultKind.EXIT)),
        *CORE,
    ),
    compare_answers=False,
)
