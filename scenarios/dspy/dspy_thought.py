"""Chains of thought and agents in sessions with different models: each session is answered by its own model."""

from __future__ import annotations

import random
from typing import Any

from poolproof.bridge import Capability
from poolproof.harness.checkers import CORE, OneOutcome, OwnModel
from poolproof.harness.fakes.models.service import ModelService
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.workload import Plan, Size
from poolproof.harness.subjects.programs import (
    DSPY_CONFIG,
    DSPY_CONFIG_OF,
    DSPY_PACKAGES,
    MODEL,
    OTHER_MODEL,
    THOUGHT,
    configure,
    create,
    execute,
)

CALLS = 8
TOOL = "os.path:basename"
KINDS = ("predict", "chain_of_thought", "react")
MODELS = (MODEL, OTHER_MODEL)
SESSIONS = tuple((kind, model) for kind in KINDS for model in MODELS)


def workload(choice: random.Random, size: Size) -> Plan:
    """All sessions get the same questions, each in its own order; there are more sessions than workers."""
    plan = []
    questions = [f"question {number}: why?" for number in range(size.count(CALLS))]
    for kind, model in SESSIONS:
        session = f"{kind}-{MODELS.index(model)}"
        options: dict[str, Any] = {"tools": [TOOL], "max_iters": 3} if kind == "react" else {}
        opening = (configure(session, model), create(session, THOUGHT, kind, **options))
        order = choice.sample(questions, len(questions))
        plan.append((*opening, *(execute(session, {"question": question}) for question in order)))
    return tuple(plan)


SCENARIO = Scenario(
    name="dspy_thought",
    summary="predictions, chains of thought and agents are answered by the model that their session has configured",
    failures=("F14",),
    guarantees=("G1", "G17"),
    workload=workload,
    commands=("configure_lm", "create_program", "execute_program"),
    needs=frozenset({Capability.SESSIONS}),
    packages=DSPY_PACKAGES,
    models=ModelService(latency_s=0.03, sigma=0.8),
    config=DSPY_CONFIG,
    config_of=DSPY_CONFIG_OF,
    fixed_size=Size(workers=2, clients=len(SESSIONS)),
    budget_s=120.0,
    checkers=(OneOutcome(), OwnModel(), *CORE),
)
