"""Reply pipes: a request may name by number the pipe for its response, instead of the worker's stdout.

So a client that waits for a worker, and lets another thread write its request, sleeps only once: at its own pipe, where
the response wakes it. A reply pipe is a FIFO in a directory that the workers know from their environment. It has one
reader, its client. Any worker of the pool that got its number in `reply_to` writes to it.

Contents, each written at once and atomically, because it has at most PIPE_BUF bytes:
1. a frame, as on stdout;
2. ELSEWHERE: the frame is larger than PIPE_BUF, and comes through the worker's stdout;
3. POKE, from the pool itself: the client should check the state of its call. A POKE may be spurious.

The first byte of such a small frame is 0, and its last byte ends a JSON object, so the three cannot be confused.
"""

from __future__ import annotations

import errno
import os
import select
from contextlib import suppress

REPLY_DIR_VARIABLE = "POOLPROOF_REPLY_DIR"
"""The environment variable that gives workers the directory of the reply pipes."""
LARGEST_REPLY_BYTES = select.PIPE_BUF
POKE = b"\xff"
ELSEWHERE = b"\xfe"
NO_FD = -1
MOST_OPEN = 64
"""The maximum number of open pipes per worker. Clients drop pipes after errors, so unread pipes would accumulate."""
FLAGS = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC


def reply_path(directory: str, number: int) -> str:
    """Return the path of the reply pipe with this number."""
    return f"{directory}/reply-{number}"


class ReplyPipe:
    """The client's end of a reply pipe. It is closed and its file removed when it is garbage-collected.

    Raises OSError if it cannot be made. After an error a pipe is never reused, because a response might still arrive.
    (`poke` would wait only after 65,536 unread pokes.)
    """

    __slots__ = ("__weakref__", "_owner_pid", "_path", "_poll", "fd", "number")

    def __init__(self, directory: str, number: int) -> None:
        self.number = number
        self.fd = NO_FD
        self._path = reply_path(directory, number)
        self._owner_pid = os.getpid()
        self._poll: select.poll | None = None
        os.mkfifo(self._path, 0o600)
        try:
            self.fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)  # read and write, so the stream never ends
        except OSError:
            os.unlink(self._path)
            raise

    def __del__(self) -> None:
        fd = getattr(self, "fd", NO_FD)  # an interrupt may have come during __init__
        if fd < 0:
            return
        try:
            with suppress(OSError):  # removed with the directory; a later pool may reuse the path
                if self._owner_pid == os.getpid() and os.path.samestat(os.stat(self._path), os.fstat(fd)):
                    os.unlink(self._path)
        finally:
            os.close(fd)

    def abandon(self) -> None:
        """Close the descriptor in a forked child."""
        fd, self.fd = self.fd, NO_FD
        if fd >= 0:
            os.close(fd)

    def poke(self) -> None:
        """Wake the client that waits at this pipe. May be called from any thread."""
        os.write(self.fd, POKE)

    def ready(self, timeout_s: float) -> bool:
        """Wait at most `timeout_s` seconds (0 to one day) for bytes. Returns whether there are any."""
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self.fd, select.POLLIN)
        return bool(self._poll.poll(min(max(timeout_s, 0.0), 86400.0) * 1000))


class ReplyWriters(dict[int, int]):
    """A worker's write descriptors by pipe number; each is opened at its first use.

    The first use raises OSError if the pipe cannot be opened, at once if the pipe has no reader any more. If no
    descriptor is left, the other pipes are closed first.
    """

    def __init__(self, directory: str) -> None:
        super().__init__()
        self._directory = directory

    def __missing__(self, number: int) -> int:
        if len(self) >= MOST_OPEN:
            self._close_all()
        path = reply_path(self._directory, number)
        try:
            fd = os.open(path, FLAGS)
        except OSError as error:
            if error.errno != errno.EMFILE or not self:
                raise
            self._close_all()
            fd = os.open(path, FLAGS)
        os.set_blocking(fd, True)
        self[number] = fd
        return fd

    def _close_all(self) -> None:
        for fd in self.values():
            os.close(fd)
        self.clear()
