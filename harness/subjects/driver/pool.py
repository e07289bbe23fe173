"""A Pool behind a driver: every method is a request to the driver, which must answer within a limit.

Knows no language and no scenario. The driver is started with the pool, and ended with all that it has started when the
pool is closed.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import Counter
from types import TracebackType
from typing import Any, Self

import msgspec

from poolproof.bridge import (
    Capability,
    ConfigError,
    Event,
    EventKind,
    Health,
    Observer,
    PoolClosed,
    PoolConfig,
    PoolError,
    PoolStatus,
    Sent,
    SessionStatus,
    Statistics,
    WorkerStatus,
)
from poolproof.bridge.clock import now_ns
from poolproof.bridge.config import duration
from poolproof.bridge.events import CORRELATION
from poolproof.bridge.processes.interpreter import environment
from poolproof.bridge.processes.rundir.rundir import RunDir
from poolproof.bridge.session_calls import SessionCalls
from poolproof.bridge.wire.messages import encode_request, session_args
from poolproof.harness.subjects.driver import messages
from poolproof.harness.subjects.driver.conversation import Conversation
from poolproof.harness.subjects.driver.messages import STANDARD_OPTIONS, BrokenRule, DriverError, Hello, read_hello
from poolproof.harness.subjects.driver.process import command_lines
from poolproof.harness.subjects.driver.status import ToldStatus

HELLO_S = 20.0
"""How long a driver may take to answer `hello`, in seconds."""
STATUS_S = 10.0
SPARE_S = 5.0
"""How much later than a call's timeout its answer may come, in seconds."""
EXIT_S = 5.0
"""How long a driver may take to exit at the end of its stdin, in seconds."""
logger = logging.getLogger(__name__)


def shake_hands(conversation: Conversation) -> Hello:
    """Send `hello` and return the driver's description of itself. Raises DriverError."""
    answer = conversation.ask("hello", {"protocol": 1}, limit_s=HELLO_S)
    try:
        return read_hello(answer)
    except BrokenRule as rule:
        conversation.break_off(str(rule))
        raise conversation.error(str(rule)) from rule


def options_for(config: PoolConfig, hello: Hello) -> dict[str, Any]:
    """Return the options of `open`. Raises ConfigError for an option that the driver does not take."""
    given: dict[str, Any] = {name: getattr(config, name) for name in sorted(STANDARD_OPTIONS)}
    given["worker_command"] = list(config.command_words())
    given["env"] = environment() | config.env if hello.commands is None else config.env
    for field in msgspec.structs.fields(config):
        default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        value = getattr(config, field.name)
        if field.name in STANDARD_OPTIONS or value == default:
            continue
        if field.name not in hello.options:
            raise ConfigError(f"the driver {hello.name!r} does not take the option {field.name!r}")
        given[field.name] = msgspec.to_builtins(sorted(value) if isinstance(value, frozenset | set) else value)
    return given


