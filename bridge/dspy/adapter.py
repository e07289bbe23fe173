"""Typed program calls over any pool: `ProgramAdapter` sends the legacy commands and returns records.

Pure except for the pool's own calls. Independent of the engine that runs the programs and of the pool's version. The
forms in which other workers write their answers are in `poolproof.bridge.dspy.answers`.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from poolproof.bridge.dspy import answers
from poolproof.bridge.errors import AnswerError, CommandError, Sent
from poolproof.bridge.interface import Health, Pool, PoolStatus
from poolproof.bridge.redaction import redact

DEFAULT_SESSION = "programs"
DSPY_ENVIRONMENT = {"POOLPROOF_PROGRAMS": "dspy"}
"""The `env` option for pools whose workers run DSPy instead of the stand-in."""
DSPY_PRELOAD = ("poolproof.bridge.dspy.engine",)
"""V2's `preload` option to import DSPy once, in the zygote; add "litellm" if the models need it."""
SHOWN_CHARACTERS = 300
"""How many characters of a wrong answer are part of the error."""
Answer = TypeVar("Answer", bound=msgspec.Struct)


class ModelConfigured(msgspec.Struct, frozen=True, kw_only=True):
    """The session's current model, without its key. `temperature` is None if the worker does not report it."""

    status: str
    model: str
    provider: str = ""
    temperature: float | None = None


class FieldNames(msgspec.Struct, frozen=True, kw_only=True):
    """The names of a program's fields."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class ProgramCreated(msgspec.Struct, frozen=True, kw_only=True):
    """A new program of a session."""

    program_id: str
    status: str
    signature: FieldNames
    program_type: str = "predict"


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """One execution: `outputs` by field, with a chain's `reasoning`.

    `execution_time` is in seconds, as the worker tells it: the original's worker gives the moment of the end, in
    seconds since 1970.
    """

    program_id: str
    outputs: dict[str, Any]
    execution_time: float = 0.0


class Programs(msgspec.Struct, frozen=True, kw_only=True):
    """The programs of a session, sorted by id."""

    programs: tuple[str, ...]
    total_count: int


class ProgramDeleted(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to the deletion of a program."""

    program_id: str
    status: str


class ProgramInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Details of a program; times are ISO 8601, and `created_at` is empty if the worker does not report it.

    `execution_count` and `last_executed` count on the session's current worker only: a handover creates the program
    anew. `fields` has the whole signature, with types and descriptions.
    """

    program_id: str
    signature: FieldNames
    created_at: str = ""
    execution_count: int = 0
    last_executed: str | None = None
    program_type: str = "predict"
    fields: dict[str, Any] = {}


class WorkerStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """The counts of one worker; `uptime` is in seconds.

    `memory_usage` is the resident size in bytes: the largest so far of the shipped worker, the current size of the
    original's worker, and None if the worker does not tell it.
    """

    programs_count: int
    command_count: int
    error_count: int
    uptime: float
    memory_usage: int | None = None
    dspy_available: bool = False


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
    response does not fit the command. A success whose result has an `error` is a CommandError too.

    Some workers, such as the original's, keep no program of a named session. The adapter keeps what such a worker gives
    at the creation of a program, and sends it back as `program_data` with each execution.
    """

    def __init__(self, pool: Pool, session_id: str = DEFAULT_SESSION, *, timeout_s: float | None = None) -> None:
        self.pool = pool
        self.session_id = session_id
        self.timeout_s = timeout_s
        self._kept: dict[str, Any] = {}

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
        answer = self._call("create_program", options, timeout_s)
        created = _read("create_program", answer, ProgramCreated)
        if answers.gives_program(answer):
            self._kept[created.program_id] = answer
        return created

    def execute_program(
        self, program_id: str, inputs: dict[str, Any] | None = None, *, timeout_s: float | None = None
    ) -> Execution:
        """Run the program `program_id` on these inputs, and return its outputs."""
        options = {"program_id": program_id, "inputs": inputs or {}, "program_data": self._kept.get(program_id)}
        return self._ask("execute_program", options, Execution, timeout_s, program_id=program_id)

    def list_programs(self, *, timeout_s: float | None = None) -> Programs:
        """Return the session's programs."""
        programs = self._ask("list_programs", {}, Programs, timeout_s)
        if self._kept.keys() <= set(programs.programs):
            return programs
        names = sorted({*programs.programs, *self._kept})
        return Programs(programs=tuple(names), total_count=len(names))

    def get_program_info(self, program_id: str, *, timeout_s: float | None = None) -> ProgramInfo:
        """Return the details of a program."""
        return self._ask("get_program_info", {"program_id": program_id}, ProgramInfo, timeout_s, program_id=program_id)

    def delete_program(self, program_id: str, *, timeout_s: float | None = None) -> ProgramDeleted:
        """Delete a program."""
        options = {"program_id": program_id}
        try:
            deleted = self._ask("delete_program", options, ProgramDeleted, timeout_s, program_id=program_id)
        except CommandError:
            if self._kept.pop(program_id, None) is None:
                raise
            return ProgramDeleted(program_id=program_id, status="deleted")  # the program was with the caller only
        self._kept.pop(program_id, None)
        return deleted

    def get_stats(self, *, timeout_s: float | None = None) -> AdapterStatistics:
        """Return the pool's status, and the counts of the session's worker."""
        worker = self._ask("get_stats", {}, WorkerStatistics, timeout_s)
        return AdapterStatistics(pool=self.pool.status(), worker=worker)

    def health_check(self) -> Health:
        """Return whether the pool can serve at its full size now."""
        return self.pool.health_check()

    def end_session(self) -> bool:
        """Forget the session with its programs and its model. Returns False if the session did not exist."""
        self._kept.clear()
        return self.pool.end_session(self.session_id)

    def _ask(
        self,
        command: str,
        options: dict[str, Any],
        kind: type[Answer],
        timeout_s: float | None,
        **defaults: str,
    ) -> Answer:
        # `defaults` are fields that the worker may leave out, because the caller knows them.
        answer = self._call(command, options, timeout_s)
        if isinstance(answer, dict):
            answer = {**defaults, **answer}
        return _read(command, answer, kind)

    def _call(self, command: str, options: dict[str, Any], timeout_s: float | None) -> Any:  # noqa: ANN401
        args = {name: value for name, value in options.items() if value is not None}
        limit_s = self.timeout_s if timeout_s is None else timeout_s
        answer = self.pool.execute_in_session(self.session_id, command, args, timeout_s=limit_s)
        if reason := answers.refusal(answer):
            raise CommandError(reason)
        return answer


def _read(command: str, answer: object, kind: type[Answer]) -> Answer:
    try:
        return msgspec.convert(answers.read(command, answer), type=kind)
    except msgspec.ValidationError as error:
        shown = f"{redact(answer)!r:.{SHOWN_CHARACTERS}}"
        raise AnswerError(
            f"the answer of {command!r} has not the documented form: {error}; the answer is {shown}", sent=Sent.YES
        ) from error
