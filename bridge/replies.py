"""Reply pipes: a request may say by number which pipe its answer is to come through, in place of its worker's stdout.

So a client can sleep at its own pipe before it has a worker, and is woken by its answer. A reply pipe is a FIFO in a
directory that the workers are told in their environment. It has one reader, the client, and any worker of the pool
writes to it that was sent its number in `reply_to`.

What goes through it, each written at once and never torn, being no more than PIPE_BUF bytes
1. a frame, as on stdout;
2. ELSEWHERE: the frame is larger than that, and comes through the worker's stdout;
3. POKE, from the pool itself: the client should look at what has become of its call. One may come for nothing.

A frame's first byte is 0, as it is small, and its last ends an object; so none of the three can be taken for another.
Here is the worker's end; the client's is a gate of the pool.
"""

from __future__ import annotations

import errno
import os
import select

REPLY_DIR_VARIABLE = "POOLPROOF_REPLY_DIR"
"""How a pool tells its workers where the reply pipes are."""
LARGEST_REPLY_BYTES = select.PIPE_BUF
POKE = b"\xff"
ELSEWHERE = b"\xfe"
FLAGS = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC
MOST_OPEN = 64
"""A client gives its pipe up after an error, so a worker would collect those that nobody reads from."""


def reply_path(directory: str, number: int) -> str:
    """Where the reply pipe of this number is."""
    return f"{directory}/reply-{number}"


class ReplyPipes(dict[int, int]):
    """The descriptors of the reply pipes that a worker writes to, by number; each is opened when it is first wanted.

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
