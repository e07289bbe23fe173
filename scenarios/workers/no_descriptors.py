"""F18: a worker is lost while the process cannot open a descriptor; calls continue, and then the pool recovers."""

from __future__ import annotations

import random

from poolproof.harness.checkers import CORE, FaultLanded, LabelledOutcome, OneOutcome
from poolproof.harness.model.fault import Fault, FaultKind
from poolproof.harness.model.scenario import PATIENT, Scenario
from poolproof.harness.model.workload import Plan, Size, Step

EXHAUSTED_S = 0.4
CALLS = 5


def workload(_: random.Random, size: Size) -> Plan:
    """A worker exits while no descriptor is free; calls on the other worker continue."""
    leave = Step(command="exit", after="fd_exhaustion:landed", label="exit", fault=FaultKind.EXIT)
    echo = Step(command="echo", label="echo")
    return (
        (echo, leave),
        (Step(command="echo", after="exit:done", label="meanwhile"), *(echo,) * size.count(CALLS)),
    )


SCENARIO = Scenario(
    name="no_descriptors",
    summary="a worker lost while no file descriptor is free costs one call, and is replaced once descriptors are "
    "free again",
    failures=("F18",),
    guarantees=("G3", "G8", "G21"),
    workload=workload,
    commands=("exit", "echo"),
    faults=(Fault(kind=FaultKind.FD_EXHAUSTION, when="echo:done", for_s=EXHAUSTED_S),),
    fixed_size=Size(workers=2, clients=2),
    config=PATIENT,
    checkers=(
        OneOutcome(allowed=frozenset({"result", "WorkerCrashed"}), at_most={"WorkerCrashed": 1}),
        LabelledOutcome(label="exit", outcomes=frozenset({"WorkerCrashed"})),
        LabelledOutcome(label="meanwhile", outcomes=frozenset({"result"})),
        FaultLanded(kinds=(FaultKind.FD_EXHAUSTION, FaultKind.EXIT)),
        *CORE,
    ),
)
