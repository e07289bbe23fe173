"""Tells the observer what has happened, in a thread of its own: whoever acts only appends.

Invariant: whatever was appended before `close` has been told when it returns, unless the observer is stuck.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque

from bridge import Event, Observer
from pool_v2.records import Record

LOOK_EVERY_S = 0.008
"""How late the observer hears of a step, at most, unless it is slow itself."""
END_TIMEOUT_S = 5.0
"""How long the close waits for an observer that does not return."""
logger = logging.getLogger(__name__)


class EventLog:
    """What one pool tells its observer. `append` is one step of the interpreter: it may be called anywhere."""

    def __init__(self, observer: Observer, name: str) -> None:
        self._observer = observer
        self._name = name
        self._owner_pid = os.getpid()
        self._records: deque[Record | Event] = deque()
        self.append = self._records.append
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{name}-events", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Tell what is left, and end. Idempotent; in the observer's own thread it only asks for the end."""
        self._ended.set()
        if self._thread is not threading.current_thread() and os.getpid() == self._owner_pid:
            self._thread.join(END_TIMEOUT_S)

    def _run(self) -> None:
        while not self._ended.wait(LOOK_EVERY_S):
            self._tell_all()
        self._tell_all()

    def _tell_all(self) -> None:
        records = self._records
        while records:
            record = records.popleft()
            for event in (record,) if type(record) is Event else record.events():  # type: ignore[union-attr]
                try:
                    self._observer(event)
                except Exception:
                    logger.exception("pool %r: its observer failed at %s", self._name, event.kind)
