"""F15, F16: a session outlives the threads that use it, and counts the calls of all of them."""

from __future__ import annotations

import random

from poolproof.bridge import Capability
from poolproof.harness.checkers import CORE, LabelledOutcome, OneOutcome, SessionCounters, Sessions
from poolproof.harness.model.scenario import PATIENT, Scenario
from poolproof.harness.model.workload import Plan, Size, Step

CALLS = 6


def workload(_: random.Random, size: Size) -> Plan:
    """Every call of a session comes from its own thread, which then ends; all clients also share one session."""
    plan = []
    for client in range(size.clients):
        own = f"own-{client}"
        steps = [Step(command="put", args={"key": "k", "value": client}, session=own, own_thread=True, label="own")]
        for number in range(size.count(CALLS)):
            value = f"{client}/{number}"
            steps += [
                Step(command="append", args={"key": "log", "value": value}, session="shared", own_thread=True),
                Step(command="append", args={"key": "log", "value": value}, session=own, own_thread=True, label="own"),
            ]
        steps += [Step(command="get", args={"key": key}, session=own, own_thread=True) for key in ("k", "log")]
        plan.append(tuple(steps))
    return tuple(plan)


SCENARIO = Scenario(
    name="session_threads",
    summary="sessions lose no state when the threads that use them end",
    failures=("F15", "F16"),
    guarantees=("G17", "G18", "G19"),
    workload=workload,
    commands=("put", "append", "get"),
    needs=frozenset({Capability.SESSIONS}),
    fixed_size=Size(workers=2, clients=4),
    config=PATIENT,
    checkers=(
        OneOutcome(),
        LabelledOutcome(label="own", outcomes=frozenset({"result"})),
        Sessions(),
        SessionCounters(),
        *CORE,
    ),
    compare_answers=False,
)
