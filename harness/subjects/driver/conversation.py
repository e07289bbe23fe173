"""A conversation with one driver: requests by id, answers in any order, events between them.

Every failure is a DriverError that names the driver and what it did; its last lines on stderr are part of it. A driver
that breaks the protocol is ended at once, because nothing that it writes afterwards can be trusted.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

from msgspec import UNSET

from poolproof.bridge import Event, PoolError, Sent
from poolproof.bridge.clock import deadline_ns, now_ns
from poolproof.bridge.safe_text import printable
from poolproof.harness.subjects.driver import messages
from poolproof.harness.subjects.driver.messages import BrokenRule, DriverError, Reply
from poolproof.harness.subjects.driver.process import DriverProcess

WRITE_S = 5.0
"""How long a driver may leave its stdin unread, in seconds."""


class Waiting:
    """A request that has no answer yet."""

    __slots__ = ("answered", "on_answer", "reply", "trouble")

    def __init__(self, on_answer: Callable[[int], None]) -> None:
        self.answered = threading.Event()
        self.on_answer = on_answer
        self.reply: Reply | None = None
        self.trouble = ""


class Conversation:
    """Sends requests to a driver and returns its answers. Thread-safe. `on_event` gets the events of the pool."""

    def __init__(self, command: str, *, on_event: Callable[[Event], None] | None = None) -> None:
        self.command = command
        self._on_event = on_event
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._order = threading.Lock()
        self._waiting: dict[int, Waiting] = {}
        self._late: set[int] = set()
        self.trouble = ""
        """What the driver did wrong; empty as long as it did nothing."""
        self._ending = False
        self.process = DriverProcess(command, on_line=self._take, on_end=self._ended)

    def next_id(self) -> int:
        """Return an unused id for a request."""
        return next(self._numbers)

    def ask(
        self,
        kind: str,
        fields: dict[str, Any] | None = None,
        *,
        limit_s: float,
        request_id: int | None = None,
        on_send: Callable[[], None] = lambda: None,
        on_answer: Callable[[int], None] = lambda unanswered: None,
    ) -> dict[str, Any]:
        """Send a request and return the `ok` of its answer; `on_send` is called just before it is written.

        What `on_send` raises is raised, and nothing is sent. `on_answer` is called when the answer is read, with the
        number of other requests that have none yet: answers are read in the order in which the driver wrote them.

        Raises the error that the driver answers, InvalidRequest if a field is not JSON, and DriverError if the driver
        does not answer within `limit_s` seconds, dies, or breaks the protocol.
        """
        number = self.next_id() if request_id is None else request_id
        line = messages.encode(number, kind, fields or {})
        waiting = Waiting(on_answer)
        with self._lock:
            if self.trouble:
                raise self.error(self.trouble)
            self._waiting[number] = waiting
        limit_ns = deadline_ns(limit_s)
        try:
            with self._order:  # the events of calls are in the order of their requests
                on_send()
                self.process.write(line, deadline_ns=min(limit_ns, deadline_ns(WRITE_S)))
        except DriverError as error:
            if self._ending and self._give_up(number):
                raise self.error("is being ended") from error
            if not waiting.answered.is_set():
                self.break_off(error.message)
        except BaseException:
            self._give_up(number)
            raise
        try:
            in_time = waiting.answered.wait(max(0.0, (limit_ns - now_ns()) / 1e9))
        except BaseException:  # an interrupt: the answer may still come
            self._give_up(number)
            raise
        if not in_time and self._give_up(number):
            raise self.error(f"did not answer {kind!r} (id {number}) within {limit_s:g} s", sent=Sent.MAYBE)
        return self._read(waiting, kind)

    @property
    def unanswered(self) -> int:
        """The number of requests that have no answer yet."""
        return len(self._waiting)

    def _give_up(self, number: int) -> bool:
        # An answer that comes later is ignored. Returns False if it has come.
        with self._lock:
            waited = self._waiting.pop(number, None) is not None
            if waited:
                self._late.add(number)
        return waited

    def _read(self, waiting: Waiting, kind: str) -> dict[str, Any]:
        reply = waiting.reply
        if reply is None:
            raise self.error(f"{waiting.trouble} before it answered {kind!r}", sent=Sent.MAYBE)
        if reply.error is UNSET:
            return reply.ok or {}
        try:
            error: PoolError = messages.as_error(reply.error)
        except BrokenRule as rule:
            self.break_off(str(rule))
            raise self.error(str(rule), sent=Sent.MAYBE) from rule
        raise error

    def break_off(self, trouble: str) -> None:
        """Record what the driver did wrong, fail every request that waits, and end the driver."""
        self._fail(trouble)
        self.process.end()

    def finish(self, *, exit_s: float) -> int | None:
        """Close the driver's stdin and wait until it has exited. Returns its status; None if it did not exit in time.

        What it has started lives on until `end`.
        """
        self._ending = True
        self.process.end_input()
        return self.process.await_exit(exit_s)

    def end(self) -> None:
        """End the driver with all that it has started. Idempotent."""
        self._ending = True
        self.process.end()
        self._fail("was ended")

    def error(self, what: str, *, sent: Sent = Sent.NO) -> DriverError:
        """Return an error that names the driver; its last lines on stderr are part of it."""
        words = printable(self.process.last_words())
        told = f"; the last lines of its stderr: {words}" if words else ""
        return DriverError(f"the driver {self.command!r} {what}{told}", sent=sent)

    # In the thread that reads.

    def _take(self, line: bytes, arrived_ns: int) -> None:
        if self.trouble:
            return
        try:
            told = messages.decode(line)
            if isinstance(told, Reply):
                self._answer(told)
            elif self._on_event is not None:
                self._on_event(messages.as_event(told, arrived_ns))
        except BrokenRule as rule:
            self.break_off(str(rule))

    def _answer(self, reply: Reply) -> None:
        number = reply.reply_to
        with self._lock:
            waiting = self._waiting.pop(number, None)
            unanswered = len(self._waiting)
            late = number in self._late
            self._late.discard(number)
        if waiting is not None:
            waiting.on_answer(unanswered)
            waiting.reply = reply
            waiting.answered.set()
        elif not late:
            last = next(self._numbers)
            what = "a second time" if 0 < number < last else "although there is no such request"
            raise BrokenRule(f"answered the request {number} {what}")

    def _ended(self, how: str) -> None:
        if not self._ending:
            self._fail(how)

    def _fail(self, trouble: str) -> None:
        with self._lock:
            self.trouble = self.trouble or trouble
            waiting = list(self._waiting.values())
            self._waiting.clear()
        for each in waiting:
            each.trouble = self.trouble
            each.answered.set()
