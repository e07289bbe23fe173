"""Tells the observer what has happened, in a thread of its own: whoever acts only notes it.

Invariant: whatever was noted before `close` has been told when it returns, unless the observer is stuck.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from contextvars import copy_context
from typing import Any

from poolproof.bridge import Event, EventKind, Observer
from poolproof.bridge.clock import now_ns
from poolproof.bridge.events import CORRELATION

LOOK_EVERY_S = 0.008
"""How late the observer hears of a step, at most, unless it is slow itself."""
END_TIMEOUT_S = 5.0
"""How long the close waits for an observer that does not return."""
MOST_UNTOLD = 1_000_000
"""How many steps may wait for an observer that is too slow; those beyond are dropped, the oldest first."""
Note = tuple[Any, ...]
"""The first fields of an Event, as many as differ from its defaults; of an ENQUEUE its context in the last place, of an
OFFER in place of `detail` since when the call has waited, in nanoseconds."""
CONTEXT_AT = 6
_ENQUEUE, _OFFER = EventKind.ENQUEUE, EventKind.OFFER
logger = logging.getLogger(__name__)


class EventLog:
    """What one pool tells its observer. To note a step is an append: it waits for nothing, and may come anywhere."""

    def __init__(self, observer: Observer, name: str) -> None:
        self._observer = observer
        self._name = name
        self._owner_pid = os.getpid()
        self._notes: deque[Note] = deque(maxlen=MOST_UNTOLD)
        self.append = self._notes.append
        """`note` without a function of Python's, for the steps that every call takes."""
        self._telling = threading.Lock()
        self.closed = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{name}-events", daemon=True)
        self._thread.start()

    def enqueued(self, call: int, worker: int | None = None) -> None:
        """A call begins now. The observer is told in a copy of this context, so that it finds whose call it is."""
        self.append((_ENQUEUE, now_ns(), call, worker, None, "", copy_context()))

    def note(
        self,
        kind: EventKind,
        call: int | None = None,
        worker: int | None = None,
        pid: int | None = None,
        detail: str = "",
        at_ns: int | None = None,
    ) -> None:
        """A step was taken now, or at `at_ns`."""
        self.append((kind, now_ns() if at_ns is None else at_ns, call, worker, pid, detail))

    def close(self) -> None:
        """Tell what is left, and end. Idempotent; in the observer's own thread it only asks for the end."""
        self._ended.set()
        self.closed = True
        if self._thread is not threading.current_thread() and os.getpid() == self._owner_pid:
            self._thread.join(END_TIMEOUT_S)

    def flush(self) -> None:
        """Tell what has been noted before, in this thread; what another thread is just telling has been told, too."""
        with self._telling:
            self._tell_all()

    def tell_late(self) -> None:
        """After the close: tell what was noted since, unless that is just being done. Never waits."""
        if self.closed and self._telling.acquire(blocking=False):
            try:
                self._tell_all()
            finally:
                self._telling.release()

    def _run(self) -> None:
        while not self._ended.wait(LOOK_EVERY_S):
            self.flush()
        self.flush()

    def _tell_all(self) -> None:
        if len(self._notes) == MOST_UNTOLD:
            logger.warning(
                "pool %r: its observer is too slow; the oldest of %d steps are lost", self._name, MOST_UNTOLD
            )
        observer, notes, note = self._observer, self._notes, None
        take = notes.popleft
        while notes:
            try:
                while notes:
                    note = take()
                    if len(note) > CONTEXT_AT:
                        context = note[CONTEXT_AT]
                        event = Event(_ENQUEUE, note[1], note[2], note[3], correlation=context.get(CORRELATION))
                        context.run(observer, event)
                    elif note[0] is _OFFER:
                        waited_us = (note[1] - note[-1]) // 1000
                        observer(Event(_OFFER, note[1], note[2], note[3], None, str(waited_us)))
                    else:
                        observer(Event(*note))
            except BaseException:  # whatever it is, the steps after it are to be told
                logger.exception("pool %r: its observer failed at %s", self._name, note and note[0])
