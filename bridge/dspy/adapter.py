"""Typed program calls over any pool: `ProgramAdapter` sends the legacy commands and returns records.

Pure except for the pool's own calls. Independent of the engine that runs the programs and of the pool's version.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from poolproof.bridge.errors import AnswerError, Sent
from poolproof.bridge.interface import Health, Pool, PoolStatus

DEFAULT_SESSION = "programs"
DSPY_ENVIRONMENT = {"POOLPROOF_PROGRAMS": "dspy"}
"""The `env` option for pools whose workers run DSPy instead of the stand-in."""
DSPY_PRELOAD = ("poolproof.bridge.dspy.engine",)
"""V2's `preload` option to import DSPy once, in the zygote; add "litellm" if the models need it."""
Answer = TypeVar("Answer", bound=msgspec.Struct)


class ModelConfigured(msgspec.Struct, frozen=True, kw_only=True):
    """The session's current model, without its key."""

    status: str
    model: str
    provider: str
    temperature: float


class FieldNames(msgspec.Struct, frozen=True, kw_only=True):
    """The names of a program's fields."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class ProgramCreated(msgspec.Struct, frozen=True, kw_only=True):
    """A new program of a session."""

    program_id: str
    status: str
    signature: FieldNames
    program_type: str


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """One execution: `outputs` by field, with a chain's `reasoning`; `execution_time` is in seconds."""

    program_id: str
    outputs: dict[str, Any]
    execution_time: float


class Programs(msgspec.Struct, frozen=True, kw_only=True):
    """The programs of a session, sorted by id."""

    programs: tuple[str, ...]
    total_count: int


class ProgramDeleted(msgspec.Struct, frozen=True, kw_only=True):
    """A deleted program."""

    program_id: str
    status: str


class ProgramInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Details of a program; times are ISO 8601.

    `execution_count` and `last_executed` count on the session's current worker only: a handover creates the program
    anew. `fields` has the whole signature, with types and descriptions.
    """

    program_id: str
    signature: FieldNames
    created_at: str
    execution_count: int
    last_executed: str | None = None
    program_type: str = "predict"
    fields: dict[str, Any] = {}


class WorkerStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """The counts of one worker; `uptime` is in seconds, `memory_usage` is its largest resident size in bytes."""

    programs_count: int
    command_count: int
    error_count: int
    uptime: float
    memory_usage: int
    dspy_available: bool


class AdapterStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """The status of the pool, and the counts of the session's worker."""

    pool: PoolStatus
    worker: WorkerStatistics


class ProgramAdapter:
    """The programs of one session of `pool`. May be used from any thread; needs no closing.

    A session runs one call at a time, on any worker. For concurrent calls, create a `session_adapter` for each; they
    share no program and no model. `timeout_s` is the default for every call, in seconds.

    Every method raises the errors of `Pool.execute`: CommandError with the worker's reason (an unknown program, a
    missing input, no model, a provider that failed), SessionLost, the timeouts; and AnswerError if the worker's
    response does not fit the command.
    """

    def __init__(self, pool: Pool, session_id: str = DEFAULT_SESSION, *, timeout_s: float | None = None) -> None:
        self.pool = pool
        self.session_id = session_id
        self.timeout_s = timeout_s

    def session_adapter(self, session_id: str) -> ProgramAdapter:
        """Return an adapter for another session of the same pool, with its own programs and model."""
        return ProgramAdapter(self.pool, session_id, timeout_s=self.timeout_s)

    def configure_lm(
        self,
        model: str,
        *,
        provider: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        api_key: str | None = None,
        api_key_env: str | None = None,
        api_base: str | None = None,
        api_base_env: str | None = None,
        num_retries: int | None = None,
        request_timeout_s: float | None = None,
        adapter: str | None = None,
        backend: str | None = None,
        answers: dict[str, dict[str, Any]] | None = None,
        timeout_s: float | None = None,
    ) -> ModelConfigured:
        """Set the session's model, such as `openai/gpt-4o-mini`; see docs/how-to/dspy.md.

        `api_key_env` and `api_base_env` name variables of the worker's environment, so that a key is not sent.
        `request_timeout_s` limits one request to the provider, `timeout_s` this call.
        """
        options = {
            "model": model,
            "provider": provider,
            "temperature": temperature,
            "max_tokens": max_tokens,
            "api_key": api_key,
            "api_key_env": api_key_env,
            "api_base": api_base,
            "api_base_env": api_base_env,
            "num_retries": num_retries,
            "timeout_s": request_timeout_s,
            "adapter": adapter,
            "backend": backend,
            "answers": answers,
        }
        return self._ask("configure_lm", options, ModelConfigured, timeout_s)

    def create_program(
        self,
        program_id: str,
        signature: str | dict[str, Any],
        *,
        program_type: str = "predict",
        tools: list[str] | None = None,
        max_iters: int | None = None,
        timeout_s: float | None = None,
    ) -> ProgramCreated:
        """Create a program: predict, chain_of_thought or react.

        `signature` is a string such as `question, notes: list[str] -> answer`, or {inputs, outputs, instructions},
        whose fields are names or {name, type, description}. `tools` (package.module:function) and `max_iters` are for
        react.
        """
        options: dict[str, Any] = {"id": program_id, "signature": signature, "program_type": program_type}
        options |= {"tools": tools, "max_iters": max_iters}
        return self._ask("create_program", options, ProgramCreated, timeout_s)

    def execute_program(
        self, program_id: str, inputs: dict[str, Any] | None = None, *, timeout_s: float | None = None
    ) -> Execution:
        """Run a program."""
        return self._ask("execute_program", {"program_id": program_id, "inputs": inputs or {}}, Execution, timeout_s)

    def list_programs(self, *, timeout_s: float | None = None) -> Programs:
        """Return the session's programs."""
        return self._ask("list_programs", {}, Programs, timeout_s)

    def get_program_info(self, program_id: str, *, timeout_s: float | None = None) -> ProgramInfo:
        """Return the details of a program."""
        return self._ask("get_program_info", {"program_id": program_id}, ProgramInfo, timeout_s)

    def delete_program(self, program_id: str, *, timeout_s: float | None = None) -> ProgramDeleted:
        """Delete a program."""
        return self._ask("delete_program", {"program_id": program_id}, ProgramDeleted, timeout_s)

    def get_stats(self, *, timeout_s: float | None = None) -> AdapterStatistics:
        """Return the pool's status, and the counts of the session's worker."""
        worker = self._ask("get_stats", {}, WorkerStatistics, timeout_s)
        return AdapterStatistics(pool=self.pool.status(), worker=worker)

    def health_check(self) -> Health:
        """Return whether the pool can serve at its full size now."""
        return self.pool.health_check()

    def end_session(self) -> bool:
        """Forget the session with its programs and its model. Returns False if the session did not exist."""
        return self.pool.end_session(self.session_id)

    def _ask(self, command: str, options: dict[str, Any], kind: type[Answer], timeout_s: float | None) -> Answer:
        args = {name: value for name, value in options.items() if value is not None}
        limit_s = self.timeout_s if timeout_s is None else timeout_s
        answer = self.pool.execute_in_session(self.session_id, command, args, timeout_s=limit_s)
        try:
            return msgspec.convert(answer, type=kind)
        except msgspec.ValidationError as error:
            raise AnswerError(f"the answer of {command!r} is not what it gives: {error}", sent=Sent.YES) from error
