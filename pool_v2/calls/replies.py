"""A pool's reply pipes (`poolproof.bridge.wire.replies`): keeps the free pipes and limits their number.

Owns descriptors and names, one FIFO each: at most MOST_PIPES, and only as many as clients have waited at the same time.
Without a free pipe, a client waits on a lock for its worker, and then once more for its response.
"""

from __future__ import annotations

import itertools
import os
import threading
import weakref
from collections import deque

from poolproof.bridge.wire.replies import ReplyPipe

MOST_PIPES = 32
"""How many clients of one pool may wait at reply pipes; further clients wait on a lock."""
MOST_LOST = 8
"""After this many pipes that a worker could not open, no more pipes are made: each of them has cost a worker."""


class Replies:
    """The reply pipes of one pool; each is used by one call at a time. Every method may be called from any thread.

    `free` has the unused pipes: a new call takes one, if there is any. Pipes are made in `directory`; if it is empty,
    this pool's workers do not support reply pipes.
    """

    def __init__(self, directory: str, most: int = MOST_PIPES) -> None:
        self.free: deque[ReplyPipe] = deque()
        self._directory = directory
        self._most = most
        self._numbers = itertools.count(1)
        self._living: weakref.WeakSet[ReplyPipe] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._lost = 0
        self._closed = not directory
        _ALL.add(self)

    def take(self) -> ReplyPipe | None:
        """Return an unused pipe, or None if there is none."""
        try:
            return self.free.pop()
        except IndexError:
            return None

    def lacking(self) -> None:
        """Make a pipe after a client has waited without one, unless there are enough."""
        if self._closed or len(self._living) >= self._most:
            return
        with self._lock:
            if self._closed or len(self._living) >= self._most:
                return
            try:
                pipe = ReplyPipe(self._directory, next(self._numbers))
            except OSError:  # no descriptor is left, or the directory takes no pipes
                return
            self._living.add(pipe)
            self.free.append(pipe)

    def lost(self) -> None:
        """Record that a worker could not open a pipe."""
        self._lost += 1
        if self._lost >= MOST_LOST:
            self.close()

    def close(self) -> None:
        """Close the free pipes; each other pipe is closed when its client drops it. Idempotent."""
        with self._lock:
            self._closed = True
            closing, self.free = self.free, deque(maxlen=0)
            closing.clear()


_ALL: weakref.WeakSet[Replies] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    # The pool belongs to the parent. Closing the child's copies has no effect there.
    for replies in list(_ALL):
        replies._lock = threading.Lock()  # the thread that held it is in the parent
        replies.close()
        for pipe in list(replies._living):
            pipe.abandon()


os.register_at_fork(after_in_child=_after_fork_in_child)
