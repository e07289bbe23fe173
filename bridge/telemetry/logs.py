"""Logs a pool's events as log records, for the application's handlers.

Decides the level of each event; independent of formats and files.
"""

from __future__ import annotations

import logging

from poolproof.bridge.events import Event, EventKind
from poolproof.bridge.safe_text import one_line

EXPECTED_ENDS = frozenset({"retired", "close"})
"""The normal reasons of a KILL; any other reason is logged as a warning."""
# Module-level aliases: CPython 3.11 takes 0.2 µs to find a member in its Enum class, and events come in hot paths.
SPAWN, READY, CLOSE = EventKind.SPAWN, EventKind.READY, EventKind.CLOSE
KILL, REAP = EventKind.KILL, EventKind.REAP
SENTENCES = {
    SPAWN: "pool %s: worker %s (pid %s) was started",
    READY: "pool %s: worker %s (pid %s) is ready",
    KILL: "pool %s: worker %s (pid %s) is ended: %s",
    REAP: "pool %s: worker %s (pid %s) %s",
}
CALL_SENTENCE = "pool %s: call %s: %s, worker %s %s"


class LoggingObserver:
    """Logs one record per event: events of workers and of the pool at INFO or WARNING, calls at DEBUG.

    A warning is a worker that was ended for a reason other than `EXPECTED_ENDS`, or that died by itself. Every record
    has the fields event, call, worker, pid, detail and pool (`extra`). If the level is disabled, nothing is formatted.
    `logger` defaults to `poolproof.events`. Thread-safe; remembers only the workers that are being ended.
    """

    def __init__(self, pool: str, *, logger: logging.Logger | None = None) -> None:
        self._pool = pool
        self._logger = logger or logging.getLogger("poolproof.events")
        self._ending: set[int | None] = set()

    def __call__(self, event: Event) -> None:
        """Log one event."""
        level = self._level(event)
        if not self._logger.isEnabledFor(level):
            return
        detail = one_line(event.detail)
        words: tuple[object, ...]
        if event.kind is CLOSE:
            sentence, words = "pool %s: closed", (self._pool,)
        elif event.kind in SENTENCES:
            sentence = SENTENCES[event.kind]
            words = (self._pool, event.worker, event.pid, detail)[: sentence.count("%s")]
        else:
            sentence, words = CALL_SENTENCE, (self._pool, event.call, event.kind, event.worker, detail)
        extra = {
            "event": event.kind.value,
            "call": event.call,
            "worker": event.worker,
            "pid": event.pid,
            "detail": detail,
            "pool": self._pool,
        }
        self._logger.log(level, sentence, *words, extra=extra)

    def _level(self, event: Event) -> int:
        kind = event.kind
        if kind is KILL:
            self._ending.add(event.worker)
            return logging.INFO if event.detail in EXPECTED_ENDS else logging.WARNING
        if kind is REAP:
            told = event.worker in self._ending
            self._ending.discard(event.worker)
            return logging.INFO if told else logging.WARNING
        if kind is SPAWN or kind is READY or kind is CLOSE:
            return logging.INFO
        return logging.DEBUG
