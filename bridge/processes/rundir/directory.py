"""Operations on one run directory: lock it, examine it, rename it, and remove it with what its pool left behind.

A directory is used by its open descriptor; its path is used only while the lock is held (the rules are in
`poolproof.bridge.processes.rundir.rundir`).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from poolproof.bridge.errors import PoolNameConflict
from poolproof.bridge.machine.file_lock import lock_file, unlock_file
from poolproof.bridge.machine.procfs import kill_groups
from poolproof.bridge.machine.tree import end_started, mark_of
from poolproof.bridge.processes.rundir.figures import SOCKET_FILE
from poolproof.bridge.processes.rundir.manifest import read_manifest
from poolproof.bridge.processes.rundir.workers import living_workers

REAP_TIMEOUT_S = 2.0
EXAMINE_TIMEOUT_S = 2.0
"""How long a claim waits for another process that only examines the directory."""
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def examined(path: Path) -> Iterator[tuple[int, bool]]:
    """Yield the directory's descriptor, and whether it belongs to a dead pool; no pool can claim it meanwhile.

    The descriptor is -1 if there is no directory, or one that its owner is still creating.
    """
    try:
        fd = os.open(path, DIRECTORY)
    except OSError:
        yield -1, False
        return
    try:
        dead = lock_file(fd, shared=True)
        if is_at(path, fd) and os.listdir(fd):
            yield fd, dead
        else:
            yield -1, False
    finally:
        os.close(fd)


def lock_to_own(path: Path) -> int:
    """Return the exclusively locked descriptor of the directory under this path, which is created if needed.

    Raises PoolNameConflict if a living pool has it.
    """
    end_s = time.monotonic() + EXAMINE_TIMEOUT_S
    while True:
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        try:
            fd = os.open(path, DIRECTORY)
        except FileNotFoundError:  # its owner has removed it meanwhile
            continue
        if not lock_file(fd, stop=partial(_is_owned, fd, end_s)):
            manifest = read_manifest(fd)
            os.close(fd)
            whom = "another process" if manifest is None else f"process {manifest.pid} ({manifest.version})"
            raise PoolNameConflict(
                f"the pool name {path.name!r} is taken: {whom} owns a pool of this name and is alive"
            )
        if is_at(path, fd):
            return fd
        os.close(fd)  # the directory was removed during the wait for its lock


def _is_owned(fd: int, end_s: float) -> bool:
    # Shared locks last only while somebody examines the directory; after `end_s` they count as an owner's.
    if not lock_file(fd, shared=True):
        return True
    unlock_file(fd)
    return time.monotonic() >= end_s


def is_at(path: Path, fd: int) -> bool:
    """Return whether the open directory is the one that is now under this path."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(fd))
    except FileNotFoundError:
        return False


def set_aside(path: Path) -> Path:
    """Rename the directory to a name that no pool can have, and return its new path. Raises OSError."""
    return path.rename(path.with_name(f".{pool_name(path.name)}.{os.urandom(4).hex()}"))


def pool_name(folder: str) -> str:
    """Return the name of the pool whose directory this is or was."""
    return folder[1:].rpartition(".")[0] or "unknown" if folder.startswith(".") else folder


def clear(path: Path, fd: int) -> tuple[int, ...]:
    """End what a dead pool has left and remove its directory. Returns the pids of the processes that were killed."""
    killed = dict.fromkeys(kill_groups(living_workers(fd), timeout_s=REAP_TIMEOUT_S))
    manifest = read_manifest(fd)
    if manifest is not None:  # and what workers have started in sessions of their own
        mark = mark_of(manifest.name, (manifest.pid_space, manifest.pid, manifest.start_ticks))
        killed |= dict.fromkeys(pid for pid, _ in end_started(mark, timeout_s=REAP_TIMEOUT_S))
    delete(path)
    return tuple(killed)


def delete(path: Path, reply_dir: str = "") -> None:
    """Remove the directory; `reply_dir` is an empty directory in it. Works without a free descriptor too."""
    with contextlib.suppress(OSError):
        if reply_dir:
            (path / reply_dir).rmdir()
        for name in ("workers", "manifest.json", ".manifest", SOCKET_FILE):
            (path / name).unlink(missing_ok=True)
        path.rmdir()
        return
    shutil.rmtree(path, ignore_errors=True)
