"""Who holds the workers that a client has waited for in vain, and where in the application each of them is now.

Reads the stacks of other threads; changes nothing.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from poolproof import bridge
from poolproof.pool_v2.core.ticket import Ticket

MOST_HOLDERS = 8
MOST_FRAMES = 4
OWN_DIRS = tuple(str(path) + os.sep for path in (Path(str(bridge.__file__)).parent, Path(__file__).parents[1]))


class _Look:
    """Taking every thread's frame, by one thread at a time and without a collection of garbage in between.

    CPython 3.11 creates the frames under a lock of the whole interpreter. If that sets off a collection, and what is
    collected closes a descriptor, other threads run, and any of them that starts or ends a thread, or looks too, waits
    for that lock and lets nobody run (python/cpython#106883): the process stands still for ever.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._paused = False
        os.register_at_fork(after_in_child=self._after_fork_in_child)

    def frames(self) -> dict[int, FrameType]:
        """The frame of each thread, by its ident."""
        with self._lock:
            try:
                self._paused = gc.isenabled()
                gc.disable()
                found = sys._current_frames()
            finally:  # without a function of its own, at whose beginning an interrupt could come
                if self._paused:
                    self._paused = False
                    gc.enable()
        return found

    def _after_fork_in_child(self) -> None:
        self._lock = threading.Lock()  # whoever held it is in the parent
        if self._paused:
            self._paused = False
            gc.enable()


_look = _Look()


def describe_holders(tickets: Sequence[Ticket]) -> tuple[str, ...]:
    """A few of those who hold a worker, in words, each with the innermost frames of the application."""
    if not tickets:
        return ()
    frames = _look.frames()
    try:
        return tuple(
            f"call {ticket.call} holds worker {ticket.worker_id}, in thread {ticket.thread_id}\n"
            f"{_outside(frames.get(ticket.thread_id))}".rstrip()
            for ticket in tickets[:MOST_HOLDERS]
        )
    finally:
        frames.clear()  # this function's own is among them, and would keep them all


def _outside(frame: FrameType | None) -> str:
    # Where in the pool a client waits for its worker tells nobody anything.
    stack = traceback.extract_stack(frame) if frame is not None else []
    while stack and stack[-1].filename.startswith(OWN_DIRS):
        stack.pop()
    return "".join(traceback.format_list(stack[-MOST_FRAMES:])).rstrip()
