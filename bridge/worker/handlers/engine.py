"""What runs programs: the stand-in that needs no model, and how a worker finds the one it was asked for.

`POOLPROOF_PROGRAMS` in a worker's environment names it: `template` (the default) or `dspy`.
"""

from __future__ import annotations

from typing import Any

from poolproof.bridge.worker.handlers.context import HandlerError, Program, ProgramEngine, Session, number, text

PROGRAMS_VARIABLE = "POOLPROOF_PROGRAMS"
ENGINES = ("template", "dspy")
HOTTEST = 2.0
NEEDED = "pip install 'poolproof[dspy]'"


class Templates:
    """The stand-in: the same program with the same inputs gives the same outputs, and no model is asked."""

    name = "template"

    def configure(self, args: dict[str, Any]) -> dict[str, Any]:
        """Only names the model; nothing is loaded."""
        model = text(args, "model")
        temperature = number(args, "temperature", most=HOTTEST, default=0.7)
        return {"model": model, "provider": str(args.get("provider", "none")), "temperature": temperature}

    def make(self, session: Session, program: Program) -> None:
        """Every program is ready."""

    def run(self, session: Session, program: Program, inputs: dict[str, Any]) -> dict[str, Any]:
        """Each output tells its name and the inputs."""
        told = ", ".join(f"{name}={inputs[name]}" for name in program.inputs)
        outputs = {name: f"{name} of {told}" for name in program.outputs}
        if program.program_type == "chain_of_thought":
            outputs = {"reasoning": f"from {told}", **outputs}
        return outputs


TEMPLATES = Templates()


def load_engine(name: str) -> ProgramEngine:
    """The engine of that name; what it needs is imported now. Raises HandlerError if that cannot be."""
    if name in ("", TEMPLATES.name):
        return TEMPLATES
    if name != "dspy":
        raise HandlerError(f"{PROGRAMS_VARIABLE} {name!r}: one of {', '.join(ENGINES)}")
    try:
        from poolproof.bridge.dspy.engine import DspyEngine
    except ModuleNotFoundError as error:
        raise HandlerError(f"{PROGRAMS_VARIABLE} 'dspy': {error.name} is not installed; {NEEDED}") from error
    return DspyEngine()


__all__ = ["ENGINES", "PROGRAMS_VARIABLE", "TEMPLATES", "ProgramEngine", "Templates", "load_engine"]
