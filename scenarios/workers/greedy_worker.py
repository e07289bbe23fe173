"""F20: a worker that runs out of memory or descriptors answers, with a result or an error, and keeps serving."""

from __future__ import annotations

import random

from poolproof.harness.checkers import CORE, FaultLanded, LabelledOutcome, OneOutcome, StableWorkers
from poolproof.harness.model.fault import FaultKind
from poolproof.harness.model.scenario import PATIENT, Scenario
from poolproof.harness.model.workload import Plan, Size, Step

HOG_BYTES = 64 * 2**20
EXHAUSTED_S = 0.1


def workload(_: random.Random, size: Size) -> Plan:
    """Each client makes a worker exhaust its memory, then its descriptors, with echoes in between."""
    hog = Step(command="hog", args={"bytes": HOG_BYTES}, label="hog", fault=FaultKind.MEMORY_HOG)
    full = Step(command="exhaust_descriptors", args={"seconds": EXHAUSTED_S}, label="full", fault=FaultKind.WORKER_FDS)
    echo = Step(command="echo", label="echo")
    return ((echo, hog, echo, full, echo) * size.count(1),) * 2


SCENARIO = Scenario(
    name="greedy_worker",
    summary="workers that use up their memory or file descriptors report it and keep serving",
    failures=("F20",),
    guarantees=("G3", "G16"),
    workload=workload,
    commands=("hog", "exhaust_descriptors", "echo"),
    fixed_size=Size(workers=2, clients=2),
    config=PATIENT,
    checkers=(
        OneOutcome(allowed=frozenset({"result", "CommandError"})),
        LabelledOutcome(label="hog", outcomes=frozenset({"CommandError"})),
        LabelledOutcome(label="full", outcomes=frozenset({"result"})),
        LabelledOutcome(label="echo", outcomes=frozenset({"result"})),
        FaultLanded(kinds=(FaultKind.MEMORY_HOG, FaultKind.WORKER_FDS)),
        StableWorkers(),
        *CORE,
    ),
)
