"""Delivers events to the observer in a separate thread; the thread that takes a step only notes it.

Invariant: when `close` returns, every event noted before it has been delivered, unless the observer hangs.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from contextvars import copy_context
from typing import Any

from poolproof.bridge import Event, EventKind, Observer
from poolproof.bridge.events import CORRELATION
from poolproof.pool_v2.running.platform import MACHINE, Platform

LOOK_EVERY_S = 0.008
"""The maximum delay of an event in seconds, unless the observer itself is slow."""
END_TIMEOUT_S = 5.0
"""How long `close` waits for an observer that does not return, in seconds."""
MOST_UNTOLD = 1_000_000
"""The maximum number of undelivered events; if the observer is too slow, the oldest events are dropped."""
Note = tuple[Any, ...]
"""The first fields of an Event, up to the last one that differs from its default. An ENQUEUE has its context as the
last field. An OFFER has the time when the call entered the queue, in nanoseconds, instead of `detail`."""
CONTEXT_AT = 6
_ENQUEUE, _OFFER = EventKind.ENQUEUE, EventKind.OFFER
logger = logging.getLogger(__name__)


class EventLog:
    """The undelivered events of one pool. Noting an event is an append: it never waits and may happen anywhere."""

    def __init__(self, observer: Observer, name: str, platform: Platform = MACHINE) -> None:
        self._observer = observer
        self._name = name
        self.now_ns = platform.clock.now_ns
        self._owner_pid = os.getpid()
        self._notes: deque[Note] = deque(maxlen=MOST_UNTOLD)
        self.append = self._notes.append
        """`note` without a Python function call, for the steps of every call."""
        self._telling = threading.Lock()
        self.closed = False
        self._ended = threading.Event()
        self._thread = platform.thread(self._run, f"{name}-events")
        self._thread.start()

    def enqueued(self, call: int, worker: int | None = None) -> None:
        """Note that a call begins. The observer runs in a copy of this context, so that it can identify the call."""
        self.append((_ENQUEUE, self.now_ns(), call, worker, None, "", copy_context()))

    def note(
        self,
        kind: EventKind,
        call: int | None = None,
        worker: int | None = None,
        pid: int | None = None,
        detail: str = "",
    ) -> None:
        """Note a step that is taken now."""
        self.append((kind, self.now_ns(), call, worker, pid, detail))

    def close(self) -> None:
        """Deliver the remaining events and end the thread. Idempotent.

        In the observer's own thread, this only requests the end.
        """
        self._ended.set()
        self.closed = True
        if self._thread is not threading.current_thread() and os.getpid() == self._owner_pid:
            self._thread.join(END_TIMEOUT_S)

    def flush(self) -> None:
        """Deliver all events noted so far, in this thread. Waits for a delivery in another thread."""
        with self._telling:
            self._tell_all()

    def tell_late(self) -> None:
        """After the close, deliver the events noted since, unless another thread is delivering. Never waits."""
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
                "pool %r: its observer is too slow; the oldest of %d events were dropped", self._name, MOST_UNTOLD
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
            except BaseException:  # the events after a failure must still be delivered
                logger.exception("pool %r: its observer failed at %s", self._name, note and note[0])
