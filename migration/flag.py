"""The position of a migration as the value of a feature flag. Needs `poolproof[openfeature]`.

The application chooses the provider: it sets one for the domain "poolproof", or its default provider is asked. Rules

1. The flag is evaluated in a thread of its own, every `poll_s` seconds and when a provider reports an event. So a
   provider that hangs delays no call and no guardrail.
2. Only a position counts that a provider which is ready has evaluated. Anything else is trouble: an error, a value
   that is no position, no value, an answer that is late.
3. The flag is read only. `write` refuses every position but the one that the flag has.
"""

from __future__ import annotations

import math
import os
import socket
import threading
import time
import weakref
from collections.abc import Callable
from datetime import UTC, datetime

from poolproof.bridge import ConfigError
from poolproof.migration.followers.record import set_by
from poolproof.migration.plan import Mode, Position
from poolproof.migration.state import Entry, StateError
from poolproof.migration.watch import Watch

try:
    from openfeature import api
    from openfeature.evaluation_context import EvaluationContext
    from openfeature.event import EventDetails, ProviderEvent
    from openfeature.flag_evaluation import Reason
    from openfeature.provider import ProviderStatus
except ModuleNotFoundError as error:
    message = "a flag needs openfeature-sdk: pip install 'poolproof[openfeature]'"
    raise ModuleNotFoundError(message, name=error.name) from error

DOMAIN = "poolproof"
NO_VALUE = ""
"""What the client returns if the provider has no value. It is no position."""
ANSWER_S = 5.0
"""How long the provider may take for an answer, in seconds, before the flag counts as lost."""
MOST_SIGNS = 200


class FlagSource:
    """The flag `key` as a source of positions. `wake` is called when it has changed.

    Waits up to ANSWER_S seconds for the first answer. The targeting context has the host (also as the targeting key)
    and the pid. Entries are numbered by the changes that this process has seen.
    """

    def __init__(self, key: str, poll_s: float, wake: Callable[[], None]) -> None:
        self._key = key
        self._wake = wake
        self._provider = "its provider"
        self._client = api.get_client(DOMAIN)
        host = socket.gethostname()
        self._context = EvaluationContext(host, {"host": host, "pid": os.getpid()})
        self._known: Entry | None = None
        self._latest = ("", Entry(sequence=0, mode=Mode.V1))
        self._heard_s = -math.inf
        self._answered = threading.Event()
        events = threading.Event()
        events.set()

        def on_event(_: EventDetails) -> None:  # refers to no source, so that a dropped one can be collected
            events.set()

        for event in ProviderEvent:
            api.add_handler(event, on_event)
        self._forget = weakref.finalize(self, _remove_handlers, on_event, os.getpid())
        self._forget.atexit = False
        self._watch = Watch(self, events, poll_s)
        self._answered.wait(ANSWER_S)

    @property
    def name(self) -> str:
        """The flag and its provider, in words."""
        return f"the flag {self._key!r} of {self._provider}"

    def stamp(self) -> Entry:
        """Return what `read` returns."""
        return self.read()

    def read(self) -> Entry:
        """Return the flag's position as an entry; with `trouble` if the position is not known now."""
        if time.monotonic() - self._heard_s > ANSWER_S:
            return self._lost(f"no answer for {ANSWER_S:g} s")
        return self._latest[1]

    def write(
        self, position: Position, *, who: str, why: str, expected: int | None = None, above: int = 0, paused: str = ""
    ) -> Entry:
        """Return the flag's entry if it has this position. Otherwise raises StateError: nobody writes a flag here."""
        found = self.read()
        if found.trouble or paused or found.position != position:
            raise StateError(set_by(self.name))
        return found

    def close(self) -> None:
        """Evaluate no more. Idempotent."""
        self._watch.stop()
        self._forget()

    def look(self) -> None:
        """Evaluate the flag once. Only the watching thread calls this."""
        kind, entry = self._evaluate()
        changed = kind != self._latest[0]
        if changed:
            self._latest = (kind, entry)
        self._heard_s = time.monotonic()
        self._answered.set()
        if changed:
            self._wake()

    def _evaluate(self) -> tuple[str, Entry]:
        # The entry, and its kind: entries of one kind differ in words alone, such as the time in an error message.
        client = self._client
        try:
            self._provider = _short(client.provider.get_metadata().name)
            status = client.get_provider_status()
            if status is ProviderStatus.READY:
                found = client.get_string_details(self._key, NO_VALUE, self._context)
                status = client.get_provider_status()
        except Exception as error:  # of a provider or a hook, which are the application's
            return self._trouble(type(error).__name__, str(error))
        if status is not ProviderStatus.READY:
            return self._trouble(f"the provider is {status.value}")
        if found.error_code is not None:
            return self._trouble(found.error_code.value, found.error_message or "")
        if found.reason == Reason.STALE or found.value == NO_VALUE:
            return self._trouble("no current value", f"reason {found.reason}")
        try:
            position = Position.parse(found.value)
        except ConfigError as error:
            return self._trouble(str(error))
        if self._known is None or position != self._known.position:
            self._known = Entry(
                sequence=1 if self._known is None else self._known.sequence + 1,
                mode=position.mode,
                percent=position.percent,
                who=self.name,
                at=datetime.now(UTC).isoformat(timespec="milliseconds"),
                why=f"its value is {position} (variant {_short(str(found.variant))!r}, reason {found.reason})",
            )
        return str(position), self._known

    def _trouble(self, kind: str, text: str = "") -> tuple[str, Entry]:
        kind = _short(kind)
        return f"{self._provider}: {kind}", self._lost(kind + (f": {_short(text)}" if text else ""))

    def _lost(self, told: str) -> Entry:
        return Entry(sequence=0, mode=Mode.V1, trouble=f"{self.name}: {told}")


def _short(text: str) -> str:
    return text if len(text) <= MOST_SIGNS else text[:MOST_SIGNS] + "…"


def _remove_handlers(handler: Callable[[EventDetails], None], pid: int) -> None:
    if os.getpid() != pid:
        return  # in a forked child the lock of the handlers may be held for ever
    for event in ProviderEvent:
        try:
            api.remove_handler(event, handler)
        except ValueError:  # the application has removed all handlers
            pass
