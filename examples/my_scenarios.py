"""Two scenarios of your own: `poolproof run examples/my_scenarios.py`, or only one: `…/my_scenarios.py::mixed`.

Each scenario is a seeded plan of calls, with the checkers that judge its run. `poolproof compare` takes the file too.
"""

from __future__ import annotations

import random

from poolproof.harness.checkers import CORE, AtMostOnce, Conserved, LabelledOutcome, OneOutcome
from poolproof.harness.history.history import Op
from poolproof.harness.model.intended import Comparing, DifferenceKind, IntendedDifference
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.workload import Plan, Size, Step, steady


def mixed(choice: random.Random, size: Size) -> Plan:
    """Every client makes quick and slow calls and one that fails, each client in its own order."""
    quick, slow = Step(command="echo", label="quick"), Step(command="sleep", args={"seconds": 0.02}, label="slow")
    bad = Step(command="fail", args={"message": "as planned"}, label="bad")
    return tuple(tuple(choice.sample([quick] * 6 + [slow] * 2 + [bad], 9)) for _ in range(size.clients))


def without_case(op: Op) -> object:
    """The part of an answer that is compared: the result, or the error in lower case."""
    return op.value if op.outcome == "result" else op.error.lower()


MIXED = Scenario(
    name="mixed",
    summary="quick, slow and failing calls side by side",
    workload=mixed,
    commands=("echo", "sleep", "fail"),
    checkers=(
        OneOutcome(allowed=frozenset({"result", "CommandError"})),
        LabelledOutcome(label="bad", outcomes=frozenset({"CommandError"})),
        *CORE,
    ),
    fixed_size=Size(workers=2, clients=3),
    comparing=Comparing(clean=without_case),
)

SHORT = Scenario(
    name="short",
    summary="a call of 0.4 s with a deadline of 0.2 s",
    workload=steady("sleep", {"seconds": 0.4}, calls=1, timeout_s=0.2, label="late"),
    commands=("sleep",),
    checkers=(LabelledOutcome(label="late", outcomes=frozenset({"CallTimeout"})), AtMostOnce(), Conserved()),
    fixed_size=Size(workers=1, clients=1),
    intended_differences=(
        IntendedDifference(
            pool="my_pool:make",
            checker="answers",
            label="late",
            kind=DifferenceKind.INDETERMINATE,
            reason="our own pool waits a little longer until the rewrite in autumn",
            until="2099-12-31",
        ),
    ),
)
