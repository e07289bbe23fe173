"""Steps of workloads that run programs: how a session is opened, asked and closed, and what a pool needs for DSPy.

Pure. It refuses to know which pool runs them and where the model is.
"""

from __future__ import annotations

from typing import Any

from poolproof.bridge.dspy.adapter import DSPY_ENVIRONMENT, DSPY_PRELOAD
from poolproof.harness.fakes.models.service import BY_ENVIRONMENT
from poolproof.harness.model.workload import Step

MODEL = "openai/gpt-4o-mini"
OTHER_MODEL = "openai/gpt-4o"
"""Names that there are: DSPy looks the price of a model up after each answer, and searches long for one unknown."""
DSPY_CONFIG: dict[str, Any] = {
    "env": DSPY_ENVIRONMENT,
    "start_timeout_s": 60.0,
    "call_timeout_s": 90.0,
    "checkout_timeout_s": 90.0,
}
"""Importing DSPy is a part of a worker's start, and in a serial pool a call waits for the starts of others."""
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
    """Set the session's model; a failed request is not tried again, so that every failure is seen."""
    args = {"model": model, **BY_ENVIRONMENT, "num_retries": 0, "temperature": 0.0, **options}
    return Step(command="configure_lm", args=args, session=session)


def create(
    session: str,
    signature: str | dict[str, Any] = ANSWER,
    kind: str = "predict",
    program: str = "p",
    **options: Any,  # noqa: ANN401
) -> Step:
    """Create a program in the session."""
    args = {"id": program, "signature": signature, "program_type": kind, **options}
    return Step(command="create_program", args=args, session=session)


def execute(session: str, inputs: dict[str, Any], *, program: str = "p", **fields: Any) -> Step:  # noqa: ANN401
    """Run a program of the session; `fields` are further fields of Step."""
    args = {"program_id": program, "inputs": inputs}
    return Step(command="execute_program", args=args, session=session, **fields)


def delete(session: str, program: str = "p") -> Step:
    """Delete a program of the session, so that the same steps can be made again."""
    return Step(command="delete_program", args={"program_id": program}, session=session)
