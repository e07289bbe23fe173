"""Typed program calls over any pool: `ProgramAdapter` speaks the legacy commands, and answers with records.

Pure but for the pool's own calls. It refuses to know what runs the programs, and which of the pools it is over.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from poolproof.bridge.errors import AnswerError, Sent
from poolproof.bridge.interface import Health, Pool, PoolStatus

DEFAULT_SESSION = "programs"
DSPY_ENVIRONMENT = {"POOLPROOF_PROGRAMS": "dspy"}
"""What a pool's `env` needs so that its workers run DSPy, and not the stand-in."""
DSPY_PRELOAD = ("poolproof.bridge.dspy.engine",)
"""What V2's `preload` needs so that DSPy is imported once, by the zygote; with "litellm" too, if models need that."""
Answer = TypeVar("Answer", bound=msgspec.Struct)


class ModelConfigured(msgspec.Struct, frozen=True, kw_only=True):
    """The session's model now. Its key is told nowhere."""

    status: str
    model: str
    provider: str
    temperature: float


class FieldNames(msgspec.Struct, frozen=True, kw_only=True):
    """The names of a program's fields."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class ProgramCreated(msgspec.Struct, frozen=True, kw_only=True):
    """A new program of its session."""

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
    """A program that is gone."""

    program_id: str
    status: str


class ProgramInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a program; times are ISO 8601.

    `execution_count` and `last_executed` are of the worker that the session is on: a handover creates the program
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
    """What one worker has counted; `uptime` is in seconds, `memory_usage` its largest resident size in bytes."""

    programs_count: int
    command_count: int
    error_count: int
    uptime: float
    memory_usage: int
    dspy_available: bool


class AdapterStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """The pool, and the worker that the session is on."""

    pool: PoolStatus
    worker: WorkerStatistics


class ProgramAdapter:
    """The programs of one session of `pool`. May be used from any thread; it holds nothing that must be closed.

    A session runs one call at a time, on whichever worker it meets. For calls side by side take a `session_adapter`
    each; they share no program and no model. `timeout_s` is the default for every call, in seconds.

    Every method raises what `Pool.execute` raises: CommandError with the worker's reason (an unknown program, a
    missing input, no model, a provider that failed), SessionLost, the timeouts; and AnswerError if the worker
    answered something else than the command gives.
    """

    def __init__(self, pool: Pool, session_id: str = DEFAULT_SESSION, *, timeout_s: float | None = None) -> None:
        self.pool = pool
        self.session_id = session_id
        self.timeout_s = timeout_s

    def session_adapter(self, session_id: str) -> ProgramAdapter:
        """The same pool, with the programs and the model of another session."""
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
        """Set the session's model, as `openai/gpt-4o-mini`; see docs/dspy.md.

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

        `signature` is `question, notes: list[str] -> answer` or {inputs, outputs, instructions}, whose fields are
        names or {name, type, description}. `tools` (package.module:function) and `max_iters` are for react.
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
        """The session's programs."""
        return self._ask("list_programs", {}, Programs, timeout_s)

    def get_program_info(self, program_id: str, *, timeout_s: float | None = None) -> ProgramInfo:
        """What is known of a program."""
        return self._ask("get_program_info", {"program_id": program_id}, ProgramInfo, timeout_s)

    def delete_program(self, program_id: str, *, timeout_s: float | None = None) -> ProgramDeleted:
        """Delete a program."""
        return self._ask("delete_program", {"program_id": program_id}, ProgramDeleted, timeout_s)

    def get_stats(self, *, timeout_s: float | None = None) -> AdapterStatistics:
        """The pool's status, and the counts of the worker that the session is on."""
        worker = self._ask("get_stats", {}, WorkerStatistics, timeout_s)
        return AdapterStatistics(pool=self.pool.status(), worker=worker)

    def health_check(self) -> Health:
        """Whether the pool can serve at its full size now."""
        return self.pool.health_check()

    def end_session(self) -> bool:
        """Forget the session with its programs and its model; False if there was none."""
        return self.pool.end_session(self.session_id)

    def _ask(self, command: str, options: dict[str, Any], kind: type[Answer], timeout_s: float | None) -> Answer:
        args = {name: value for name, value in options.items() if value is not None}
        limit_s = self.timeout_s if timeout_s is None else timeout_s
        answer = self.pool.execute_in_session(self.session_id, command, args, timeout_s=limit_s)
        try:
            return msgspec.convert(answer, type=kind)
        except msgspec.ValidationError as error:
            raise AnswerError(f"the answer of {command!r} is not what it gives: {error}", sent=Sent.YES) from error
