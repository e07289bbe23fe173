"""The legacy program commands. The worker's engine makes and runs programs: DSPy, or a stand-in without DSPy.

Programs and the model belong to their session. Every problem is an error that names the cause, never a success.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from poolproof.bridge.suggestion import did_you_mean
from poolproof.bridge.worker.handlers.context import Context, HandlerError, Program, text, with_nonce
from poolproof.bridge.worker.handlers.engine import TEMPLATES, ProgramEngine

PROGRAM_TYPES = ("predict", "chain_of_thought", "react")
MODEL_ARGUMENTS = frozenset(
    {
        "adapter",
        "answers",
        "api_base",
        "api_base_env",
        "api_key",
        "api_key_env",
        "backend",
        "max_tokens",
        "model",
        "nonce",
        "num_retries",
        "provider",
        "session_id",
        "temperature",
        "timeout_s",
    }
)
PROGRAM_OPTIONS = ("tools", "max_iters")
MADE_OF_MODEL = ("model", "adapter")
"""The keys under which an engine keeps the objects of a session's model; those of programs are `program ID`."""


def configure_lm(context: Context, args: dict[str, Any]) -> Any:  # noqa: ANN401
    """Set the session's model. docs/how-to/dspy.md lists the options; a key is never returned."""
    for name in args:
        if name not in MODEL_ARGUMENTS:
            raise HandlerError(f"unknown argument {name!r}{did_you_mean(name, MODEL_ARGUMENTS)}")
    model = _engine(context).configure(args)
    session = context.session(args)
    session.model = model
    for made in MADE_OF_MODEL:
        session.made.pop(made, None)
    told = {name: model[name] for name in ("model", "provider", "temperature")}
    return with_nonce(args, status="configured", **told)


def create_program(context: Context, args: dict[str, Any]) -> Any:  # noqa: ANN401
    """Create the program `id` with `signature` of a `program_type`; `tools` and `max_iters` are for react."""
    name = text(args, "id")
    kind = args.get("program_type", "predict")
    if kind not in PROGRAM_TYPES:
        raise HandlerError(f"argument 'program_type': must be one of {', '.join(PROGRAM_TYPES)}, not {kind!r}")
    from poolproof.bridge.dspy.signature import read_signature

    signature = read_signature(args.get("signature"))
    options = {option: args[option] for option in PROGRAM_OPTIONS if args.get(option) is not None}
    if options and kind != "react":
        raise HandlerError(
            f"argument {next(iter(options))!r}: only programs of the type react have this argument, not {kind!r}"
        )
    session = context.session(args)
    programs = session.programs
    if name in programs:
        raise HandlerError(f"program {name!r} exists already")
    inputs = [field.name for field in signature.inputs]
    outputs = [field.name for field in signature.outputs]
    program = Program(name, kind, inputs, outputs, signature.to_json(), options)
    _engine(context).make(session, program)
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
    outputs = _engine(context).run(context.session(args), program, inputs)
    program.execution_count += 1
    program.last_executed = time.time()
    return with_nonce(args, program_id=program.program_id, outputs=outputs, execution_time=time.monotonic() - began_s)


def list_programs(context: Context, args: dict[str, Any]) -> Any:  # noqa: ANN401
    """Return the session's programs, sorted by id."""
    names = sorted(context.session(args).programs)
    return with_nonce(args, programs=names, total_count=len(names))


def delete_program(context: Context, args: dict[str, Any]) -> Any:  # noqa: ANN401
    """Delete the program `program_id`."""
    program = _find(context, args)
    session = context.session(args)
    del session.programs[program.program_id]
    session.made.pop(f"program {program.program_id}", None)
    return with_nonce(args, program_id=program.program_id, status="deleted")


def get_program_info(context: Context, args: dict[str, Any]) -> Any:  # noqa: ANN401
    """Return details of the program `program_id`; `fields` has the types and descriptions of its signature."""
    program = _find(context, args)
    return with_nonce(
        args,
        program_id=program.program_id,
        program_type=program.program_type,
        signature=_signature(program),
        fields=program.details,
        created_at=_iso(program.created_at),
        execution_count=program.execution_count,
        last_executed=None if program.last_executed is None else _iso(program.last_executed),
    )


def _engine(context: Context) -> ProgramEngine:
    return context.engine or TEMPLATES


def _find(context: Context, args: dict[str, Any]) -> Program:
    name = text(args, "program_id")
    program = context.session(args).programs.get(name)
    if program is None:
        raise HandlerError(f"program {name!r} is not found")
    return program


def _signature(program: Program) -> dict[str, list[str]]:
    return {"inputs": program.inputs, "outputs": program.outputs}


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