class DriverPool(SessionCalls):
    """One pool of a driver. Raises DriverError, and the error that the driver answers to `open`."""

    def __init__(self, command: str, config: PoolConfig, observer: Observer | None = None) -> None:
        self._config = config
        self._observer = observer
        self._lock = threading.Lock()
        self._submitted = 0
        self._outcomes: Counter[str] = Counter()
        self._closing = threading.Lock()
        self._closed = self._closing_down = False
        self._owner_pid = os.getpid()
        self.version = ""
        self.capabilities: frozenset[Capability] = frozenset()
        self._run_dir = _claim(config.name)
        self._talk = Conversation(command, on_event=self._emit if observer is not None else None)
        try:
            self._hello = shake_hands(self._talk)
            self.version = self._hello.name
            self.capabilities = capabilities_of(self._hello)
            options = options_for(config, self._hello)
            fields = {"config": options, "observed": observer is not None}
            self._talk.ask("open", fields, limit_s=config.start_timeout_s * max(1, config.workers) + SPARE_S)
        except BaseException:
            self._talk.end()
            if self._run_dir is not None:
                self._run_dir.release()
            raise

    @property
    def name(self) -> str:
        """The pool's name."""
        return self._config.name or self.version

    def execute(
        self,
        command: str,
        args: dict[str, Any] | None = None,
        *,
        session: str | None = None,
        timeout_s: float | None = None,
        checkout_timeout_s: float | None = None,
    ) -> Any:  # noqa: ANN401
        """Make one call. Raises the errors that the driver answers, and DriverError."""
        self._require_owner()
        with self._lock:
            self._submitted += 1
        outcome = "Cancelled"
        number = self._talk.next_id()
        try:
            result = self._execute(number, command, args or {}, session, timeout_s, checkout_timeout_s)
            outcome = "result"
            return result
        except PoolError as error:
            outcome = type(error).__name__
            raise
        finally:
            with self._lock:
                self._outcomes[outcome] += 1
            self._emit(Event(EventKind.DONE, now_ns(), number, detail=outcome))

    def _require_owner(self) -> None:
        if os.getpid() != self._owner_pid:
            raise PoolClosed(f"pool {self.name!r} belongs to process {self._owner_pid}, and this is a fork of it")

    def _execute(
        self,
        number: int,
        command: str,
        args: dict[str, Any],
        session: str | None,
        timeout_s: float | None,
        checkout_timeout_s: float | None,
    ) -> Any:  # noqa: ANN401
        limit_s = duration("timeout_s", timeout_s, self._config.call_timeout_s, self._hello.call_timeout_s)
        usual_s = self._hello.checkout_timeout_s
        wait_s = duration("checkout_timeout_s", checkout_timeout_s, self._config.checkout_timeout_s, usual_s, limit_s)
        text = self._hello.values_as_text
        sent = args if session is None else session_args(args, session)
        # Only plain JSON can be sent through a driver; this names what is not.
        encode_request(number, command, sent, limit_bytes=self._config.max_frame_bytes, takes_buffers=False)
        args = sent if self._hello.commands is None else args  # workers of the wire get the session in `args`
        fields: dict[str, Any] = {"command": command, "args": messages.as_text(args) if text else args}
        fields |= {"timeout_s": limit_s, "checkout_timeout_s": wait_s}
        if session is not None:
            fields["session"] = session
        if self._closing_down:
            raise PoolClosed(f"pool {self.name!r} is closed")
        arrival = Event(EventKind.ENQUEUE, 0, number, correlation=CORRELATION.get())

        def arrive() -> None:
            if self._closing_down:
                raise PoolClosed(f"pool {self.name!r} is closed")
            self._emit(msgspec.structs.replace(arrival, at_ns=now_ns()))

        answer = self._talk.ask("call", fields, limit_s=limit_s + SPARE_S, request_id=number, on_send=arrive)
        try:
            return messages.result_of(answer, text=text)
        except BrokenRule as rule:
            self._talk.break_off(str(rule))
            raise self._talk.error(f"{rule} (id {number})", sent=Sent.MAYBE) from rule

    def _emit(self, event: Event) -> None:
        if self._observer is not None and Capability.EVENTS in self.capabilities:
            self._observer(event)

    def end_session(self, session_id: str) -> bool:
        """End the session. Returns False if the driver knows no such session."""
        self._require_owner()
        return bool(self._talk.ask("end_session", {"session": session_id}, limit_s=self._call_s).get("existed"))

    @property
    def _call_s(self) -> float:
        return (self._config.call_timeout_s or self._hello.call_timeout_s) + SPARE_S

    def sessions(self) -> tuple[SessionStatus, ...]:
        """Return the sessions that the driver reports."""
        return tuple(
            SessionStatus(
                session_id=told.session,
                operations=told.operations,
                version=told.operations if told.version is None else told.version,
                worker_id=told.worker,
            )
            for told in self._ask_status().sessions
        )

    def _ask_status(self) -> ToldStatus:
        self._require_owner()
        if self._closed:
            return ToldStatus(live=0)
        answer = self._talk.ask("status", limit_s=STATUS_S)
        try:
            return msgspec.convert(answer, type=ToldStatus)
        except msgspec.ValidationError as error:
            self._talk.break_off(f"answered status with a wrong answer: {error}")
            raise self._talk.error(f"answered status with a wrong answer: {error}") from error

    def status(self) -> PoolStatus:
        """Return the status that the driver reports; this class counts the calls, unless the driver does."""
        told = self._ask_status()
        with self._lock:
            done = dict(self._outcomes)
            counted = Statistics(
                submitted=self._submitted, in_flight=self._submitted - sum(done.values()), outcomes=done
            )
        return PoolStatus(
            name=self.name,
            version=self.version,
            state="closed" if self._closed else "open",
            target=self._config.workers,
            workers=tuple(
                WorkerStatus(worker_id=each.worker, pid=each.pid, state=each.state, served=each.served)
                for each in told.workers
            ),
            waiting=told.waiting,
            sessions=len(told.sessions),
            statistics=told.statistics or counted,
        )

    def health_check(self) -> Health:
        """Return the health that the driver reports; healthy unless the driver gives a reason."""
        if self._closed:
            return Health(healthy=False, live=0, target=self._config.workers, reasons=("the pool is closed",))
        try:
            told = self._ask_status()
        except PoolError as error:
            return Health(healthy=False, live=0, target=self._config.workers, reasons=(str(error),))
        live = sum(each.state in ("idle", "leased") for each in told.workers) if told.live is None else told.live
        return Health(healthy=not told.reasons, live=live, target=self._config.workers, reasons=told.reasons)

    def warm_up(self, n: int | None = None) -> int:
        """Start workers until `n` are ready (default: the pool's size). Returns how many are ready."""
        self._require_owner()
        wanted = self._config.workers if n is None else n
        limit_s = self._config.start_timeout_s * max(1, wanted) + SPARE_S
        return int(self._talk.ask("warm_up", {"n": wanted}, limit_s=limit_s).get("ready", 0))

    def close(self, grace_s: float | None = None) -> None:
        """Close the pool, end its driver, and kill what the driver leaves behind, which is logged as an error.

        Idempotent. Raises DriverError if the driver has broken the protocol, or does not close the pool or exit.
        """
        self._require_owner()
        grace_s = self._config.close_grace_s if grace_s is None else grace_s
        with self._closing:
            if self._closed:
                return
            try:
                if self._talk.trouble:
                    raise self._talk.error(self._talk.trouble)
                limit_s = grace_s + EXIT_S + SPARE_S
                self._talk.ask("close", {"grace_s": grace_s}, limit_s=limit_s, on_send=self._refuse_calls)
                status = self._talk.finish(exit_s=EXIT_S)
                if status != 0:
                    how = "did not exit" if status is None else f"exited with status {status}"
                    raise self._talk.error(f"{how} within {EXIT_S:g} s after the end of its stdin, instead of status 0")
                if left := self._talk.process.await_empty(EXIT_S):
                    logger.error(
                        "the driver %r has left %d processes behind: %s",
                        self._talk.command,
                        len(left),
                        command_lines(left),
                    )
            finally:
                self._closed = self._closing_down = True
                self._talk.end()
                if self._run_dir is not None:
                    self._run_dir.release()
                self._emit(Event(EventKind.CLOSE, now_ns()))

    def restart(self) -> str:
        """Restart the pool, and say how. Its sessions outlive the restart, if the driver claims `restart`."""
        self._require_owner()
        limit_s = self._config.start_timeout_s * max(1, self._config.workers) + SPARE_S
        self._talk.ask("restart", limit_s=limit_s)
        return f"the driver {self.version!r} has restarted its pool"

    def _refuse_calls(self) -> None:
        self._closing_down = True  # no call is sent behind the close

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        talk: Conversation | None = getattr(self, "_talk", None)
        if talk is not None and not self._closed and os.getpid() == self._owner_pid:
            talk.end()


def _claim(name: str | None) -> RunDir | None:
    # Keeps two living pools from having one name (PoolNameConflict); where no directory can be made, nothing does.
    if name is None:
        return None
    try:
        return RunDir.claim(name, version="driver")
    except ConfigError as error:
        logger.warning("pool %s works without a run directory: %s", name, error)
        return None


def capabilities_of(hello: Hello) -> frozenset[Capability]:
    """Return the pool's capabilities, as the driver claims them."""
    known = {word.value for word in Capability}
    found = {Capability(word) for word in hello.capabilities if word in known}
    if hello.request_ids:
        found.add(Capability.REQUEST_IDS)
    return frozenset(found)


__all__ = ["DriverError", "DriverPool", "capabilities_of", "options_for", "shake_hands"]
