"""Messages between two processes of one program over a socket, with open descriptors attached.

Knows nothing of what they mean. Both ends run the same interpreter, so `marshal` may carry them: it is quick, and takes
any text that an environment may hold. The socket keeps the messages apart (SOCK_SEQPACKET).
"""

from __future__ import annotations

import array
import contextlib
import marshal
import os
import socket
from collections.abc import Sequence

MOST_BYTES = 64 * 1024
MOST_DESCRIPTORS = 4
SOCKET_FD = 8
"""Under this number the program at the other end finds its socket."""
Message = tuple[object, ...]


def encode(*message: object) -> bytes:
    """The words of a message, as bytes. Raises ValueError if they are more than a receiver takes."""
    data = marshal.dumps(message)  # type: ignore[arg-type]
    if len(data) > MOST_BYTES:
        raise ValueError(f"a message of {len(data)} bytes; the limit is {MOST_BYTES}")
    return data


def send(connection: socket.socket, data: bytes, fds: Sequence[int] = (), *, flags: int = 0) -> None:
    """Send an encoded message with copies of `fds`. Raises OSError."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    connection.sendmsg([data], rights, flags | socket.MSG_NOSIGNAL)


def receive(connection: socket.socket, *, flags: int = 0) -> tuple[Message, list[int]] | None:
    """The next message, with descriptors that are the caller's to close; None at the stream's end. Raises OSError."""
    room = socket.CMSG_SPACE(MOST_DESCRIPTORS * array.array("i").itemsize)
    try:
        data, rights, state, _ = connection.recvmsg(MOST_BYTES, room, flags | socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:  # the other end has left what it was sent unread
        return None
    fds = array.array("i")
    for level, kind, numbers in rights:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(numbers[: len(numbers) - len(numbers) % fds.itemsize])
    if not data:
        return None
    if state & socket.MSG_CTRUNC:  # this process has no descriptor left, so some of them are lost
        close_all(fds)
        fds = array.array("i")
    message: Message = marshal.loads(data)
    return message, list(fds)


def close_all(fds: Sequence[int]) -> None:
    """Close each of them that is open."""
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)
