"""Scenarios that only the self-check needs: checks of answers and deadlines for each way of calling a pool.

Pure data. Every face can make these calls.
"""

from __future__ import annotations

import random

from poolproof.harness.checkers import CORE, Deadlines, LabelledOutcome, OneOutcome
from poolproof.harness.model.checker import Checker
from poolproof.harness.model.scenario import PATIENT, Scenario
from poolproof.harness.model.workload import Plan, Size, Step
from poolproof.harness.mutation.lifecycle_tests.probes import HOLD_S, LATE_S, LIMIT_S, OVERSTAY_S

ROUNDS = 3
LARGE_CHARACTERS = 6000
"""More than one write to a pipe takes at once (4,096 bytes)."""
ENDS_LATE: tuple[Checker, ...] = (
    LabelledOutcome(label="late", outcomes=frozenset({"CallTimeout"}), guarantees=("G3", "G11")),
    LabelledOutcome(label="after", outcomes=frozenset({"result"})),
    Deadlines(slack_s=LATE_S),
    *CORE,
)


def waiting_echoes(_: random.Random, size: Size) -> Plan:
    """More clients than workers make short calls, small echoes and large echoes, so that most calls have to wait."""
    nap = Step(command="sleep", args={"seconds": 0.01})
    echoes = tuple(Step(command="echo", args={"text": "x" * many}) for many in (1, LARGE_CHARACTERS))
    return ((nap, *echoes) * ROUNDS,) * size.clients


def session_echoes(_: random.Random, size: Size) -> Plan:
    """Each client makes echoes in its own session."""
    return tuple((Step(command="echo", session=f"s{client}"),) * 2 * ROUNDS for client in range(size.clients))


def parts_and_echoes(_: random.Random, size: Size) -> Plan:
    """Each client asks for answers in parts, with an echo after each."""
    steps = (Step(command="parts", args={"count": 3, "bytes": 10}), Step(command="echo"))
    return (steps * ROUNDS,) * size.clients


def late_in_session(_: random.Random, __: Size) -> Plan:
    """In a session the only worker takes much longer for a call than the call's timeout; another call follows."""
    late = Step(command="sleep", args={"seconds": OVERSTAY_S}, timeout_s=LIMIT_S, label="late", session="s")
    return ((Step(command="echo", session="s"), late, Step(command="echo", label="after")),)


def late_after_queue(_: random.Random, __: Size) -> Plan:
    """A call waits for the only worker; the worker then takes much longer for it than the call's timeout."""
    hold = Step(command="sleep", args={"seconds": HOLD_S}, label="hold")
    late = Step(
        command="sleep",
        args={"seconds": OVERSTAY_S},
        timeout_s=HOLD_S + LIMIT_S,
        label="late",
        after="hold:sent",
    )
    return ((hold,), (late, Step(command="echo", label="after")))


FACE_PROBES: tuple[Scenario, ...] = (
    Scenario(
        name="waiting_echoes",
        summary="each echo, small or large, most of them after a wait, is the answer to its own request",
        guarantees=("G1", "G4"),
        workload=waiting_echoes,
        commands=("sleep", "echo"),
        fixed_size=Size(workers=2, clients=5),
        config=PATIENT,
        checkers=(OneOutcome(), *CORE),
    ),
    Scenario(
        name="session_echoes",
        summary="each echo in a session is the answer to its own request",
        guarantees=("G1", "G4"),
        workload=session_echoes,
        fixed_size=Size(workers=2, clients=4),
        config=PATIENT,
        checkers=(OneOutcome(), *CORE),
    ),
    Scenario(
        name="parts_and_echoes",
        summary="answers that are sent in parts arrive complete and in order",
        guarantees=("G1", "G4"),
        workload=parts_and_echoes,
        commands=("parts", "echo"),
        fixed_size=Size(workers=2, clients=3),
        config=PATIENT,
        checkers=(OneOutcome(), *CORE),
    ),
    Scenario(
        name="late_in_session",
        summary="a session's call ends at its time limit, although its worker takes much longer",
        guarantees=("G11",),
        workload=late_in_session,
        commands=("sleep", "echo"),
        fixed_size=Size(workers=1, clients=1),
        config=PATIENT,
        checkers=ENDS_LATE,
    ),
    Scenario(
        name="late_after_queue",
        summary="a call that first had to wait ends at its time limit, although its worker takes much longer",
        guarantees=("G11",),
        workload=late_after_queue,
        commands=("sleep", "echo"),
        fixed_size=Size(workers=1, clients=2),
        config=PATIENT,
        checkers=ENDS_LATE,
    ),
)
