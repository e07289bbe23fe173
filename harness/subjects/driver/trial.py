"""One opened driver under the conformance check, with the calls that the rules make."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from poolproof.bridge import Event, PoolConfig, PoolError
from poolproof.bridge.worker.journal import JOURNAL_VARIABLE
from poolproof.harness.faults.commands import fault_environment
from poolproof.harness.subjects.driver import messages
from poolproof.harness.subjects.driver.conversation import Conversation
from poolproof.harness.subjects.driver.messages import Hello, result_of
from poolproof.harness.subjects.driver.pool import options_for, shake_hands

ANSWER_S = 10.0
"""How long the answer to a request that makes no call may take, in seconds."""
WORKERS = 2
CALL_S = 10.0


class NotTried(Exception):
    """A rule could not be tried with this driver; the message says why."""


class BrokenPromise(Exception):
    """The driver did not keep a rule; the message says what it did instead."""


class Trial:
    """A driver that was started, and that was opened unless `opened` is false. `folder` is for its journals."""

    def __init__(self, command: str, folder: Path, *, opened: bool = True) -> None:
        self.events: list[Event] = []
        self.folder = folder
        self.talk = Conversation(command, on_event=self.events.append)
        try:
            self.hello: Hello = shake_hands(self.talk)
            if opened:
                self.open()
        except BaseException:
            self.talk.end()
            raise

    def open(self) -> None:
        """Send `open` for a pool of two workers."""
        env = {JOURNAL_VARIABLE: str(self.folder), **fault_environment()}
        config = PoolConfig(name="driver-check", workers=WORKERS, env=env, start_timeout_s=20.0)
        self.ask("open", config=options_for(config, self.hello), observed=True)

    def ask(self, kind: str, limit_s: float = ANSWER_S, **fields: Any) -> dict[str, Any]:  # noqa: ANN401
        """Send a request and return the `ok` of its answer."""
        return self.talk.ask(kind, fields, limit_s=limit_s)

    def call(
        self,
        command: str,
        args: dict[str, Any],
        *,
        session: str | None = None,
        timeout_s: float = CALL_S,
        checkout_timeout_s: float | None = None,
        request_id: int | None = None,
    ) -> Any:  # noqa: ANN401 - any JSON value
        """Make one call and return its result."""
        wire = self.hello.commands is None and session is not None
        args = {**args, "session_id": session} if wire else args
        text = self.hello.values_as_text
        fields: dict[str, Any] = {
            "command": command,
            "args": messages.as_text(args) if text else args,
            "timeout_s": timeout_s,
            "checkout_timeout_s": checkout_timeout_s or timeout_s,
            **({"session": session} if session is not None else {}),
        }
        answer = self.talk.ask("call", fields, limit_s=timeout_s + ANSWER_S, request_id=request_id)
        return result_of(answer, text=text)

    def outcome(self, command: str, args: dict[str, Any], **options: Any) -> tuple[str, str]:  # noqa: ANN401
        """Make one call and return the name of its outcome, and the error's text or the result."""
        try:
            return "result", repr(self.call(command, args, **options))
        except PoolError as error:
            return type(error).__name__, error.message

    def needs(self, *commands: str) -> None:
        """Raise NotTried unless the driver's workers know these commands."""
        lacking = [] if self.hello.commands is None else [c for c in commands if c not in self.hello.commands]
        if lacking:
            raise NotTried(f"its workers do not know the command {', '.join(lacking)}")

    def claims(self, capability: str) -> None:
        """Raise NotTried unless the driver claims the capability."""
        if capability not in self.hello.capabilities:
            raise NotTried(f"it does not claim the capability {capability}")

    def probe(self) -> tuple[str, dict[str, Any]]:
        """Return a call that is answered at once. Raises NotTried if no such call of this driver is known."""
        for command in ("echo", "ping"):
            if self.hello.commands is None or command in self.hello.commands:
                return command, {"value": "probe"} if command == "echo" else {}
        raise NotTried("its workers know neither echo nor ping")

    def finish(self, exit_s: float) -> int | None:
        """Close the driver's stdin. Returns its exit status; None if it did not exit in time."""
        return self.talk.finish(exit_s=exit_s)

    def end(self) -> None:
        """End the driver. Idempotent."""
        self.talk.end()


def together(works: list[Callable[[], Any]]) -> list[Any]:
    """Run these functions side by side; return what each returned, or the exception that it raised."""
    found: list[Any] = [None] * len(works)

    def run(place: int, work: Callable[[], Any]) -> None:
        try:
            found[place] = work()
        except Exception as error:
            found[place] = error

    threads = [threading.Thread(target=run, args=each, daemon=True) for each in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def require(holds: object, what: str) -> None:
    """Raise BrokenPromise with `what`, unless `holds`."""
    if not holds:
        raise BrokenPromise(what)
