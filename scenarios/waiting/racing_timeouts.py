"""F13: timeouts that race the hand-off of a worker lose no call, and cost no worker."""

from __future__ import annotations

import random

from poolproof.harness.checkers import CORE, Deadlines, LabelledOutcome, OneOutcome, StableWorkers
from poolproof.harness.model.scenario import PATIENT, Scenario
from poolproof.harness.model.workload import Plan, Size, Step

HOLD_S = 0.03
CALLS = 20


def workload(choice: random.Random, size: Size) -> Plan:
    """Half of the clients hold the two workers in turn; the others give up at about the time of a hand-off."""
    plan = []
    for client in range(size.clients):
        if client % 2:
            step = Step(command="sleep", args={"seconds": HOLD_S}, label="hold")
            plan.append((step,) * size.count(CALLS // 2))
        else:
            plan.append(
                tuple(
                    Step(command="echo", checkout_timeout_s=choice.uniform(0.5, 1.5) * HOLD_S)
                    for _ in range(size.count(CALLS))
                )
            )
    return (*plan, (Step(command="echo", after="hold:done", label="last"),))


SCENARIO = Scenario(
    name="racing_timeouts",
    summary="if a client gives up at the moment at which it is handed a worker, the worker is not lost",
    failures=("F13",),
    guarantees=("G8", "G9", "G11", "G16"),
    workload=workload,
    commands=("sleep", "echo"),
    fixed_size=Size(workers=2, clients=6),
    config=PATIENT,
    checkers=(
        OneOutcome(allowed=frozenset({"result", "CheckoutTimeout"}), at_least={"result": 1}),
        LabelledOutcome(label="last", outcomes=frozenset({"result"}), guarantees=("G3", "G9")),
        Deadlines(slack_s=1.0),
        StableWorkers(),
        *CORE,
    ),
    compare_answers=False,
)
