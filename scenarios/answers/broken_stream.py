"""F20: bytes that are no frame, or no answer to the request, end their worker; no client receives them."""

from __future__ import annotations

import random

from poolproof.harness.checkers import CORE, FaultLanded, LabelledOutcome, OneOutcome
from poolproof.harness.model.fault import FaultKind
from poolproof.harness.model.scenario import PATIENT, Scenario
from poolproof.harness.model.workload import Plan, Size, Step

KINDS = {
    "garbage": FaultKind.GARBAGE,
    "not_json": FaultKind.GARBAGE,
    "oversize": FaultKind.OVERSIZE,
    "stale": FaultKind.WRONG_ID,
    "truncated": FaultKind.TRUNCATED,
}
BOTH = ("G3", "G25")


def workload(choice: random.Random, size: Size) -> Plan:
    """The kinds of broken frames in random order, with an echo after each, on several clients."""
    plan = []
    for _ in range(min(size.clients, 2)):
        steps = []
        for kind in choice.sample(tuple(KINDS), len(KINDS)):
            # No right answer may follow the stale one: extra bytes in one read are rejected, whatever their ids.
            command = "odd_answer" if kind == "stale" else "bad_frame"
            steps += [
                Step(command=command, args={"kind": kind}, label="broken", fault=KINDS[kind]),
                Step(command="echo", label="echo"),
            ]
        plan.append(tuple(steps))
    return tuple(plan)


SCENARIO = Scenario(
    name="broken_stream",
    summary="a worker that sends garbage, oversize, truncated or stale frames is ended, and no other call is affected",
    failures=("F8", "F20"),
    guarantees=("G1", "G5", "G25"),
    workload=workload,
    commands=("bad_frame", "odd_answer", "echo"),
    config=PATIENT,
    checkers=(
        OneOutcome(allowed=frozenset({"result", "WorkerCrashed"})),
        LabelledOutcome(label="broken", outcomes=frozenset({"WorkerCrashed"}), guarantees=BOTH),
        LabelledOutcome(label="echo", outcomes=frozenset({"result"}), guarantees=BOTH),
        FaultLanded(kinds=tuple(dict.fromkeys(KINDS.values()))),
        *CORE,
    ),
)
