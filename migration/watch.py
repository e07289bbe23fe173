"""A thread that calls `look` of a control: periodically, and at once when `urgent` is set.

The thread keeps only a weak reference to the control, so if a pool is dropped without `close`, the thread ends too.
"""

from __future__ import annotations

import logging
import threading
import weakref
from typing import Protocol

logger = logging.getLogger("poolproof.migration")
PAUSE_S = 0.02
"""The minimum pause between two looks in seconds, even if urgent."""
JOIN_S = 2.0


class Looking(Protocol):
    """An object that Watch calls."""

    def look(self) -> None:
        """Check once."""
        ...


class Watch:
    """Calls `look` of a control every `poll_s` seconds, and at once when `urgent` is set."""

    def __init__(self, control: Looking, urgent: threading.Event, poll_s: float) -> None:
        self._urgent = urgent
        self._stopped = threading.Event()
        args = (weakref.ref(control), urgent, self._stopped, poll_s)
        self._thread = threading.Thread(target=_watch, args=args, name="migration-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread. Idempotent."""
        self._stopped.set()
        self._urgent.set()
        if self._thread is not threading.current_thread():
            self._thread.join(JOIN_S)


def _watch(control: weakref.ref[Looking], urgent: threading.Event, stopped: threading.Event, poll_s: float) -> None:
    while not stopped.wait(PAUSE_S):
        urgent.wait(poll_s)
        urgent.clear()
        found = control()
        if found is None:
            return
        try:
            found.look()
        except Exception:  # the next look may succeed; without this thread there would be no rollback
            logger.exception("reading the state of the migration failed")
        del found
