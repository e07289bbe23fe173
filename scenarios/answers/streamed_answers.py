"""F7: an answer in parts arrives whole and in order, whether the parts come one by one or in a list."""

from __future__ import annotations

import random

from poolproof.harness.checkers import CORE, OneOutcome
from poolproof.harness.model.scenario import PATIENT, Scenario
from poolproof.harness.model.workload import Plan, Size, Step

COUNTS = (0, 1, 7)
BYTES = (10, 3_000, 20_000)


def workload(_: random.Random, size: Size) -> Plan:
    """Every client requests answers of few and many parts, small and large, with an echo after each."""
    echo = Step(command="echo", args={"text": "between two streams"})
    steps = [
        step
        for count in COUNTS
        for many in BYTES
        for step in (Step(command="parts", args={"count": count, "bytes": many}), echo)
    ]
    return (tuple(steps * size.count(1)),) * size.clients


SCENARIO = Scenario(
    name="streamed_answers",
    summary="answers that are sent in parts arrive complete and in order",
    failures=("F7",),
    guarantees=("G1", "G4"),
    workload=workload,
    commands=("parts", "echo"),
    fixed_size=Size(workers=2, clients=4),
    config=PATIENT,
    checkers=(OneOutcome(), *CORE),
    compare_answers=False,
    smoke=True,
)
