"""Steps of workloads that run programs: configure, create, execute and delete, and what a pool needs for DSPy.

Pure. It knows neither the pool nor the address of the model server.
"""

from __future__ import annotations

from typing import Any

from poolproof.bridge.dspy.adapter import DSPY_ENVIRONMENT, DSPY_PRELOAD
from poolproof.harness.fakes.models.service import BY_ENVIRONMENT
from poolproof.harness.model.workload import Step

MODEL = "openai/gpt-4o-mini"
OTHER_MODEL = "openai/gpt-4o"
"""Names of real models: DSPy looks up a model's price after each answer, and is slow if it does not know the model."""
DSPY_CONFIG: dict[str, Any] = {
    "env": DSPY_ENVIRONMENT,
    "start_timeout_s": 60.0,
    "call_timeout_s": 90.0,
    "checkout_timeout_s": 90.0,
}
"""Importing DSPy is part of a worker's start, and in a serial pool a call waits for the starts of other workers."""
DSPY_CONFIG_OF: dict[str, dict[str, Any]] = {"v2": {"preload": DSPY_PRELOAD}}
DSPY_PACKAGES = ("dspy",)
ANSWER = "question -> answer"
THOUGHT = {
    "inputs": [{"name": "question", "type": "str", "description": "what somebody wants to know"}],
    "outputs": [{"name": "answer", "type": "str"}, {"name": "confidence", "type": "float"}],
    "instructions": "Answer the question, and say how sure you are.",
}
RETRIEVAL = {
    "inputs": [
        {"name": "passages", "type": "list[str]", "description": "what was found"},
        {"name": "question", "type": "str"},
    ],
    "outputs": [
        {"name": "answer", "type": "str", "description": "from the passages alone"},
        {"name": "sources", "type": "list[int]", "description": "numbers of the passages"},
    ],
    "instructions": "Answer the question from the passages.",
}


def configure(session: str, model: str = MODEL, **options: Any) -> Step:  # noqa: ANN401 - any JSON
    """Make a step that sets the session's model. Failed requests are not retried, so that every failure is seen."""
    args = {"model": model, **BY_ENVIRONMENT, "num_retries": 0, "temperature": 0.0, **options}
    return Step(command="configure_lm", args=args, session=session)


def create(
    session: str,
    signature: str | dict[str, Any] = ANSWER,
    kind: str = "predict",
    program: str = "p",
    **options: Any,  # noqa: ANN401
) -> Step:
    """Make a step that creates a program in the session."""
    args = {"id": program, "signature": signature, "program_type": kind, **options}
    return Step(command="create_program", args=args, session=session)


def execute(session: str, inputs: dict[str, Any], *, program: str = "p", **fields: Any) -> Step:  # noqa: ANN401
    """Make a step that runs a program of the session; `fields` are further fields of Step."""
    args = {"program_id": program, "inputs": inputs}
    return Step(command="execute_program", args=args, session=session, **fields)


def delete(session: str, program: str = "p") -> Step:
    """Make a step that deletes a program of the session, so that the same steps can be repeated."""
    return Step(command="delete_program", args={"program_id": program}, session=session)
