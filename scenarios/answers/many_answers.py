"""F20: faults that show once in hundreds of calls: each client makes 600 quick calls, each with its own answer."""

from __future__ import annotations

import random

from poolproof.harness.checkers import CORE, OneOutcome
from poolproof.harness.model.scenario import PATIENT, Scenario
from poolproof.harness.model.workload import Plan, Size, Step

CALLS = 600
"""The number of calls of each client: with half as many workers as clients, each worker serves more than a thousand."""


def workload(choice: random.Random, size: Size) -> Plan:
    """Every client echoes small values, no two the same, as fast as it can."""
    return tuple(
        tuple(
            Step(command="echo", args={"client": client, "place": place, "draw": choice.randrange(2**31)})
            for place in range(size.count(CALLS))
        )
        for client in range(size.clients)
    )


SCENARIO = Scenario(
    name="many_answers",
    summary="thousands of quick calls: none has the answer of another, none is lost or made twice",
    failures=("F20",),
    guarantees=("G1", "G2", "G4"),
    workload=workload,
    config=PATIENT,
    checkers=(OneOutcome(), *CORE),
    budget_s=120.0,
)
