"""F20: bytes that are no frame, or no answer to this request, end their worker and reach nobody."""

from __future__ import annotations

import random

from harness.checkers import CORE, FaultLanded, LabelledOutcome, OneOutcome
from harness.fault import FaultKind
from harness.scenario import Scenario
from harness.workload import Plan, Size, Step

KINDS = {
    "garbage": FaultKind.GARBAGE,
    "not_json": FaultKind.GARBAGE,
    "oversize": FaultKind.OVERSIZE,
    "wrong_id": FaultKind.WRONG_ID,
    "truncated": FaultKind.TRUNCATED,
}


def workload(choice: random.Random, size: Size) -> Plan:
    """The kinds of broken frames in random order, between echoes, on several clients."""
    plan = []
    for _ in range(min(size.clients, 3)):
        steps = []
        for kind in choice.sample(tuple(KINDS), len(KINDS)):
            args = {"kind": kind}
            steps += [
                Step(command="bad_frame", args=args, label="broken", fault=KINDS[kind]),
                Step(command="echo", label="echo"),
            ]
        plan.append(tuple(steps))
    return tuple(plan)


SCENARIO = Scenario(
    name="broken_stream",
    summary="garbage, oversize, truncated and stale frames end their worker and corrupt no other call",
    failures=("F8", "F20"),
    guarantees=("G1", "G5", "G25"),
    workload=workload,
    commands=("bad_frame", "echo"),
    checkers=(
        OneOutcome(allowed=frozenset({"result", "WorkerCrashed"})),
        LabelledOutcome(label="broken", outcomes=frozenset({"WorkerCrashed"})),
        LabelledOutcome(label="echo", outcomes=frozenset({"result"})),
        FaultLanded(kinds=tuple(dict.fromkeys(KINDS.values()))),
        *CORE,
    ),
)
