"""Reads small files that may be untrusted: refuses links, pipes, devices and files that are too large."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

READ_BYTES = 64 * 1024


def read_regular(path: str | Path, limit_bytes: int, *, dir_fd: int | None = None) -> bytes:
    """Return the content of a regular file; never blocks.

    Raises OSError if it cannot be read, is no regular file (a link is none) or has more than `limit_bytes` bytes.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY, dir_fd=dir_fd)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        parts: list[bytes] = []
        size_bytes = 0
        while data := os.read(fd, READ_BYTES):
            parts.append(data)
            size_bytes += len(data)
            if size_bytes > limit_bytes:
                raise OSError(errno.EFBIG, f"it has more than {limit_bytes} bytes", str(path))
        return b"".join(parts)
    finally:
        os.close(fd)


def write_all(fd: int, data: bytes) -> None:
    """Write all bytes. Raises OSError, after which a part may have been written."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]
