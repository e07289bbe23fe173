"""Gates that an answer comes through: whoever waits behind one sleeps once for its worker and its answer together.

A client that waits for a worker may let another write its request (`pool_v2.ticket`). The request says which pipe its
answer is to come through, and there its client sleeps, in one read that gives it the answer (`bridge.replies`).

Owns descriptors and names: one FIFO a gate, MOST_GATES of them at most, and only as many as clients have waited at a
time. Where there is none, clients wait on locks, and sleep twice.
"""

from __future__ import annotations

import itertools
import os
import select
import threading
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from struct import Struct

from bridge.framing import HEADER_BYTES
from bridge.replies import ELSEWHERE, LARGEST_REPLY_BYTES, POKE, reply_path
from pool_v2.ticket import Gate

NO_FD = -1
MOST_GATES = 32
"""How many clients of one pool may wait for their answer; those beyond wait for the hand-over, on a lock."""
MOST_LOST = 8
"""After so many pipes of one pool that a worker could not open, no more are made: each has cost a worker."""
LONGEST_WAIT_S = 86400.0
READ_BYTES = 2 * LARGEST_REPLY_BYTES
_size_of = Struct(">I").unpack_from


class AnswerGate(Gate):
    """A gate that is a reply pipe, made at `path`; `number` is what a request calls it.

    Invariant: whoever waits is woken by the answer to the request that said its number, and by `open`, be it in this
    wait or in the next. It may also open for nothing, for what an earlier ticket was waiting for; so its client looks
    at its ticket again. After an error it is never used again: an answer might still come. (A pipe takes 65,536
    openings that nobody has seen before `open` would wait.)
    """

    __slots__ = ("__weakref__", "_fd", "_owner_pid", "_path", "_poked", "_poll", "answer", "lost", "number")

    def __init__(self, path: str, number: int) -> None:
        self.number = number
        self.answer: bytes | None = None
        self.lost = False
        self._path = path
        self._owner_pid = os.getpid()
        self._poked = False
        self._poll: select.poll | None = None
        self._fd = NO_FD
        os.mkfifo(path, 0o600)
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)  # for reading and writing, so it never ends
        except OSError:
            os.unlink(path)
            raise

    def __del__(self) -> None:
        fd = self._fd
        if fd < 0:
            return
        try:
            with suppress(OSError):  # gone with the pool's directory, where a later pool may have one of the same name
                if self._owner_pid == os.getpid() and os.path.samestat(os.stat(self._path), os.fstat(fd)):
                    os.unlink(self._path)
        finally:
            os.close(fd)

    def abandon(self) -> None:
        """Close the descriptor, in a forked child."""
        fd, self._fd = self._fd, NO_FD
        if fd >= 0:
            os.close(fd)

    def open(self) -> None:
        """Let the waiting thread go on. From any thread."""
        os.write(self._fd, POKE)

    def was_written(self) -> None:
        """Its request was written: the answer will open it."""

    def wait(self, timeout_s: float | None) -> bool:
        """Wait for it to open, at most `timeout_s` seconds (or a day) unless that is None; whether it did.

        If it has opened with the answer, `answer` is that: its payload, or nothing if it is to be sought elsewhere.
        """
        if timeout_s is not None and not self._ready(timeout_s):
            return False
        data = os.read(self._fd, READ_BYTES)
        if len(data) > HEADER_BYTES and _size_of(data)[0] == len(data) - HEADER_BYTES:
            self.answer = data[HEADER_BYTES:]
        else:
            self._sift(data)
        return True

    def receive(self, ended: Callable[[], bool]) -> bytes | None:
        """Wait for the answer; None if it is to be sought on its worker's stdout, by its word or as it has `ended`.

        In the second case this gate is `lost`: if there is an answer, the worker could not open it. What is no frame is
        given as it is.
        """
        while (answer := self.answer) is None:
            if self._poked:  # the poke may have told of the worker's end, before which it may have answered
                self._poked = False
                if ended() and not self._ready(0.0):
                    self.lost = True
                    return None
            self.wait(None)
        self.answer = None
        return answer or None

    def _sift(self, data: bytes) -> None:
        frame = data.strip(POKE)
        if not frame:
            self._poked = True
        elif frame == ELSEWHERE:
            self.answer = b""
        else:
            whole = len(frame) > HEADER_BYTES and _size_of(frame)[0] == len(frame) - HEADER_BYTES
            self.answer = frame[HEADER_BYTES:] if whole else frame

    def _ready(self, timeout_s: float) -> bool:
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self._fd, select.POLLIN)
        return bool(self._poll.poll(min(max(timeout_s, 0.0), LONGEST_WAIT_S) * 1000))


class Gates:
    """A pool's gates, each used by one call at a time. Every method may be called from any thread.

    `free` has those that no call uses. Whoever begins a call takes one of them, if there is any. They are made in
    `directory`; empty: this pool's workers know no reply pipes.
    """

    def __init__(self, directory: str, most: int = MOST_GATES) -> None:
        self.free: deque[AnswerGate] = deque()
        self._directory = directory
        self._most = most
        self._numbers = itertools.count(1)
        self._living: weakref.WeakSet[AnswerGate] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._lost = 0
        self._closed = not directory
        _ALL.add(self)

    def take(self) -> AnswerGate | None:
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
                number = next(self._numbers)
                gate = AnswerGate(reply_path(self._directory, number), number)
            except OSError:  # no descriptor is left, or the directory takes no pipes
                return
            self._living.add(gate)
            self.free.append(gate)

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


_ALL: weakref.WeakSet[Gates] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    # The pool is its parent's. Closing the child's copies changes nothing there.
    for gates in list(_ALL):
        gates._lock = threading.Lock()  # whoever held it is in the parent
        gates.close()
        for gate in list(gates._living):
            gate.abandon()


os.register_at_fork(after_in_child=_after_fork_in_child)
