"""G23: a forked child cannot use its parent's pool, and the child's end ends no worker."""

from __future__ import annotations

import random

from poolproof.harness.checkers import CORE, FaultLanded, OneOutcome, Seen, StableWorkers
from poolproof.harness.model.fault import Fault, FaultKind
from poolproof.harness.model.scenario import PATIENT, Scenario
from poolproof.harness.model.workload import Plan, Size, Step

CALLS = 10


def workload(_: random.Random, size: Size) -> Plan:
    """Every client has a call running during the fork, and makes more calls after it."""
    busy = Step(command="sleep", args={"seconds": 0.1}, label="busy")
    return ((busy, *(Step(command="echo", after="fork:landed"),) * size.count(CALLS)),) * size.clients


SCENARIO = Scenario(
    name="fork_in_client",
    summary="after a fork the child cannot use the pool, and the parent's calls and workers are not disturbed",
    guarantees=("G1", "G16", "G23"),
    failures=("F12",),
    workload=workload,
    commands=("sleep", "echo"),
    faults=(Fault(kind=FaultKind.FORK, when="busy:sent"),),
    fixed_size=Size(workers=2, clients=4),
    config=PATIENT,
    checkers=(
        OneOutcome(),
        FaultLanded(kinds=(FaultKind.FORK,)),
        Seen(kind=FaultKind.FORK, allowed=frozenset({"PoolClosed"}), guarantees=("G23",)),
        StableWorkers(),
        *CORE,
    ),
)
