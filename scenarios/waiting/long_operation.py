"""F2: an operation longer than the legacy call timeout must end with its result, and not delay the next call."""

from __future__ import annotations

import random

from poolproof.harness.checkers import CORE, Deadlines, LabelledOutcome, OneOutcome, Prompt
from poolproof.harness.model.intended import BASELINE
from poolproof.harness.model.scenario import IntendedDifference, Scenario
from poolproof.harness.model.workload import Plan, Size, Step

OPERATION_S = 6.0
NEXT_WITHIN_S = 0.75


def workload(_: random.Random, __: Size) -> Plan:
    """One long operation with the pool's default timeouts, then another client's ping."""
    long = Step(command="sleep", args={"seconds": OPERATION_S}, label="long")
    return ((long,), (Step(command="ping", after="long:done", label="next"),))


SCENARIO = Scenario(
    name="long_operation",
    summary="an operation that takes 6 s returns its result under the default timeouts, and does not delay the "
    "next call",
    failures=("F2",),
    guarantees=("G3", "G11"),
    workload=workload,
    commands=("sleep", "ping"),
    checkers=(
        OneOutcome(allowed=frozenset({"result", "CallTimeout"})),
        LabelledOutcome(label="long", outcomes=frozenset({"result"})),
        Prompt(label="next", within_s=NEXT_WITHIN_S),
        Deadlines(slack_s=1.0),
        *CORE,
    ),
    intended_differences=(
        IntendedDifference(
            pool="v1",
            checker="outcome:long",
            reason="v1's caller gives up after its 5 s call timeout, though the operation may take 30 s",
        ),
        IntendedDifference(
            pool=BASELINE,
            checker="prompt:next",
            reason="a serial pool goes on with the abandoned operation, and the next call waits for that operation",
        ),
        IntendedDifference(
            pool="v1",
            checker="answers",
            label="long",
            reason="the long operation has no answer in v1, as its caller gave up",
        ),
    ),
)
