"""A wrong program or a failing model is an error that names the cause, the same error on both pools."""

from __future__ import annotations

import random

import msgspec

from poolproof.bridge import Capability
from poolproof.harness.checkers import CORE, LabelledOutcome, OneOutcome, StableWorkers
from poolproof.harness.fakes.models.service import ModelService
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.workload import Plan, Size, Step
from poolproof.harness.subjects.programs import (
    ANSWER,
    DSPY_CONFIG,
    DSPY_CONFIG_OF,
    DSPY_PACKAGES,
    configure,
    create,
    execute,
)

FAILING = ("fails-429", "fails-500", "fails-401", "hangs-up")
IMPATIENT_S = 1.0


def workload(_: random.Random, __: Size) -> Plan:
    """One client makes every mistake, another meets every failure of a provider; each then makes a right call."""
    asked = {"question": "why?"}
    mistakes: list[Step] = [
        create("mistakes", ANSWER),
        execute("mistakes", asked, label="error"),  # no model is configured
        configure("mistakes"),
        execute("mistakes", asked, program="q", label="error"),
        execute("mistakes", {"query": "why?"}, label="error"),
        create("mistakes", "question: Nothing -> answer", program="q"),
        create("mistakes", ANSWER, "guess", program="q"),
        configure("mistakes", "nothing"),
        execute("mistakes", asked, label="right"),
    ]
    mistakes = [
        msgspec.structs.replace(step, label="error") if number in (5, 6, 7) else step
        for number, step in enumerate(mistakes)
    ]
    failures: list[Step] = [create("failures", ANSWER)]
    for model in FAILING:
        failures += [configure("failures", f"openai/{model}"), execute("failures", asked, label="error")]
    failures += [
        configure("failures", "openai/hangs", timeout_s=IMPATIENT_S),
        execute("failures", asked, label="error"),
    ]
    failures += [configure("failures"), execute("failures", asked, label="right")]
    return (tuple(mistakes), tuple(failures))


SCENARIO = Scenario(
    name="dspy_errors",
    summary="an unknown program, a missing input, a missing model or a failing provider is an error that names "
    "the cause",
    failures=("F18", "F20"),
    guarantees=("G3", "G5"),
    workload=workload,
    commands=("configure_lm", "create_program", "execute_program"),
    needs=frozenset({Capability.SESSIONS}),
    packages=DSPY_PACKAGES,
    models=ModelService(),
    config=DSPY_CONFIG,
    config_of=DSPY_CONFIG_OF,
    fixed_size=Size(workers=2, clients=2),
    budget_s=90.0,
    checkers=(
        OneOutcome(allowed=frozenset({"result", "CommandError"})),
        LabelledOutcome(label="error", outcomes=frozenset({"CommandError"})),
        LabelledOutcome(label="right", outcomes=frozenset({"result"})),
        StableWorkers(),
        *CORE,
    ),
)
