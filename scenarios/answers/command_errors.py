"""F18, F20: a failing command is one error for its own caller, costs no worker, and is counted by the pool."""

from __future__ import annotations

import random

from poolproof.harness.checkers import CORE, LabelledOutcome, OneOutcome, StableWorkers
from poolproof.harness.model.scenario import PATIENT, Scenario
from poolproof.harness.model.workload import Plan, Size, Step

CALLS = 6


def workload(choice: random.Random, size: Size) -> Plan:
    """Failing, unknown and unanswerable commands among commands that succeed."""
    bad = (
        Step(command="fail", args={"message": "as planned"}, label="bad"),
        Step(command="no_such_command", label="bad"),
        Step(command="sleep", args={"seconds": "long"}, label="bad"),
        Step(command="not_json", label="bad"),
    )
    good = Step(command="echo", label="good")
    plan = []
    for _ in range(size.clients):
        steps = [choice.choice(bad) for _ in range(size.count(CALLS))] + [good] * size.count(CALLS)
        plan.append(tuple(choice.sample(steps, len(steps))))
    return tuple(plan)


SCENARIO = Scenario(
    name="command_errors",
    summary="an error of a command reaches the caller of that command, is counted, and costs no worker",
    failures=("F18", "F20"),
    guarantees=("G3", "G27"),
    workload=workload,
    commands=("fail", "not_json", "sleep", "echo"),
    config=PATIENT,
    checkers=(
        OneOutcome(allowed=frozenset({"result", "CommandError"}), at_least={"CommandError": 1}),
        LabelledOutcome(label="bad", outcomes=frozenset({"CommandError"})),
        LabelledOutcome(label="good", outcomes=frozenset({"result"})),
        StableWorkers(),
        *CORE,
    ),
)
