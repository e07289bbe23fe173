"""F20: answers of every size, from a few bytes to several pipes full, each checked against its own request."""

from __future__ import annotations

import random

from poolproof.harness.checkers import CORE, OneOutcome
from poolproof.harness.model.scenario import PATIENT, Scenario
from poolproof.harness.model.workload import Plan, Size, Step

SIZES = (1, 300, 4_000, 5_000, 40_000, 70_000, 300_000)
"""Characters; below and above the size of one write to a pipe (4,096) and the capacity of a pipe (65,536)."""


def workload(choice: random.Random, size: Size) -> Plan:
    """Every client echoes all sizes in its own order. The answer has the nonce, and a letter of the client."""
    plan = []
    for client in range(size.clients):
        letter = "abcdefghijklmnopqrstuvwxyz"[client % 26]
        sizes = [*SIZES] * size.count(1)
        choice.shuffle(sizes)
        plan.append(tuple(Step(command="echo", args={"text": letter * many}) for many in sizes))
    return tuple(plan)


SCENARIO = Scenario(
    name="answer_sizes",
    summary="answers of every size reach the call that made the request",
    failures=("F20",),
    guarantees=("G1", "G4"),
    workload=workload,
    config=PATIENT,
    checkers=(OneOutcome(), *CORE),
    smoke=True,
)
