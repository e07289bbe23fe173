"""The thread that looks: every so often, and at once when there is something to see.

Knows nothing of what is looked at, and does not keep it alive: a pool that is dropped without `close` ends this too.
"""

from __future__ import annotations

import logging
import threading
import weakref
from typing import Protocol

logger = logging.getLogger("poolproof.migration")
PAUSE_S = 0.02
"""Between two looks, however urgent."""
JOIN_S = 2.0


class Looking(Protocol):
    """What is looked after."""

    def look(self) -> None:
        """Once."""
        ...


class Watch:
    """Calls `look` of a control every `poll_s` seconds, and when `urgent` is set."""

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
        except Exception:  # the next look may succeed, and without this thread nobody would roll back
            logger.exception("a look at the migration failed")
        del found
