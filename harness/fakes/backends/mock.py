"""The mock backend: a pool without processes, which runs the handlers in the caller's thread, without a model.

It keeps the rules of a pool that need no process: sessions and their counters, errors, JSON encoding of requests and
responses, close. Nothing in it depends on time, so the same calls give the same answers.
"""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any, Self

from poolproof.bridge import (
    OUTCOMES,
    Capability,
    CommandError,
    Health,
    InvalidRequest,
    Observer,
    PoolClosed,
    PoolConfig,
    PoolError,
    PoolStatus,
    SessionStatus,
    Statistics,
)
from poolproof.bridge.session_calls import SessionCalls
from poolproof.bridge.wire.framing import HEADER_BYTES
from poolproof.bridge.wire.messages import (
    decode_request,
    decode_response,
    encode_failure,
    encode_request,
    encode_success,
)
from poolproof.bridge.worker.handlers import COMMANDS, Context, HandlerError, find_handler
from poolproof.harness.fakes.backends.script import Script
from poolproof.harness.faults.commands import COMMANDS as FAULT_COMMANDS

NAME = "mock"
SIZE_LIMIT = 2**32 - 1
CLEAN_UP = "cleanup_session"
UNSUITED = frozenset({*FAULT_COMMANDS, "sleep", "cpu", "initialize", "call", "shutdown", "parts"})
"""Commands that need a process or time."""


class MockPool(SessionCalls):
    """Answers like a pool whose workers never fail; `script` takes precedence.

    `observer` receives no events, since there are no leases.
    """

    version = NAME
    capabilities: frozenset[Capability] = frozenset({Capability.SESSIONS})
    commands = frozenset(COMMANDS) - UNSUITED

    def __init__(
        self, config: PoolConfig | None = None, observer: Observer | None = None, *, script: Script | None = None
    ) -> None:
        self._script = script or Script()
        self._config = config or PoolConfig()
        self._name = self._config.name or NAME
        self._lock = threading.Lock()
        self._context = Context(1, NAME, lambda _: None)
        self._operations: dict[str, int] = {}
        self._versions: dict[str, int] = {}
        self._outcomes = dict.fromkeys(OUTCOMES, 0)
        self._number = 0
        self._closed = False

    @property
    def name(self) -> str:
        """The configured name; no other process can see it."""
        return self._name

    def execute(
        self,
        command: str,
        args: dict[str, Any] | None = None,
        *,
        session: str | None = None,
        timeout_s: float | None = None,
        checkout_timeout_s: float | None = None,
    ) -> Any:  # noqa: ANN401 - any JSON
        """Answer in the caller's thread. Raises CommandError, InvalidRequest or PoolClosed, as a pool does."""
        with self._lock:
            try:
                result = self._execute(command, args or {}, session)
            except PoolError as error:
                self._outcomes[type(error).__name__] += 1
                raise
            self._outcomes["result"] += 1
            return result

    def _execute(self, command: str, args: dict[str, Any], session: str | None) -> Any:  # noqa: ANN401
        if self._closed:
            raise PoolClosed(f"pool {self._name!r} is closed")
        if command in UNSUITED:
            raise InvalidRequest(f"{command!r} needs a worker process; on the backend mock there is none")
        self._number += 1
        sent = args if session is None else {**args, "session_id": session}
        frame = encode_request(self._number, command, sent, limit_bytes=SIZE_LIMIT)
        request = decode_request(bytes(frame[HEADER_BYTES:]))
        self._context.command_count += 1
        try:
            answer = encode_success(request.id, self._answer(command, request.args))
        except HandlerError as error:
            answer = encode_failure(request.id, str(error))
        except Exception as error:
            answer = encode_failure(request.id, f"{type(error).__name__}: {error}")
        response = decode_response(answer)
        self._count(command, session, ok=response.success)
        if not response.success:
            self._context.error_count += 1
            raise CommandError(str(response.error))
        return response.result

    def _answer(self, command: str, args: dict[str, Any]) -> object:
        line = self._script.find(command, args)
        if line is None:
            return find_handler(command)(self._context, args)
        if line.error:
            raise HandlerError(line.error)
        return line.answer

    def _count(self, command: str, session: str | None, *, ok: bool) -> None:
        if session is None:
            return
        if command == CLEAN_UP and ok:
            self._operations.pop(session, None)
            self._versions.pop(session, None)
            return
        self._operations[session] = self._operations.get(session, 0) + 1
        changed = ok and command in self._config.state_commands
        self._versions[session] = self._versions.get(session, 0) + changed

    def end_session(self, session_id: str) -> bool:
        """Delete the session; return False if there is none."""
        with self._lock:
            self._context.sessions.pop(session_id, None)
            self._versions.pop(session_id, None)
            return self._operations.pop(session_id, None) is not None

    def sessions(self) -> tuple[SessionStatus, ...]:
        """Return the sessions; none has a worker."""
        with self._lock:
            return tuple(
                SessionStatus(session_id=name, operations=count, version=self._versions[name], worker_id=None)
                for name, count in self._operations.items()
            )

    def status(self) -> PoolStatus:
        """Return the status of a pool without workers."""
        with self._lock:
            outcomes = {name: count for name, count in self._outcomes.items() if count}
            statistics = Statistics(submitted=sum(outcomes.values()), in_flight=0, outcomes=outcomes)
            return PoolStatus(
                name=self._name,
                version=NAME,
                state="closed" if self._closed else "open",
                target=0,
                workers=(),
                waiting=0,
                sessions=len(self._operations),
                statistics=statistics,
            )

    def health_check(self) -> Health:
        """Return healthy until the pool is closed."""
        reasons = ("the pool is closed",) if self._closed else ()
        return Health(healthy=not self._closed, live=0, target=0, reasons=reasons)

    def warm_up(self, n: int | None = None) -> int:
        """Do nothing: there are no workers to start."""
        return 0

    def close(self, grace_s: float | None = None) -> None:
        """Refuse all later calls. Idempotent."""
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
