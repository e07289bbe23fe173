"""DSPy programs that call their model through litellm, which most providers need, not through DSPy's own client."""

from __future__ import annotations

import random

from poolproof.bridge import Capability
from poolproof.bridge.dspy.adapter import DSPY_PRELOAD
from poolproof.harness.checkers import CORE, LabelledOutcome, OneOutcome, Overlap, OwnModel
from poolproof.harness.fakes.models.service import ModelService
from poolproof.harness.model.scenario import IntendedDifference, Scenario
from poolproof.harness.model.workload import Plan, Size
from poolproof.harness.subjects.programs import DSPY_CONFIG, DSPY_PACKAGES, THOUGHT, configure, create, execute

CALLS = 6


def workload(_: random.Random, size: Size) -> Plan:
    """Each client makes calls in its own session, and then one call with a rate-limited model."""
    plan = []
    for client in range(size.clients):
        session = f"client-{client}"
        asked = [execute(session, {"question": f"{client}, {number}?"}) for number in range(size.count(CALLS))]
        opening = (configure(session, backend="litellm"), create(session, THOUGHT, "chain_of_thought"))
        limited = configure(session, "openai/fails-429", backend="litellm")
        plan.append((*opening, *asked, limited, execute(session, {"question": "again?"}, label="limited")))
    return tuple(plan)


SCENARIO = Scenario(
    name="dspy_litellm",
    summary="programs that call their models through litellm get the right answers",
    failures=("F1", "F3"),
    guarantees=("G3", "G10"),
    workload=workload,
    commands=("configure_lm", "create_program", "execute_program"),
    needs=frozenset({Capability.SESSIONS}),
    packages=DSPY_PACKAGES,
    models=ModelService(latency_s=0.1),
    config=DSPY_CONFIG,
    config_of={"v2": {"preload": (*DSPY_PRELOAD, "litellm")}},
    fixed_size=Size(workers=2, clients=2),
    budget_s=180.0,
    checkers=(
        OneOutcome(allowed=frozenset({"result", "CommandError"})),
        LabelledOutcome(label="limited", outcomes=frozenset({"CommandError"})),
        Overlap(),
        OwnModel(),
        *CORE,
    ),
    intended_differences=(
        IntendedDifference(
            pool="v1",
            checker="overlap",
            reason="all of v1's I/O goes through one manager, so never more than one worker is at work",
        ),
    ),
)
