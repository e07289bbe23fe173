"""The manifest of a run directory: who owns the pool's name. `read_manifest` accepts any content.

A directory is given by its open descriptor, so a directory that replaced it is never read or written.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime

import msgspec

from poolproof.bridge.machine.procfs import pid_space, start_ticks
from poolproof.bridge.regular_file import read_regular, write_all

LARGEST_MANIFEST_BYTES = 64 * 1024


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The owner of a pool's name; `pid_space` says where its pids are valid."""

    name: str
    version: str
    pid: int
    start_ticks: int
    created_at: str
    pid_space: str = ""


def write_manifest(fd: int, name: str, version: str) -> None:
    """Write the manifest of this process as the owner, atomically. Raises OSError."""
    manifest = Manifest(
        name=name,
        version=version,
        pid=os.getpid(),
        start_ticks=start_ticks(os.getpid()) or 0,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        pid_space=pid_space(),
    )
    draft = open_new(fd, ".manifest")
    try:
        write_all(draft, msgspec.json.encode(manifest))
    finally:
        os.close(draft)
    os.replace(".manifest", "manifest.json", src_dir_fd=fd, dst_dir_fd=fd)


def open_new(fd: int, name: str) -> int:
    """Create the file `name`, or empty it, and return a descriptor that appends to it. Raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(name, flags, 0o600, dir_fd=fd)


def read_manifest(fd: int) -> Manifest | None:
    """Return the manifest; None if there is none that can be read."""
    try:
        return msgspec.json.decode(read_regular("manifest.json", LARGEST_MANIFEST_BYTES, dir_fd=fd), type=Manifest)
    except (OSError, ValueError, RecursionError):
        return None
