"""F9: a worker that stops in the middle of its response is ended at the deadline; no client gets the other half."""

from __future__ import annotations

import random

from poolproof.harness.checkers import CORE, Deadlines, FaultLanded, LabelledOutcome, OneOutcome, Replaced
from poolproof.harness.model.fault import FaultKind
from poolproof.harness.model.scenario import PATIENT, Scenario
from poolproof.harness.model.workload import Plan, Size, Step

SILENCE_S = 0.6
LIMIT_S = 0.2
ECHOES = 6


def workload(_: random.Random, __: Size) -> Plan:
    """A call whose response stops half way for longer than the call's timeout, then echoes."""
    half = Step(
        command="odd_answer",
        args={"kind": "half", "seconds": SILENCE_S},
        timeout_s=LIMIT_S,
        label="half",
        fault=FaultKind.HALF_ANSWER,
    )
    return ((half, *(Step(command="echo", label="echo"),) * ECHOES),)


SCENARIO = Scenario(
    name="half_answer",
    summary="a worker that sends half a response and then nothing causes a timeout, and no call gets the other half",
    failures=("F8", "F9"),
    guarantees=("G1", "G5", "G11", "G12"),
    workload=workload,
    commands=("odd_answer", "echo"),
    fixed_size=Size(workers=1, clients=1),
    config=PATIENT,
    checkers=(
        OneOutcome(allowed=frozenset({"result", "CallTimeout"}), at_most={"CallTimeout": 1}),
        LabelledOutcome(label="half", outcomes=frozenset({"CallTimeout"})),
        LabelledOutcome(label="echo", outcomes=frozenset({"result"})),
        FaultLanded(kinds=(FaultKind.HALF_ANSWER,)),
        Replaced(label="half"),
        Deadlines(slack_s=1.0),
        *CORE,
    ),
)
