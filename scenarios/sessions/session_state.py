"""F14, F16: in every call a session sees all of its own state, and nothing of another session's."""

from __future__ import annotations

import random

from poolproof.bridge import Capability
from poolproof.harness.checkers import CORE, OneOutcome, SessionCounters, Sessions
from poolproof.harness.model.scenario import PATIENT, Scenario
from poolproof.harness.model.workload import Plan, Size, Step

CALLS = 12


def workload(choice: random.Random, size: Size) -> Plan:
    """Every client works in its own session, and each value names its client."""
    plan = []
    for client in range(size.clients):
        session = f"session-{client}"
        steps = [Step(command="put", args={"key": "k0", "value": f"{client}/first"}, session=session)]
        for number in range(size.count(CALLS)):
            key = f"k{choice.randrange(3)}"
            value = f"{client}/{number}"
            kind = choice.choice(("put", "get", "append", "list"))
            args = {"put": {"key": key, "value": value}, "get": {"key": key}, "list": {}}.get(
                kind, {"key": "log", "value": value}
            )
            steps.append(Step(command=kind, args=args, session=session))
        steps.append(Step(command="list", session=session))
        plan.append(tuple(steps))
    return tuple(plan)


SCENARIO = Scenario(
    name="session_state",
    summary="each of many sessions sees all of its own state and nothing of another session's state",
    failures=("F14", "F16"),
    guarantees=("G17", "G18", "G19"),
    workload=workload,
    commands=("put", "get", "append", "list"),
    needs=frozenset({Capability.SESSIONS}),
    config=PATIENT,
    checkers=(OneOutcome(), Sessions(), SessionCounters(), *CORE),
)
