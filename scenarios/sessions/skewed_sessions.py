"""F14, F16: a few of many sessions have most of the calls; each sees its own state, on whichever worker it runs."""

from __future__ import annotations

import random

from poolproof.bridge import Capability
from poolproof.harness.checkers import CORE, OneOutcome, SessionCounters, Sessions
from poolproof.harness.model.composition import mix, sessions, steady_mix
from poolproof.harness.model.scenario import PATIENT, Scenario
from poolproof.harness.model.workload import Plan, Size, Step

CALLS = 30
SESSIONS = 8
SKEW = 1.2
STATE = mix(
    (2, Step(command="put", args={"key": "k", "value": "a"})),
    (2, Step(command="put", args={"key": "k", "value": "b"})),
    (3, Step(command="get", args={"key": "k"})),
    (2, Step(command="append", args={"key": "log", "value": "line"})),
    (1, Step(command="list")),
)


def workload(choice: random.Random, size: Size) -> Plan:
    """Every client has its own sessions, so that the calls of each session have one order."""
    one = Size(workers=size.workers, clients=1, scale=size.scale)
    plan: Plan = ()
    for client in range(size.clients):
        plan += sessions(steady_mix(STATE, calls=CALLS), count=SESSIONS, skew=SKEW, name=f"of-{client}")(choice, one)
    return plan


SCENARIO = Scenario(
    name="skewed_sessions",
    summary="if a few sessions make most of the calls, each session still sees its own state",
    failures=("F14", "F16"),
    guarantees=("G17", "G18"),
    workload=workload,
    commands=("put", "get", "append", "list"),
    needs=frozenset({Capability.SESSIONS}),
    config=PATIENT,
    checkers=(OneOutcome(), Sessions(), SessionCounters(), *CORE),
)
