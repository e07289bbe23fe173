"""A RAG-like workload: long prompts, log-normal latencies, and a few sessions with most of the calls."""

from __future__ import annotations

import random

from poolproof.bridge import Capability
from poolproof.harness.checkers import CORE, OneOutcome, OwnModel
from poolproof.harness.fakes.models.service import ModelService
from poolproof.harness.model.composition import sessions
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.workload import Plan, Size, Step
from poolproof.harness.subjects.programs import DSPY_CONFIG, DSPY_CONFIG_OF, DSPY_PACKAGES, RETRIEVAL, configure, create

CALLS = 10
SESSIONS = 3
SKEW = 1.2
PASSAGES = 5
WORDS = 40
CORPUS = tuple(
    f"passage {number}: " + " ".join(f"word{number * WORDS + k}" for k in range(WORDS)) for number in range(50)
)


def workload(choice: random.Random, size: Size) -> Plan:
    """Every client has its own sessions, so that the calls of each session have one order."""
    plan: Plan = ()
    for client in range(size.clients):
        names = [f"of-{client}-{rank}" for rank in range(SESSIONS)]
        opening = [step for name in names for step in (configure(name), create(name, RETRIEVAL))]
        placed = sessions(_asked, count=SESSIONS, skew=SKEW, name=f"of-{client}")
        plan += ((*opening, *placed(choice, size)[0]),)
    return plan


def _asked(choice: random.Random, size: Size) -> Plan:
    steps = []
    for number in range(size.count(CALLS)):
        passages = choice.sample(CORPUS, PASSAGES)
        inputs = {"question": f"question {number}: what do these say?", "passages": passages}
        steps.append(Step(command="execute_program", args={"program_id": "p", "inputs": inputs}))
    return (tuple(steps),)


SCENARIO = Scenario(
    name="dspy_retrieval",
    summary="a RAG-like workload, with log-normal latencies and most calls in a few sessions, gets the same "
    "answers from both pools",
    failures=("F14",),
    guarantees=("G3", "G17"),
    workload=workload,
    commands=("configure_lm", "create_program", "execute_program"),
    needs=frozenset({Capability.SESSIONS}),
    packages=DSPY_PACKAGES,
    models=ModelService(latency_s=0.06, sigma=0.6),
    config=DSPY_CONFIG,
    config_of=DSPY_CONFIG_OF,
    fixed_size=Size(workers=3, clients=6),
    budget_s=120.0,
    checkers=(OneOutcome(), OwnModel(), *CORE),
)
