"""What living pools of this machine tell about themselves: figures, through a socket in each pool's run directory.

A pool makes its figures only when it is asked: whoever connects gets one line of JSON, and then the end of the stream.
The run directory is readable by its user alone, so nobody else can ask.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

import msgspec

from poolproof.bridge.interface import PoolFigures

SOCKET_FILE = "figures"
MOST_AT_ONCE = 8
"""How many questions a pool answers in one turn of its supervisor."""
BACKLOG = 128
"""How many may ask before the pool's supervisor comes to answer."""
ANSWER_BYTES = 16_384
"""The largest answer; it fits the socket's buffer, so that sending it never waits."""


class FiguresSocket:
    """The listening socket of one pool. `fd` is readable when somebody asks. Not thread-safe."""

    def __init__(self, run_dir_fd: int) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            self._socket.bind(address(run_dir_fd))
            self._socket.listen(BACKLOG)
        except BaseException:
            self._socket.close()
            raise
        self.fd = self._socket.fileno()

    def answer(self, describe: Callable[[], PoolFigures]) -> bool:
        """Answer the questions that are there. Never waits: who does not read gets nothing.

        Returns False if no connection can be accepted, because there is no free descriptor.
        """
        line = b""
        for _ in range(MOST_AT_ONCE):
            try:
                asking, _ = self._socket.accept()
            except BlockingIOError:
                break  # nobody else asks
            except OSError:
                return False
            with asking, contextlib.suppress(OSError):
                asking.setblocking(False)
                line = line or msgspec.json.encode(describe()) + b"\n"
                asking.send(line[:ANSWER_BYTES])
        return True

    def close(self) -> None:
        """Close the socket; its file goes with the run directory. Idempotent."""
        self._socket.close()


def address(run_dir_fd: int) -> str:
    """Return the address of the socket in this open run directory."""
    # A path in the file system may be longer than the 107 bytes that the address of a socket may have.
    return f"/proc/self/fd/{run_dir_fd}/{SOCKET_FILE}"
