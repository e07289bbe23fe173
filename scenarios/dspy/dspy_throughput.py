"""The purpose of the migration, with real programs: 8 workers wait for a model's 200 ms answers at the same time."""

from __future__ import annotations

import random

from poolproof.bridge import Capability
from poolproof.harness.checkers import CORE, OneOutcome, Overlap, OwnModel, StableWorkers
from poolproof.harness.fakes.models.service import ModelService
from poolproof.harness.model.intended import BASELINE
from poolproof.harness.model.scenario import IntendedDifference, Scenario
from poolproof.harness.model.workload import Plan, Size
from poolproof.harness.subjects.programs import (
    DSPY_CONFIG,
    DSPY_CONFIG_OF,
    DSPY_PACKAGES,
    THOUGHT,
    configure,
    create,
    delete,
    execute,
)

ANSWER_S = 0.2
CALLS = 12


def workload(_: random.Random, size: Size) -> Plan:
    """Each client has its own session, runs its program and deletes it, so that a block can be repeated."""
    plan = []
    for client in range(size.clients):
        session = f"client-{client}"
        asked = tuple(
            execute(session, {"question": f"what is {client} and {number}?"}) for number in range(size.count(CALLS))
        )
        plan.append((configure(session), create(session, THOUGHT, "chain_of_thought"), *asked, delete(session)))
    return tuple(plan)


SCENARIO = Scenario(
    name="dspy_throughput",
    summary="chains of thought over a model that takes 200 ms run on all workers at the same time",
    failures=("F1",),
    guarantees=("G10",),
    workload=workload,
    commands=("configure_lm", "create_program", "delete_program", "execute_program"),
    needs=frozenset({Capability.SESSIONS}),
    packages=DSPY_PACKAGES,
    models=ModelService(latency_s=ANSWER_S),
    config=DSPY_CONFIG,
    config_of=DSPY_CONFIG_OF,
    fixed_size=Size(workers=8, clients=8),
    budget_s=180.0,
    timed=True,
    checkers=(OneOutcome(), Overlap(), StableWorkers(), OwnModel(), *CORE),
    intended_differences=(
        IntendedDifference(
            pool=BASELINE,
            checker="overlap",
            reason="all I/O of a serial pool goes through one manager, so never more than one worker is at work",
        ),
    ),
)
