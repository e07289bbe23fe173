"""F10: a wait for a worker that takes too long, and a call that takes too long, are different errors."""

from __future__ import annotations

import random

from poolproof.harness.checkers import CORE, Deadlines, FaultLanded, LabelledOutcome, OneOutcome
from poolproof.harness.model.fault import FaultKind
from poolproof.harness.model.scenario import PATIENT, Scenario
from poolproof.harness.model.workload import Plan, Size, Step

HOLD_S = 0.8
LIMIT_S = 0.2


def workload(_: random.Random, __: Size) -> Plan:
    """One call holds the only worker, and a second one waits too long for it; then a call exceeds its own timeout."""
    hold = Step(command="sleep", args={"seconds": HOLD_S}, label="hold")
    waiting = Step(command="echo", after="hold:sent", checkout_timeout_s=LIMIT_S, label="waiting")
    operation = Step(
        command="sleep", args={"seconds": HOLD_S}, timeout_s=LIMIT_S, label="operation", fault=FaultKind.HANG
    )
    return ((hold, operation), (waiting,))


SCENARIO = Scenario(
    name="two_timeouts",
    summary="waiting too long for a worker and waiting too long for an answer are different errors",
    failures=("F10",),
    guarantees=("G3", "G11"),
    workload=workload,
    commands=("sleep", "echo"),
    fixed_size=Size(workers=1, clients=2),
    config=PATIENT,
    checkers=(
        OneOutcome(allowed=frozenset({"result", "CallTimeout", "CheckoutTimeout"})),
        LabelledOutcome(label="waiting", outcomes=frozenset({"CheckoutTimeout"})),
        LabelledOutcome(label="operation", outcomes=frozenset({"CallTimeout"})),
        FaultLanded(kinds=(FaultKind.HANG,)),
        Deadlines(slack_s=1.0),
        *CORE,
    ),
)
