"""Drains the stderr of a pool's workers: the last bytes stay in memory, and a log file gets the first ones.

Independent of frames: stderr is never part of the wire protocol, and a flood of it never blocks a worker.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections import deque
from collections.abc import Callable
from functools import partial

from poolproof.bridge.processes.output.logs import Log

READ_BYTES = 64 * 1024
MOST_READS = 16
"""How many times a thread that wants the last lines reads a pipe that another process keeps filling, at most."""


def _nothing() -> None:
    pass


class StderrTail:
    """The last `ring_bytes` of one worker's stderr, which is also written to its `log`.

    `show` gets all bytes, and empty bytes at the end; it must not wait.
    `append` is called under the drain's lock; `text` may be read from any thread, and first reads what the worker has
    written until now, so that what a worker writes before it ends is never missing. If the log cannot be written, only
    log data is lost, never the worker.
    """

    def __init__(
        self,
        *,
        ring_bytes: int,
        log: Log | None = None,
        show: Callable[[bytes], None] | None = None,
    ) -> None:
        self._show = show
        self._ring_bytes = ring_bytes
        self._chunks: deque[bytes] = deque()
        self._held_bytes = 0
        self._log = log
        self._ended = threading.Event()
        self.pull: Callable[[], None] = _nothing
        """Reads what is in the pipe now; set by the drain that reads the pipe."""
        self.total_bytes = 0

    def append(self, data: bytes) -> None:
        """Append the worker's output."""
        self.total_bytes += len(data)
        if self._ring_bytes:
            self._chunks.append(data[-self._ring_bytes :])
            self._held_bytes += len(self._chunks[-1])
            while self._held_bytes - len(self._chunks[0]) >= self._ring_bytes:
                self._held_bytes -= len(self._chunks.popleft())
        if self._log is not None:
            self._log.write(data)
        if self._show is not None:
            self._show(data)

    def finish(self) -> None:
        """Record that no more output can come. Called once, under the drain's lock."""
        if self._log is not None:
            self._log.end()
        if self._show is not None:
            self._show(b"")
        self._ended.set()

    @property
    def ended(self) -> bool:
        """Whether no more output can come."""
        return self._ended.is_set()

    def await_end(self, wait_s: float) -> bool:
        """Wait at most `wait_s` seconds until no more output can come. Returns False if more can come."""
        self.pull()
        return self._ended.is_set() if wait_s <= 0 else self._ended.wait(wait_s)

    def text(self, *, lines: int = 12, wait_s: float = 0.0) -> str:
        """Return the last lines as text; waits at most `wait_s` seconds for the stream's end first."""
        self.pull()
        if wait_s > 0:
            self._ended.wait(wait_s)
        data = b"".join(list(self._chunks))[-self._ring_bytes :]
        return "\n".join(data.decode("utf-8", "replace").splitlines()[-lines:])


class StderrDrain:
    """One thread that reads the stderr of every worker of one pool.

    Invariant: a descriptor in `_tails` is open and belongs to this drain, which closes it at its end.
    """

    def __init__(self, name: str) -> None:
        self._lock = threading.Lock()
        self._tails: dict[int, StderrTail] = {}
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f"{name}-stderr", daemon=True)
        with contextlib.ExitStack() as opened:
            self._epoll = opened.enter_context(select.epoll())
            self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            opened.callback(os.close, self._wake)
            self._epoll.register(self._wake, select.EPOLLIN)
            self._thread.start()
            opened.pop_all()

    def watch(self, fd: int, tail: StderrTail) -> None:
        """Take over `fd`, a pipe's read end, and read it until its end."""
        os.set_blocking(fd, False)
        with self._lock:
            self._tails[fd] = tail
            self._epoll.register(fd, select.EPOLLIN)
        tail.pull = partial(self._pull, fd, tail)

    def close(self) -> None:
        """Stop, after one last read of the unread output. Idempotent."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        self._epoll.close()
        os.close(self._wake)

    def close_in_child(self) -> None:
        """Close the descriptors in a forked child, which has no drain thread."""
        for fd in [*self._tails, self._wake]:
            os.close(fd)
        self._epoll.close()

    def _run(self) -> None:
        while not self._closing:
            for fd, _ in self._epoll.poll():
                if fd != self._wake:
                    self._read(fd)
        for fd in list(self._tails):
            self._read(fd)
            with self._lock:
                if fd in self._tails:
                    self._end(fd)

    def _pull(self, fd: int, tail: StderrTail) -> None:
        with self._lock:
            for _ in range(MOST_READS):
                if self._tails.get(fd) is not tail or not self._read_once(fd):
                    return

    def _read(self, fd: int) -> None:
        with self._lock:
            if fd in self._tails:  # otherwise another thread has read it to its end
                self._read_once(fd)

    def _read_once(self, fd: int) -> bool:
        # Under the lock, so that two threads append in the order in which they read. Returns whether there was output.
        try:
            data = os.read(fd, READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:  # a connection of a worker on another node is broken
            data = b""
        if data:
            self._tails[fd].append(data)
        else:
            self._end(fd)
        return bool(data)

    def _end(self, fd: int) -> None:
        tail = self._tails.pop(fd)
        self._epoll.unregister(fd)
        os.close(fd)
        tail.finish()
