"""The program engines of a worker: finds an engine by name; the stand-in for DSPy needs no model.

`POOLPROOF_PROGRAMS` in a worker's environment names the engine: `template` (the default) or `dspy`.
"""

from __future__ import annotations

from typing import Any

from poolproof.bridge.worker.handlers.context import HandlerError, Program, ProgramEngine, Session, number, text

PROGRAMS_VARIABLE = "POOLPROOF_PROGRAMS"
ENGINES = ("template", "dspy")
HOTTEST = 2.0
NEEDED = "pip install 'poolproof[dspy]'"


class Templates:
    """The stand-in for DSPy: the same program with the same inputs gives the same outputs, without a model."""

    name = "template"

    def configure(self, args: dict[str, Any]) -> dict[str, Any]:
        """Return the model's name, provider and temperature; nothing is loaded."""
        model = text(args, "model")
        temperature = number(args, "temperature", most=HOTTEST, default=0.7)
        return {"model": model, "provider": str(args.get("provider", "none")), "temperature": temperature}

    def make(self, session: Session, program: Program) -> None:
        """Do nothing: every program is ready."""

    def run(self, session: Session, program: Program, inputs: dict[str, Any]) -> dict[str, Any]:
        """Return outputs that each contain their name and the inputs."""
        told = ", ".join(f"{name}={inputs[name]}" for name in program.inputs)
        outputs = {name: f"{name} of {told}" for name in program.outputs}
        if program.program_type == "chain_of_thought":
            outputs = {"reasoning": f"from {told}", **outputs}
        return outputs


TEMPLATES = Templates()


def load_engine(name: str) -> ProgramEngine:
    """Return the engine of that name and import its modules. Raises HandlerError if that fails."""
    if name in ("", TEMPLATES.name):
        return TEMPLATES
    if name != "dspy":
        raise HandlerError(f"{PROGRAMS_VARIABLE} {name!r}: must be one of {', '.join(ENGINES)}")
    try:
        from poolproof.bridge.dspy.engine import DspyEngine
    except ModuleNotFoundError as error:
        raise HandlerError(f"{PROGRAMS_VARIABLE} 'dspy': {error.name} is not installed; {NEEDED}") from error
    return DspyEngine()


__all__ = ["ENGINES", "PROGRAMS_VARIABLE", "TEMPLATES", "ProgramEngine", "Templates", "load_engine"]
