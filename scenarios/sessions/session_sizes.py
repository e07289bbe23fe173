"""F14: sessions that share workers store state of every size and get it back unchanged."""

from __future__ import annotations

import random

from poolproof.bridge import Capability
from poolproof.harness.checkers import CORE, Linearizable, OneOutcome, SessionCounters, Sessions
from poolproof.harness.model.scenario import PATIENT, Scenario
from poolproof.harness.model.workload import Plan, Size, Step

SIZES = (300, 5_000, 70_000)
APPENDS = 12
"""So many that a session that is moved back and forth between two pools comes back to each with a list."""


def workload(_: random.Random, size: Size) -> Plan:
    """Every client puts values of all sizes into its own session and reads them back; then it appends."""
    plan = []
    for client in range(size.clients):
        session = f"session-{client}"
        letter = "abcdefghijklmnopqrstuvwxyz"[client % 26]
        values = {f"k{many}": letter * many for many in SIZES}
        steps = [Step(command="put", args={"key": k, "value": v}, session=session) for k, v in values.items()]
        steps += [Step(command="get", args={"key": key}, session=session) for key in values]
        steps += [Step(command="append", args={"key": "log", "value": n}, session=session) for n in range(APPENDS)]
        plan.append((*steps, Step(command="list", session=session)))
    return tuple(plan)


SCENARIO = Scenario(
    name="session_sizes",
    summary="sessions read back state of every size exactly as they wrote it",
    failures=("F14",),
    guarantees=("G17", "G18", "G19"),
    workload=workload,
    commands=("put", "get", "append", "list"),
    needs=frozenset({Capability.SESSIONS}),
    config=PATIENT,
    checkers=(OneOutcome(), Sessions(), Linearizable(), SessionCounters(), *CORE),
    smoke=True,
)
