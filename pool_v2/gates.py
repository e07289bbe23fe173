"""Gates that open at a worker's answer: whoever waits behind one sleeps once for its worker and its answer together.

A client that waits for a worker may let another write its request (`pool_v2.ticket`). Whoever has written it lets the
gate open as soon as the worker answers; until then its client sleeps, in one system call.

Owns descriptors: one epoll a gate, MOST_GATES of them at most, and only as many as clients have waited at a time; and
one bell for all. Where none is left, clients wait on locks, and sleep twice.
"""

from __future__ import annotations

import os
import select
import threading
import weakref
from collections import deque

from pool_v2.ticket import Gate

MOST_GATES = 32
"""How many clients of one pool may wait for their answer; those beyond wait for the hand-over, on a lock."""
LONGEST_WAIT_S = 86400.0
_NEVER = select.EPOLLONESHOT
_ONCE = select.EPOLLIN | select.EPOLLONESHOT


class Bell:
    """A descriptor that can always be read: a gate that looks out for it opens at once. Closed when it is forgotten."""

    __slots__ = ("fd",)

    def __init__(self) -> None:
        self.fd = os.eventfd(1, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def __del__(self) -> None:
        if hasattr(self, "fd"):
            os.close(self.fd)


class AnswerGate(Gate):
    """A gate that another thread opens, or lets open when a descriptor can be read.

    Invariant: an `open`, or a descriptor of `open_at` that can be read, ends a wait, the one that lasts or the next. It
    may also open for nothing, for what an earlier ticket was waiting for; so its client looks at its ticket again.
    """

    __slots__ = ("__weakref__", "_bell", "_epoll")

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self._epoll = select.epoll()
        self._epoll.register(bell.fd, _NEVER)

    def open(self) -> None:
        """Let the waiting thread go on. From any thread."""
        self._epoll.modify(self._bell.fd, _ONCE)

    def open_at(self, fd: int) -> None:
        """Let it go on as soon as `fd` can be read, or its other end is closed. From any thread."""
        try:
            self._epoll.modify(fd, _ONCE)
        except OSError:
            self._add(fd)

    def wait(self, timeout_s: float | None) -> bool:
        """Wait for it to open, at most `timeout_s` seconds (or a day) unless that is None; whether it did."""
        return bool(self._epoll.poll(None if timeout_s is None else min(max(timeout_s, 0.0), LONGEST_WAIT_S), 1))

    def _add(self, fd: int) -> None:
        try:
            self._epoll.register(fd, _ONCE)
        except OSError:  # the kernel takes no more: its client waits in its read
            self.open()


class Gates:
    """A pool's gates, each used by one waiting client at a time. Every method may be called from any thread.

    `free` has those that nobody waits behind. Whoever begins to wait takes one of them under the pool's lock.
    """

    def __init__(self, most: int = MOST_GATES) -> None:
        self.free: deque[Gate] = deque()
        self._most = most
        self._living: weakref.WeakSet[AnswerGate] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._bell: Bell | None = None
        self._closed = False
        _ALL.add(self)

    def put(self, gate: Gate) -> None:
        """Nobody waits behind this one any more. If it is a mere lock, there were too few: one is made."""
        if isinstance(gate, AnswerGate):
            self.free.append(gate)
        elif len(self._living) < self._most:
            self._make()

    def close(self) -> None:
        """Close those that are free; each other is closed when its client forgets it. Idempotent."""
        with self._lock:
            self._closed = True
            self._bell = None
            closing, self.free = self.free, deque(maxlen=0)
            closing.clear()

    def _make(self) -> None:
        with self._lock:
            if self._closed or len(self._living) >= self._most:
                return
            try:
                if self._bell is None:
                    self._bell = Bell()
                gate = AnswerGate(self._bell)
            except OSError:  # no descriptor is left
                return
            self._living.add(gate)
            self.free.append(gate)


_ALL: weakref.WeakSet[Gates] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    # The pool is its parent's. Closing the child's copies changes nothing there.
    for gates in list(_ALL):
        gates._lock = threading.Lock()  # whoever held it is in the parent
        gates.close()


os.register_at_fork(after_in_child=_after_fork_in_child)
