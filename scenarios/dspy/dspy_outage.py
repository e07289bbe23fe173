"""A temporary outage of the provider fails the calls that it hits, but no worker and not the pool."""

from __future__ import annotations

import random

from poolproof.bridge import Capability
from poolproof.harness.checkers import CORE, FaultLanded, LabelledOutcome, OneOutcome, StableWorkers
from poolproof.harness.fakes.models.service import ModelService, Outage
from poolproof.harness.history.history import Op
from poolproof.harness.model.fault import Fault, FaultKind
from poolproof.harness.model.intended import Comparing
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.workload import Plan, Size
from poolproof.harness.subjects.programs import (
    ANSWER,
    DSPY_CONFIG,
    DSPY_CONFIG_OF,
    DSPY_PACKAGES,
    configure,
    create,
    execute,
)

OUTAGE_S = 1.0
AFTER_S = 2.0
CALLS = 10


def workload(_: random.Random, size: Size) -> Plan:
    """Each client makes a call before the outage, some that it may hit, and one after its end."""
    plan = []
    for client in range(size.clients):
        session = f"client-{client}"
        label = "before" if client == 0 else ""
        asked = [execute(session, {"question": f"{client}, {number}?"}, pause_s=0.05) for number in range(CALLS)]
        plan.append(
            (
                configure(session),
                create(session, ANSWER),
                execute(session, {"question": f"{client}, before?"}, label=label),
                *asked,
                execute(
                    session,
                    {"question": f"{client}, after?"},
                    label="after",
                    after=f"{FaultKind.MODEL_OUTAGE}:landed",
                    pause_s=AFTER_S,
                ),
            )
        )
    return tuple(plan)


def met_outage(one: Op, other: Op) -> bool:
    """The outage hits other calls on a faster pool, so a call that failed on either pool is not compared."""
    return "CommandError" in (one.outcome, other.outcome)


SCENARIO = Scenario(
    name="dspy_outage",
    summary="an outage of the model's provider fails the calls made during it, but costs no worker and no session",
    failures=("F18",),
    guarantees=("G3", "G5"),
    workload=workload,
    commands=("configure_lm", "create_program", "execute_program"),
    needs=frozenset({Capability.SESSIONS}),
    packages=DSPY_PACKAGES,
    models=ModelService(latency_s=0.02),
    config=DSPY_CONFIG,
    config_of=DSPY_CONFIG_OF,
    faults=(Fault(kind=FaultKind.MODEL_OUTAGE, when="before:done", for_s=OUTAGE_S, outage=Outage.UNAVAILABLE),),
    fixed_size=Size(workers=2, clients=3),
    budget_s=90.0,
    comparing=Comparing(ignore=met_outage),
    checkers=(
        OneOutcome(allowed=frozenset({"result", "CommandError"})),
        LabelledOutcome(label="after", outcomes=frozenset({"result"})),
        FaultLanded(kinds=(FaultKind.MODEL_OUTAGE,)),
        StableWorkers(),
        *CORE,
    ),
)
