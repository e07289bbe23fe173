"""F14: if a session's worker dies, its next call finds its state on another worker, or fails with the loss as error."""

from __future__ import annotations

import random

from poolproof.bridge import Capability
from poolproof.harness.checkers import CORE, FaultLanded, LabelledOutcome, OneOutcome, SessionCounters, Sessions
from poolproof.harness.model.fault import Fault, FaultKind
from poolproof.harness.model.scenario import PATIENT, IntendedDifference, Scenario
from poolproof.harness.model.workload import Plan, Size, Step

SESSION = "program-session"
V1_REASON = "v1 keeps a session's state in one worker's memory, so the state is lost when that worker dies"


def workload(_: random.Random, __: Size) -> Plan:
    """Create a program and a value, lose the worker in the middle of a call, then use the program and the value."""
    signature = {"inputs": [{"name": "question"}], "outputs": [{"name": "answer"}]}
    steps = (
        Step(command="create_program", args={"id": "p", "signature": signature}, session=SESSION),
        Step(command="put", args={"key": "k", "value": "kept"}, session=SESSION),
        Step(command="sleep", args={"seconds": 0.5}, session=SESSION, label="victim"),
        Step(
            command="execute_program",
            args={"program_id": "p", "inputs": {"question": "why"}},
            session=SESSION,
            label="execute",
        ),
        Step(command="get", args={"key": "k"}, session=SESSION, label="get"),
    )
    return (steps,)


SCENARIO = Scenario(
    name="session_handover",
    summary="a session survives the death of its worker",
    failures=("F14",),
    guarantees=("G17", "G18"),
    workload=workload,
    commands=("create_program", "execute_program", "put", "get", "sleep"),
    needs=frozenset({Capability.SESSIONS, Capability.KILL}),
    faults=(Fault(kind=FaultKind.KILL, when="victim:sent"),),
    fixed_size=Size(workers=2, clients=1),
    config=PATIENT,
    checkers=(
        OneOutcome(allowed=frozenset({"result", "WorkerCrashed", "CommandError"}), at_most={"WorkerCrashed": 1}),
        LabelledOutcome(label="victim", outcomes=frozenset({"WorkerCrashed"})),
        LabelledOutcome(label="execute", outcomes=frozenset({"result"})),
        LabelledOutcome(label="get", outcomes=frozenset({"result"})),
        FaultLanded(kinds=(FaultKind.KILL,)),
        Sessions(),
        SessionCounters(),
        *CORE,
    ),
    intended_differences=(
        IntendedDifference(pool="v1", checker="outcome:execute", reason=V1_REASON),
        IntendedDifference(pool="v1", checker="sessions", reason=V1_REASON),
        IntendedDifference(pool="v1", checker="answers", label="execute", reason=V1_REASON),
        IntendedDifference(pool="v1", checker="answers", label="get", reason=V1_REASON),
    ),
)
