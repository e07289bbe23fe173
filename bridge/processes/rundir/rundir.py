"""Run directories: each gives a pool's name one owner on this machine, and records the pool's workers.

Independent of what a pool does. Layout of `<base>/pools/<name>/`, which the owner keeps locked (flock):

    manifest.json      the name, the pool's version, the owner's pid and start, the creation time
    workers            the record of its workers (`poolproof.bridge.processes.rundir.workers`)
    figures            the socket through which the pool tells figures (`poolproof.bridge.processes.rundir.figures`)
    *.stderr.log       what workers printed on stderr (`poolproof.bridge.processes.output.stderr`)
    replies-<token>/   pipes for responses (`poolproof.bridge.wire.replies`)

Rules
1. The process that holds the exclusive lock of the directory that is *now* under the name owns the name. Nothing else
   counts: a pid may belong to another PID namespace, and the manifest may be damaged.
2. A directory without this lock belongs to a dead pool: its living workers may be ended. It never gets a new owner: the
   holder of a lock first renames it, atomically, to a name with a dot that no pool can have. A process that only
   examines a directory takes a shared lock meanwhile.
3. A process is identified by pid, start, boot and PID namespace, so a pid that now belongs to another process is never
   signalled.
4. The owner uses its directory by descriptor, so an owner whose directory was removed or replaced from outside changes
   nothing in the directory of the next owner.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from pathlib import Path

from poolproof.bridge.errors import ConfigError
from poolproof.bridge.processes.process import NO_FORK
from poolproof.bridge.processes.rundir.base import pools_dir
from poolproof.bridge.processes.rundir.directory import clear, delete, is_at, lock_to_own, set_aside
from poolproof.bridge.processes.rundir.figures import FiguresSocket
from poolproof.bridge.processes.rundir.manifest import write_manifest
from poolproof.bridge.processes.rundir.workers import WorkerRecord

_OWNED: weakref.WeakSet[RunDir] = weakref.WeakSet()


class RunDir:
    """The run directory of a living pool, owned by this process; `fd` is the directory's descriptor and its lock."""

    def __init__(self, path: Path, fd: int, *, version: str) -> None:
        write_manifest(fd, path.name, version)
        self._workers = WorkerRecord(fd)
        self.path = path
        self.fd = fd
        self._lock = threading.Lock()
        self._reply_dir = ""
        self._figures: FiguresSocket | None = None
        self._released = False
        _OWNED.add(self)

    @classmethod
    def claim(cls, name: str, *, version: str) -> RunDir:
        """Claim `name`. Raises PoolNameConflict if a living pool has it; a dead pool's directory is removed first."""
        path = pools_dir() / name
        held: list[int] = []
        doomed: list[tuple[Path, int]] = []
        try:
            while True:
                with NO_FORK:  # a forked child must know the owner's lock, to close it
                    fd = lock_to_own(path)
                    held.append(fd)
                    if not os.listdir(fd):
                        try:
                            owned = cls(path, fd, version=version)
                        except BaseException:
                            delete(path)
                            raise
                        held.remove(fd)
                        return owned
                    doomed.append((set_aside(path), fd))
        except OSError as error:
            with contextlib.suppress(OSError):
                path.rmdir()  # only if it is empty, so no pool has it
            raise ConfigError(f"cannot use {path} as a run directory: {error.strerror}") from error
        finally:
            for old, old_fd in doomed:
                clear(old, old_fd)
            for one in held:
                os.close(one)

    def make_reply_dir(self) -> Path:
        """Make a directory for reply pipes, which no other owner of this name can have. Raises ConfigError."""
        name = f"replies-{os.urandom(8).hex()}"
        try:
            os.mkdir(name, 0o700, dir_fd=self.fd)
        except OSError as error:
            raise ConfigError(f"cannot use {self.path} as a run directory: {error.strerror}") from error
        self._reply_dir = name
        return self.path / name

    def open_figures(self) -> FiguresSocket | None:
        """Open the socket through which others ask for the pool's figures; None if that fails, such as without /proc.

        It is closed by `release`.
        """
        with contextlib.suppress(OSError):
            self._figures = FiguresSocket(self.fd)
        return self._figures

    def add_worker(self, pid: int) -> None:
        """Record a worker that was started. No effect after `release`."""
        self._workers.add(pid)

    def remove_worker(self, pid: int) -> None:
        """Record that a worker was reaped. No effect after `release`."""
        self._workers.remove(pid)

    def release(self) -> None:
        """Release the name and remove the directory. Idempotent."""
        with self._lock:
            if not self._released:
                self.remove()
                self._released = True
                self._workers.close()
                self._close()

    def remove(self) -> None:
        """Remove the directory, unless another one is under its name now; the descriptors stay open."""
        with contextlib.suppress(OSError):
            if is_at(self.path, self.fd):
                delete(set_aside(self.path), self._reply_dir)

    def _close(self) -> None:
        _OWNED.discard(self)
        if self._figures is not None:
            self._figures.close()
        os.close(self.fd)

    def _close_in_child(self) -> None:
        # The parent keeps the name: the lock belongs to the open file, which this copy shares. A thread that held a
        # lock is in the parent.
        self._lock = threading.Lock()
        self._released = True
        self._workers.close_in_child()
        self._close()


def _after_fork_in_child() -> None:
    for owned in list(_OWNED):
        owned._close_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)
