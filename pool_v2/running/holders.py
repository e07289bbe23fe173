"""Describes which clients hold the workers after a checkout timeout, and where in the application each client is now.

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
    """Reads every thread's frame: one thread at a time, and without a garbage collection meanwhile.

    CPython 3.11 creates the frames under a lock of the whole interpreter. If that triggers a collection that closes a
    descriptor, other threads run. A thread that then starts or ends a thread, or reads the frames too, waits for that
    lock without releasing the interpreter (python/cpython#106883): the process hangs for ever.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._paused = False
        os.register_at_fork(after_in_child=self._after_fork_in_child)

    def frames(self) -> dict[int, FrameType]:
        """Return the frame of each thread, by its ident."""
        with self._lock:
            try:
                self._paused = gc.isenabled()
                gc.disable()
                found = sys._current_frames()
            finally:  # inlined: an interrupt could come at the beginning of a function
                if self._paused:
                    self._paused = False
                    gc.enable()
        return found

    def _after_fork_in_child(self) -> None:
        self._lock = threading.Lock()  # the thread that held it is in the parent
        if self._paused:
            self._paused = False
            gc.enable()


_look = _Look()


def describe_holders(tickets: Sequence[Ticket]) -> tuple[str, ...]:
    """Describe up to MOST_HOLDERS clients that hold a worker, each with the application's innermost frames."""
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
        frames.clear()  # they include this function's own frame, which would keep all of them alive


def _outside(frame: FrameType | None) -> str:
    # The pool's own frames are omitted, because they do not help the reader.
    stack = traceback.extract_stack(frame) if frame is not None else []
    while stack and stack[-1].filename.startswith(OWN_DIRS):
        stack.pop()
    return "".join(traceback.format_list(stack[-MOST_FRAMES:])).rstrip()
