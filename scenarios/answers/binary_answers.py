"""F20: bytes of every size, in requests and answers, arrive as they were sent, beside the JSON or in shared memory."""

from __future__ import annotations

import random

from poolproof.harness.checkers import CORE, OneOutcome
from poolproof.harness.model.scenario import PATIENT, Scenario
from poolproof.harness.model.workload import Plan, Size, Step

SIZES = ((0, 1), (1, 0), (15, 4_000), (70_000, 5_000), (300_000, 17), (0, 300_000), (65_536, 65_535))
"""Bytes of the answer and of the request; around the capacity of a pipe, and the size from which memory is shared."""


def workload(choice: random.Random, size: Size) -> Plan:
    """Every client sends and asks for all sizes in its own order, each time with other bytes."""
    plan = []
    for _ in range(size.clients):
        sizes = [*SIZES] * size.count(1)
        choice.shuffle(sizes)
        plan.append(
            tuple(
                Step(
                    command="binary",
                    args={"bytes": answered, "seed": choice.randrange(251)},
                    upload_bytes=sent,
                )
                for answered, sent in sizes
            )
        )
    return tuple(plan)


SCENARIO = Scenario(
    name="binary_answers",
    summary="bytes of every size reach the worker, and the call that asked for them, unchanged",
    failures=("F20",),
    guarantees=("G1", "G4"),
    workload=workload,
    commands=("binary",),
    config=PATIENT,
    checkers=(OneOutcome(), *CORE),
)
