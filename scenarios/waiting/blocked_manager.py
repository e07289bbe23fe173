"""F1: while one call takes a second, a ping on the same pool must not wait for it."""

from __future__ import annotations

import random

from poolproof.harness.checkers import CORE, Independence, OneOutcome, Prompt, WorkConserving
from poolproof.harness.model.intended import BASELINE
from poolproof.harness.model.scenario import PATIENT, IntendedDifference, Scenario
from poolproof.harness.model.workload import Plan, Size, Step

HOLD_S = 1.0
PING_WITHIN_S = IDLE_S = 0.75
"""The longest allowed ping, and wait beside an idle worker, on a machine that is busy with other work."""
V1_REASON = (
    "a serial pool's manager blocks on the first call's response, so every other call waits for that response "
    "although workers are idle"
)


def workload(_: random.Random, size: Size) -> Plan:
    """One client holds a worker; the others ping once that call has been sent."""
    hold = Step(command="sleep", args={"seconds": HOLD_S}, label="hold")
    ping = Step(command="ping", after="hold:sent", label="ping")
    return ((hold,), *((ping,) for _ in range(max(1, size.workers - 1))))


SCENARIO = Scenario(
    name="blocked_manager",
    summary="one call that takes long does not make other calls wait",
    failures=("F1",),
    guarantees=("G6", "G10"),
    workload=workload,
    commands=("sleep", "ping"),
    config=PATIENT,
    checkers=(
        OneOutcome(),
        Prompt(label="ping", within_s=PING_WITHIN_S),
        WorkConserving(epsilon_s=IDLE_S),
        Independence(epsilon_s=IDLE_S),
        *CORE,
    ),
    intended_differences=(
        IntendedDifference(pool=BASELINE, checker="prompt:ping", reason=V1_REASON),
        IntendedDifference(pool=BASELINE, checker="work_conserving", reason=V1_REASON),
        IntendedDifference(pool=BASELINE, checker="independence", reason=V1_REASON),
    ),
)
