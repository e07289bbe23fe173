"""Drains the stderr of a pool's workers: the last bytes stay in memory, and a capped log file gets the first ones.

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
from pathlib import Path

from poolproof.bridge.regular_file import write_all

READ_BYTES = 64 * 1024
MOST_READS = 16
"""How often a thread that wants the last lines reads a pipe that another process still floods."""


KEPT_LOGS = 16
"""How many logs of ended workers stay in a run directory."""
MOST_LOG_BYTES = 64 * 1024 * 1024
"""The maximum size of all logs in a run directory together."""
LOG_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def _nothing() -> None:
    pass


class StderrLogs:
    """The logs in the directory `dir_fd`: those of the living workers, and of the last `kept` ended ones.

    Together they have at most `most_bytes`: the logs of ended workers make room, the oldest first; without room, log
    data is lost. Not thread-safe.
    """

    def __init__(self, dir_fd: int, *, kept: int = KEPT_LOGS, most_bytes: int = MOST_LOG_BYTES) -> None:
        self.dir_fd = dir_fd
        self._kept = kept
        self._room_bytes = most_bytes
        self._ended: deque[tuple[Path, int]] = deque()

    def take(self, wanted_bytes: int) -> int:
        """Return how many more bytes may be written, at most `wanted_bytes`."""
        while self._ended and self._room_bytes < wanted_bytes:
            self._remove_oldest()
        granted_bytes = min(wanted_bytes, self._room_bytes)
        self._room_bytes -= granted_bytes
        return granted_bytes

    def end(self, path: Path, size_bytes: int) -> None:
        """Record that this log is complete, with so many of the granted bytes."""
        self._ended.append((path, size_bytes))
        while len(self._ended) > self._kept:
            self._remove_oldest()

    def _remove_oldest(self) -> None:
        path, size_bytes = self._ended.popleft()
        self._room_bytes += size_bytes
        with contextlib.suppress(OSError):  # the user may have removed it
            os.unlink(path, dir_fd=self.dir_fd)


class StderrTail:
    """The last `ring_bytes` of one worker's stderr, with a log file of at most `log_bytes`.

    `log_path` is in the directory of `logs`, which limit all logs together; without `logs` it is a path of its own.
    `show` gets all bytes, and empty bytes at the end; it must not wait.
    `append` is called under the drain's lock; `text` may be read from any thread, and first reads what the worker has
    written until now, so that what a worker writes before it ends is never missing. If the log cannot be written, only
    log data is lost, never the worker: `log_errors` counts the losses.
    """

    def __init__(
        self,
        *,
        ring_bytes: int,
        log_path: Path | None = None,
        log_bytes: int = 0,
        logs: StderrLogs | None = None,
        show: Callable[[bytes], None] | None = None,
    ) -> None:
        self._show = show
        self._ring_bytes = ring_bytes
        self._chunks: deque[bytes] = deque()
        self._held_bytes = 0
        self._log_path = log_path
        self._log_room_bytes = log_bytes
        self._logged_bytes = 0
        self._logs = logs
        self._ended = threading.Event()
        self.pull: Callable[[], None] = _nothing
        """Reads what is in the pipe now; set by the drain that reads the pipe."""
        self.total_bytes = 0
        self.log_errors = 0

    def append(self, data: bytes) -> None:
        """Append the worker's output."""
        self.total_bytes += len(data)
        if self._ring_bytes:
            self._chunks.append(data[-self._ring_bytes :])
            self._held_bytes += len(self._chunks[-1])
            while self._held_bytes - len(self._chunks[0]) >= self._ring_bytes:
                self._held_bytes -= len(self._chunks.popleft())
        self._log(data)
        if self._show is not None:
            self._show(data)

    def _log(self, data: bytes) -> None:
        if self._log_path is None or self._log_room_bytes <= 0:
            return
        data = data[: self._log_room_bytes]
        self._log_room_bytes -= len(data)
        if self._logs is not None:
            data = data[: self._logs.take(len(data))]
            self._logged_bytes += len(data)
        if not data:
            return
        try:
            fd = os.open(self._log_path, LOG_FLAGS, 0o666, dir_fd=None if self._logs is None else self._logs.dir_fd)
            try:
                write_all(fd, data)
            finally:
                os.close(fd)
        except OSError:
            self.log_errors += 1

    def finish(self) -> None:
        """Record that no more output can come. Called once, under the drain's lock."""
        if self._logs is not None and self._log_path is not None and self._logged_bytes:
            self._logs.end(self._log_path, self._logged_bytes)
        if self._show is not None:
            self._show(b"")
        self._ended.set()

    @property
    def ended(self) -> bool:
        """Whether no more output can come."""
        return self._ended.is_set()

    def await_end(self, wait_s: float) -> bool:
        """Wait at most `wait_s` seconds until no more output can come. Returns whether that is so."""
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
