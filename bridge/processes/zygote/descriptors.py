"""Sends messages between two processes of one program over a socket, with open descriptors attached.

Independent of the messages' meaning. Both ends run the same interpreter, so `marshal` may encode the messages: it is
fast, and accepts any text of an environment. The socket keeps message boundaries (SOCK_SEQPACKET).
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
"""The descriptor number of the socket in the started program."""
Message = tuple[object, ...]


def encode(*message: object) -> bytes:
    """Encode a message as bytes. Raises ValueError if it is larger than a receiver accepts."""
    data = marshal.dumps(message)  # type: ignore[arg-type]
    if len(data) > MOST_BYTES:
        raise ValueError(f"a message of {len(data)} bytes; the limit is {MOST_BYTES}")
    return data


def send(connection: socket.socket, data: bytes, fds: Sequence[int] = (), *, flags: int = 0) -> None:
    """Send an encoded message with copies of `fds`. Raises OSError."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    connection.sendmsg([data], rights, flags | socket.MSG_NOSIGNAL)


def receive(connection: socket.socket, *, flags: int = 0) -> tuple[Message, list[int]] | None:
    """Return the next message and its descriptors, which the caller must close; None at the end. Raises OSError."""
    room = socket.CMSG_SPACE(MOST_DESCRIPTORS * array.array("i").itemsize)
    try:
        data, rights, state, _ = connection.recvmsg(MOST_BYTES, room, flags | socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:  # the other end closed without reading everything
        return None
    fds = array.array("i")
    for level, kind, numbers in rights:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(numbers[: len(numbers) - len(numbers) % fds.itemsize])
    if not data:
        return None
    if state & socket.MSG_CTRUNC:  # this process has no free descriptor, so some were lost
        close_all(fds)
        fds = array.array("i")
    message: Message = marshal.loads(data)
    return message, list(fds)


def close_all(fds: Sequence[int]) -> None:
    """Close each of these descriptors that is open."""
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)
