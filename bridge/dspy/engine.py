"""Runs real DSPy programs (`pip install 'poolproof[dspy]'`), each with the model of its own session.

Nothing is configured for the whole process: two sessions with two models may share a worker. Importing this file
imports DSPy and what its first call needs, and starts no thread, so that a zygote can do it for all workers.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
from typing import Any

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # otherwise the import of litellm accesses the network

import dspy
from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, to_jsonable_python

from poolproof.bridge.dspy.models import configure, make_model
from poolproof.bridge.redaction import hide, secrets_in, secrets_of
from poolproof.bridge.worker.handlers.context import HandlerError, Program, Session

REHEARSED = "openai/gpt-4o-mini"
MOST_ITERATIONS = 1000
DEFAULT_ITERATIONS = 20
LONGEST_REASON = 500
"""How many characters of a provider's error are part of the worker's error."""
ADAPTERS = {"chat": "ChatAdapter", "json": "JSONAdapter", "xml": "XMLAdapter"}


class DspyEngine:
    """DSPy's Predict, ChainOfThought and ReAct. The built objects are kept in the session's `made`."""

    name = "dspy"

    def configure(self, args: dict[str, Any]) -> dict[str, Any]:
        """Return the model as JSON; docs/how-to/dspy.md lists its options."""
        return configure(args)

    def make(self, session: Session, program: Program) -> None:
        """Build the program now, so that an unknown type or tool is found before its first execution."""
        session.made[f"program {program.program_id}"] = _build(program)

    def run(self, session: Session, program: Program, inputs: dict[str, Any]) -> dict[str, Any]:
        """Return every output of the prediction, and a chain's `reasoning` or a ReAct's `trajectory`."""
        if not session.model:
            raise HandlerError(
                f"program {program.program_id!r}: no model is configured in this session; call configure_lm first"
            )
        secrets = secrets_in(session.model) | secrets_of(os.environ)
        module = _kept(session, f"program {program.program_id}", lambda: _build(program))
        checked = {name: _input(module, program, name, inputs[name]) for name in program.inputs}
        try:
            model = _kept(session, "model", lambda: make_model(session.model))
            adapter = _kept(session, "adapter", lambda: _adapter(session.model))
            with dspy.context(lm=model, adapter=adapter, disable_history=True, trace=[]):
                prediction = module(**checked)
        except HandlerError as error:
            raise HandlerError(hide(str(error), secrets)) from None
        except Exception as error:
            raise HandlerError(hide(_failure(program, session.model, error), secrets)) from None
        return {name: _as_json(program, name, value) for name, value in prediction.items()}


def _kept(session: Session, name: str, make: Any) -> Any:  # noqa: ANN401 - DSPy's objects
    if name not in session.made:
        session.made[name] = make()
    return session.made[name]


def _adapter(model: dict[str, Any]) -> Any:  # noqa: ANN401
    return getattr(dspy, ADAPTERS[model.get("adapter", "chat")])()


def _build(program: Program) -> Any:  # noqa: ANN401
    signature = _signature(program)
    try:
        match program.program_type:
            case "chain_of_thought":
                return dspy.ChainOfThought(signature)
            case "react":
                return _react(program, signature)
            case _:
                return dspy.Predict(signature)
    except HandlerError:
        raise
    except Exception as error:
        raise HandlerError(f"program {program.program_id!r} cannot be made: {_tell(error)}") from error


def _signature(program: Program) -> Any:  # noqa: ANN401
    details = program.details
    fields = [*details["inputs"], *details["outputs"]]
    sides = (", ".join(f"{f['name']}: {f['type']}" for f in details[side]) for side in ("inputs", "outputs"))
    try:
        signature = dspy.Signature(" -> ".join(sides), details["instructions"] or None)
        for field in fields:
            if field["description"]:
                signature = signature.with_updated_fields(field["name"], desc=field["description"])
    except Exception as error:
        for field in fields:
            _parsed(program, f"{field['name']}: {field['type']} -> any_output", field)
        raise HandlerError(f"argument 'signature' of program {program.program_id!r}: {_tell(error)}") from error
    return signature


def _parsed(program: Program, text: str, field: dict[str, Any]) -> None:
    # Convert each field separately, so that an error can name the wrong field.
    try:
        dspy.Signature(text)
    except Exception as error:
        raise HandlerError(
            f"argument 'signature' of program {program.program_id!r}: the field {field['name']!r} of the type "
            f"{field['type']!r}: {_tell(error)}"
        ) from error


def _react(program: Program, signature: Any) -> Any:  # noqa: ANN401
    names = program.options.get("tools", [])
    most = program.options.get("max_iters", DEFAULT_ITERATIONS)
    if isinstance(most, bool) or not isinstance(most, int) or not 1 <= most <= MOST_ITERATIONS:
        raise HandlerError(f"argument 'max_iters': must be a whole number from 1 to {MOST_ITERATIONS}, not {most!r}")
    if not isinstance(names, list):
        raise HandlerError(f"argument 'tools': a list of package.module:function is needed, not {names!r}")
    return dspy.ReAct(signature, tools=[_tool(name) for name in names], max_iters=most)


def _tool(name: object) -> Any:  # noqa: ANN401
    # The sender of commands has started this worker, so it may name any function that the worker can import.
    module_name, _, path = name.partition(":") if isinstance(name, str) else ("", "", "")
    if not module_name or not path:
        raise HandlerError(f"argument 'tools': package.module:function is needed, not {name!r}")
    try:
        found: Any = importlib.import_module(module_name)
        for part in path.split("."):
            found = getattr(found, part)
    except Exception as error:
        raise HandlerError(f"argument 'tools': {name!r} cannot be imported: {_tell(error)}") from error
    if not callable(found):
        raise HandlerError(f"argument 'tools': {name!r} is not a function")
    return found


def _input(module: Any, program: Program, name: str, value: Any) -> Any:  # noqa: ANN401
    signature = getattr(module, "signature", None) or module.predict.signature
    kind = signature.input_fields[name].annotation
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        reason = error.errors(include_url=False)[0]["msg"]
        raise HandlerError(f"program {program.program_id!r}: the input {name!r}: {reason}") from None


def _as_json(program: Program, name: str, value: Any) -> Any:  # noqa: ANN401
    try:
        return to_jsonable_python(value)
    except PydanticSerializationError as error:
        raise HandlerError(f"program {program.program_id!r}: the output {name!r} is not JSON: {_tell(error)}") from None


def _failure(program: Program, model: dict[str, Any], error: Exception) -> str:
    # Describes the failure in one line: the model's provider, or the program's own code.
    name, whole = model["model"], type(error).__mro__
    told = _tell(error)
    if any(kind.__name__ == "AdapterParseError" for kind in whole):
        return f"program {program.program_id!r}: the model {name!r} gave an answer that cannot be read: {told}"
    if any(kind.__name__ in ("LMError", "APIError", "APIConnectionError", "OpenAIError") for kind in whole):
        return f"program {program.program_id!r}: the model {name!r} failed: {told}"
    return f"program {program.program_id!r} failed: {told}"


def _tell(error: Exception) -> str:
    text = " ".join(str(error).partition("\nTo fix:")[0].split())
    if len(text) > LONGEST_REASON:
        text = text[: LONGEST_REASON - 1] + "…"
    return f"{type(error).__name__}: {text}"


def _rehearse() -> None:
    # Does once, in the zygote, what DSPy imports and reads at a first call. Contacts no host and starts no thread.
    program = Program("rehearsal", "chain_of_thought", ["question"], ["answer"])
    program.details = {
        "inputs": [{"name": "question", "type": "str", "description": ""}],
        "outputs": [{"name": "answer", "type": "int", "description": ""}],
        "instructions": "",
    }
    session = Session()
    answer = {"reasoning": "none", "answer": 1}
    session.model = configure({"model": "dummy", "provider": "dummy", "answers": {"rehearse": answer}})
    engine = DspyEngine()
    engine.run(session, program, {"question": "rehearse"})
    # Runs the code up to the provider, against a port on which no server listens.
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{deaf.getsockname()[1]}/v1"
        session = Session()
        session.model = {"model": REHEARSED, "provider": "openai", "temperature": 0.0, "num_retries": 0}
        session.model |= {"api_base": address, "api_key": "none"}
        with contextlib.suppress(HandlerError):
            engine.run(session, program, {"question": "rehearse"})
    with contextlib.suppress(ImportError, AttributeError):  # DSPy's table of prices, if it has one
        importlib.import_module("dspy.clients.model_metadata").source_info()


_rehearse()
