"""The legacy program commands over template programs, whose outputs follow from their inputs alone.

No language model is asked: the same program with the same inputs gives the same outputs on every worker.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from bridge.handlers.context import Context, HandlerError, Program, number, text, with_nonce

PROGRAM_TYPES = ("predict", "chain_of_thought", "react")
HOTTEST = 2.0


def configure_lm(context: Context, args: dict[str, Any]) -> Any:  # noqa: ANN401
    """Name the session's model; nothing is loaded."""
    model = text(args, "model")
    temperature = number(args, "temperature", most=HOTTEST, default=0.7)
    session = context.session(args)
    session.model = {"model": model, "provider": str(args.get("provider", "none")), "temperature": temperature}
    return with_nonce(args, status="configured", **session.model)


def create_program(context: Context, args: dict[str, Any]) -> Any:  # noqa: ANN401
    """Create the program `id` with `signature` {inputs, outputs} of a `program_type`."""
    name = text(args, "id")
    kind = args.get("program_type", "predict")
    if kind not in PROGRAM_TYPES:
        raise HandlerError(f"argument 'program_type': one of {', '.join(PROGRAM_TYPES)}, not {kind!r}")
    signature = args.get("signature")
    if not isinstance(signature, dict):
        raise HandlerError(f"argument 'signature': inputs and outputs are needed, not {signature!r}")
    programs = context.session(args).programs
    if name in programs:
        raise HandlerError(f"program {name!r} exists already")
    program = Program(name, kind, _fields(signature, "inputs"), _fields(signature, "outputs"))
    programs[name] = program
    return with_nonce(args, program_id=name, status="created", signature=_signature(program), program_type=kind)


def execute_program(context: Context, args: dict[str, Any]) -> Any:  # noqa: ANN401
    """Run the program `program_id` on `inputs`; `execution_time` is in seconds."""
    began_s = time.monotonic()
    program = _find(context, args)
    inputs = args.get("inputs")
    if not isinstance(inputs, dict):
        raise HandlerError(f"argument 'inputs': an object is needed, not {inputs!r}")
    missing = [name for name in program.inputs if name not in inputs]
    if missing:
        raise HandlerError(f"program {program.program_id!r} needs the input {missing[0]!r}")
    told = ", ".join(f"{name}={inputs[name]}" for name in program.inputs)
    outputs = {name: f"{name} of {told}" for name in program.outputs}
    if program.program_type == "chain_of_thought":
        outputs = {"reasoning": f"from {told}", **outputs}
    program.execution_count += 1
    program.last_executed = time.time()
    return with_nonce(args, program_id=program.program_id, outputs=outputs, execution_time=time.monotonic() - began_s)


def list_programs(context: Context, args: dict[str, Any]) -> Any:  # noqa: ANN401
    """The session's programs, sorted by id."""
    names = sorted(context.session(args).programs)
    return with_nonce(args, programs=names, total_count=len(names))


def delete_program(context: Context, args: dict[str, Any]) -> Any:  # noqa: ANN401
    """Delete the program `program_id`."""
    program = _find(context, args)
    del context.session(args).programs[program.program_id]
    return with_nonce(args, program_id=program.program_id, status="deleted")


def get_program_info(context: Context, args: dict[str, Any]) -> Any:  # noqa: ANN401
    """What is known of the program `program_id`."""
    program = _find(context, args)
    return with_nonce(
        args,
        program_id=program.program_id,
        signature=_signature(program),
        created_at=_iso(program.created_at),
        execution_count=program.execution_count,
        last_executed=None if program.last_executed is None else _iso(program.last_executed),
    )


def _find(context: Context, args: dict[str, Any]) -> Program:
    name = text(args, "program_id")
    program = context.session(args).programs.get(name)
    if program is None:
        raise HandlerError(f"program {name!r} is not found")
    return program


def _signature(program: Program) -> dict[str, list[str]]:
    return {"inputs": program.inputs, "outputs": program.outputs}


def _fields(signature: dict[str, Any], side: str) -> list[str]:
    # The legacy form is a list of {"name": …}; plain names are taken too.
    found = signature.get(side)
    if not isinstance(found, list) or not found:
        raise HandlerError(f"argument 'signature': {side} must be a list of fields, not {found!r}")
    names = [field.get("name") if isinstance(field, dict) else field for field in found]
    bad = [name for name in names if not isinstance(name, str) or not name]
    if bad:
        raise HandlerError(f"argument 'signature': a field of {side} has the name {bad[0]!r}")
    return [str(name) for name in names]


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


COMMANDS = {
    "configure_lm": configure_lm,
    "create_program": create_program,
    "execute_program": execute_program,
    "list_programs": list_programs,
    "delete_program": delete_program,
    "get_program_info": get_program_info,
}
