"""F12: a client that ends while a worker serves its call costs no worker and no other client's call."""

from __future__ import annotations

import random

from poolproof.harness.checkers import CORE, FaultLanded, LabelledOutcome, OneOutcome
from poolproof.harness.model.fault import Fault, FaultKind
from poolproof.harness.model.scenario import PATIENT, Scenario
from poolproof.harness.model.workload import Plan, Size, Step

HELD_S = 3.0
"""Long after the client has ended, even on a busy machine. The call ends with its client, so a run takes no longer."""
CALLS = 8


def workload(_: random.Random, size: Size) -> Plan:
    """One client's long call is the victim, so it makes no further call; the other clients keep calling."""
    victim = Step(command="sleep", args={"seconds": HELD_S}, label="victim")
    other = Step(command="echo", label="other")
    return ((victim, *(Step(command="echo"),) * 2), *((other,) * size.count(CALLS),) * 3)


SCENARIO = Scenario(
    name="client_death",
    summary="a client that ends in the middle of its call costs no worker and no other client's call",
    failures=("F12", "F13"),
    guarantees=("G3", "G8", "G24"),
    workload=workload,
    commands=("sleep", "echo"),
    faults=(Fault(kind=FaultKind.CLIENT_DEATH, when="victim:sent", after_s=0.1),),
    fixed_size=Size(workers=2, clients=4),
    config=PATIENT,
    checkers=(
        OneOutcome(allowed=frozenset({"result", "Cancelled"}), at_most={"Cancelled": 1}),
        LabelledOutcome(label="victim", outcomes=frozenset({"Cancelled"})),
        LabelledOutcome(label="other", outcomes=frozenset({"result"}), guarantees=("G3", "G24")),
        FaultLanded(kinds=(FaultKind.CLIENT_DEATH,)),
        *CORE,
    ),
)
