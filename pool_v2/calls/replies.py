"""A pool's reply pipes: how many there are, and which no call uses (`poolproof.bridge.wire.replies`).

Owns descriptors and names, one FIFO each: MOST_PIPES at most, and only as many as clients have waited at a time. Where
there is none, a client waits on a lock for its worker, and then once more for its answer.
"""

from __future__ import annotations

import itertools
import os
import threading
import weakref
from collections import deque

from poolproof.bridge.wire.replies import ReplyPipe

MOST_PIPES = 32
"""How many clients of one pool may wait so; those beyond wait on a lock."""
MOST_LOST = 8
"""After so many pipes of one pool that a worker could not open, no more are made: each has cost a worker."""


class Replies:
    """Each pipe is used by one call at a time. Every method may be called from any thread.

    `free` has those that no call uses: whoever begins a call takes one, if there is any. They are made in `directory`;
    empty: this pool's workers know no reply pipes.
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
        """One that no call uses, if there is any."""
        try:
            return self.free.pop()
        except IndexError:
            return None

    def lacking(self) -> None:
        """A client has waited without one: one is made, unless there are enough."""
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
        """A worker could not open one of them."""
        self._lost += 1
        if self._lost >= MOST_LOST:
            self.close()

    def close(self) -> None:
        """Close those that are free; each other is closed when its client forgets it. Idempotent."""
        with self._lock:
            self._closed = True
            closing, self.free = self.free, deque(maxlen=0)
            closing.clear()


_ALL: weakref.WeakSet[Replies] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    # The pool is its parent's. Closing the child's copies changes nothing there.
    for replies in list(_ALL):
        replies._lock = threading.Lock()  # whoever held it is in the parent
        replies.close()
        for pipe in list(replies._living):
            pipe.abandon()


os.register_at_fork(after_in_child=_after_fork_in_child)
