"""The state of a worker between requests, and helpers to read arguments.

Independent of frames, except that a fault command may write raw bytes instead of a frame.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from poolproof.bridge.worker.handlers.pickles import Runner


class HandlerError(Exception):
    """The request cannot be fulfilled; the message is the error of the response."""


class Program:
    """A program: its signature and its execution counts.

    `inputs` and `outputs` are the names of its fields; `details` is the whole signature as JSON; `options` are the
    options of the program's type.
    """

    def __init__(
        self,
        program_id: str,
        program_type: str,
        inputs: list[str],
        outputs: list[str],
        details: dict[str, Any] | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        self.program_id = program_id
        self.program_type = program_type
        self.inputs = inputs
        self.outputs = outputs
        self.details = details or {}
        self.options = options or {}
        self.created_at = time.time()
        self.last_executed: float | None = None
        self.execution_count = 0

    def to_json(self) -> dict[str, Any]:
        """Return the program as JSON values."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> Program:
        """Build a program from the result of `to_json`. Raises HandlerError."""
        program = cls("", "", [], [])
        if not isinstance(state, dict) or state.keys() != vars(program).keys():
            raise HandlerError(f"not the state of a program: {state!r:.100}")
        vars(program).update(state)
        return program


class Session:
    """One session's state in this worker. `made` has the objects that an engine built from it and can rebuild."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.programs: dict[str, Program] = {}
        self.model: dict[str, Any] = {}
        self.made: dict[str, Any] = {}


class ProgramEngine(Protocol):
    """Runs the programs of a worker. Every method raises HandlerError that names the problem."""

    name: str

    def configure(self, args: dict[str, Any]) -> dict[str, Any]:
        """Return the model that `args` describe, as JSON: at least model, provider and temperature."""
        ...

    def make(self, session: Session, program: Program) -> None:
        """Prepare a new program to run. Raises if that fails."""
        ...

    def run(self, session: Session, program: Program, inputs: dict[str, Any]) -> dict[str, Any]:
        """Return the outputs, as JSON; `inputs` has every input of the program."""
        ...


class Context:
    """One worker's state. `write_raw` writes bytes to the response pipe without a frame.

    `request_id` is the id of the current request. `engine` runs the programs; None is the stand-in.
    """

    def __init__(
        self,
        worker_id: int,
        mode: str,
        write_raw: Callable[[bytes], None],
        engine: ProgramEngine | None = None,
    ) -> None:
        self.worker_id = worker_id
        self.mode = mode
        self.write_raw = write_raw
        self.engine = engine
        self.started_s = time.monotonic()
        self.sessions: dict[str, Session] = {}
        self.current_session: str | None = None
        self.command_count = 0
        self.error_count = 0
        self.leaving = False
        self.request_id = 0
        self.runner: Runner | None = None
        """What runs pickled calls, after the first of them."""

    def session(self, args: dict[str, Any]) -> Session:
        """Return the session that `args` name; without a name, the anonymous session."""
        name = args.get("session_id")
        if name is not None and not isinstance(name, str):
            raise HandlerError(f"session_id {name!r} is not a string")
        self.current_session = name
        return self.sessions.setdefault(name or "", Session())

    @property
    def uptime_s(self) -> float:
        """Return the seconds since the worker began."""
        return time.monotonic() - self.started_s


def text(args: dict[str, Any], name: str) -> str:
    """Return a required string argument. Raises HandlerError if it is missing or empty."""
    value = args.get(name)
    if not isinstance(value, str) or not value:
        raise HandlerError(f"argument {name!r}: a string is needed, not {value!r}")
    return value


def number(args: dict[str, Any], name: str, *, most: float, default: float | None = None) -> float:
    """Return a number argument from 0 to `most`. Raises HandlerError."""
    value = args.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise HandlerError(f"argument {name!r}: must be a number from 0 to {most:g}, not {value!r}")
    return value


def with_nonce(args: dict[str, Any], **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    """Return the response's fields, with the request's nonce if it has one."""
    return {**fields, "nonce": args["nonce"]} if "nonce" in args else fields
