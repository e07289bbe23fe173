"""F14 with real programs: 20 workers are killed in the middle of an execution, and every session survives."""

from __future__ import annotations

import random

import msgspec

from poolproof.bridge import Capability
from poolproof.harness.checkers import CORE, FaultLanded, LabelledOutcome, OneOutcome, OwnModel
from poolproof.harness.fakes.models.service import ModelService
from poolproof.harness.history.history import Op
from poolproof.harness.model.fault import Fault, FaultKind
from poolproof.harness.model.intended import Comparing
from poolproof.harness.model.scenario import IntendedDifference, Scenario
from poolproof.harness.model.workload import Plan, Size, Step
from poolproof.harness.subjects.programs import (
    DSPY_CONFIG,
    DSPY_CONFIG_OF,
    DSPY_PACKAGES,
    THOUGHT,
    configure,
    create,
    execute,
)

KILLS = 20
CLIENTS = 8
ANSWER_S = 0.4
V1_REASON = "v1 keeps a session's programs and model in one worker's memory, so they are lost when that worker dies"
LOSES = frozenset({"result", "WorkerCrashed", "CommandError"})


def workload(_: random.Random, __: Size) -> Plan:
    """Each session in turn loses its worker, and then repeats an earlier call."""
    plan = []
    for client in range(CLIENTS):
        session = f"session-{client}"
        steps: list[Step] = [
            configure(session),
            create(session, THOUGHT, "chain_of_thought"),
            execute(session, {"question": f"session {client}, before?"}),
        ]
        for victim in range(client, KILLS, CLIENTS):
            lost = execute(session, {"question": f"session {client}, lost {victim}?"}, label=f"victim-{victim}")
            alive = execute(session, {"question": f"session {client}, before?"}, label="alive")
            # If the pool lost the session, these steps rebuild it; if not, the program exists already.
            again = msgspec.structs.replace(create(session, THOUGHT, "chain_of_thought"), label="again")
            steps += [configure(session), again, lost, alive]
        plan.append(tuple(steps))
    return tuple(plan)


def of_victim(one: Op, _: Op) -> bool:
    """Whether the call's session lost its worker. On v1 sessions share workers, so the answers may differ."""
    return one.label.startswith("victim-")


SCENARIO = Scenario(
    name="dspy_kills",
    summary="every session of DSPy programs still works after 20 workers were killed",
    failures=("F14",),
    guarantees=("G17", "G18"),
    workload=workload,
    commands=("configure_lm", "create_program", "execute_program"),
    needs=frozenset({Capability.SESSIONS, Capability.KILL}),
    packages=DSPY_PACKAGES,
    models=ModelService(latency_s=ANSWER_S),
    config=DSPY_CONFIG,
    config_of=DSPY_CONFIG_OF,
    faults=tuple(Fault(kind=FaultKind.KILL, when=f"victim-{number}:sent") for number in range(KILLS)),
    fixed_size=Size(workers=8, clients=CLIENTS),
    budget_s=300.0,
    comparing=Comparing(ignore=of_victim),
    checkers=(
        OneOutcome(allowed=LOSES, at_most={"WorkerCrashed": KILLS}),
        LabelledOutcome(label="alive", outcomes=frozenset({"result"})),
        FaultLanded(kinds=(FaultKind.KILL,)),
        OwnModel(),
        *CORE,
    ),
    intended_differences=(
        IntendedDifference(pool="v1", checker="outcome:alive", reason=V1_REASON),
        IntendedDifference(pool="v1", checker="answers", label="alive", reason=V1_REASON),
        IntendedDifference(pool="v1", checker="answers", label="again", reason=V1_REASON),
    ),
)
