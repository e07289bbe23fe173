"""Reply pipes: a request may say by number which pipe its answer is to come through, in place of its worker's stdout.

So a client that waits for a worker, and lets another write its request, sleeps once for both: at its own pipe, where
its answer wakes it. A reply pipe is a FIFO in a directory that the workers are told in their environment. It has one
reader, its client, and any worker of the pool that was sent its number in `reply_to` writes to it.

What goes through it, each written at once and never torn, being no more than PIPE_BUF bytes
1. a frame, as on stdout;
2. ELSEWHERE: the frame is larger than that, and comes through the worker's stdout;
3. POKE, from the pool itself: the client should look at what has become of its call. One may come for nothing.

A frame's first byte is 0, as it is small, and its last ends an object; so none of the three can be taken for another.
"""

from __future__ import annotations

import errno
import os
import select
from contextlib import suppress

REPLY_DIR_VARIABLE = "POOLPROOF_REPLY_DIR"
"""How a pool tells its workers where the reply pipes are."""
LARGEST_REPLY_BYTES = select.PIPE_BUF
POKE = b"\xff"
ELSEWHERE = b"\xfe"
NO_FD = -1
MOST_OPEN = 64
"""A client gives its pipe up after an error, so a worker would collect those that nobody reads from."""
FLAGS = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC


def reply_path(directory: str, number: int) -> str:
    """Where the reply pipe of this number is."""
    return f"{directory}/reply-{number}"


class ReplyPipe:
    """A client's end. It is closed, and its name removed, once nobody refers to it any more. Raises OSError.

    After an error it is never used again: an answer might still come. (A pipe takes 65,536 pokes that nobody has read
    before `poke` would wait.)
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
            self.fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)  # for reading and writing, so it never ends
        except OSError:
            os.unlink(self._path)
            raise

    def __del__(self) -> None:
        fd = getattr(self, "fd", NO_FD)  # an interrupt may have come into the first line of __init__
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
        fd, self.fd = self.fd, NO_FD
        if fd >= 0:
            os.close(fd)

    def poke(self) -> None:
        """Let the client that waits here go on. From any thread."""
        os.write(self.fd, POKE)

    def ready(self, timeout_s: float) -> bool:
        """Wait at most so long, at least 0 and at most a day, until there is something to read; whether there is."""
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self.fd, select.POLLIN)
        return bool(self._poll.poll(min(max(timeout_s, 0.0), 86400.0) * 1000))


class ReplyWriters(dict[int, int]):
    """A worker's ends: the descriptors that it writes to, by number; each is opened when it is first wanted.

    That raises OSError; at once if nobody reads from the pipe any more. Where no descriptor is left, the others are
    closed first.
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
