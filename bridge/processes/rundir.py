"""Run directories: each gives a pool's name one owner on this machine, and records the pool's workers.

Independent of what a pool does. Layout of `<base>/pools/<name>/`, which the owner keeps locked (flock):

    manifest.json      the name, the pool's version, the owner's pid and start, the creation time
    workers            one line per step: "+<pid> <start>" for a started worker, "-<pid>" for a reaped one
    *.stderr.log       what workers printed on stderr (`poolproof.bridge.processes.stderr`)
    replies-<token>/   pipes for responses (`poolproof.bridge.wire.replies`)

Rules
1. The process that holds the exclusive lock of the directory that is *now* under the name owns the name. Nothing else
   counts: a pid may belong to another PID namespace, and the manifest may be damaged.
2. A directory without this lock belongs to a dead pool: its living workers may be ended. It never gets a new owner: the
   holder of a lock first renames it, atomically, to a name with a dot that no pool can have. Who only examines a
   directory takes a shared lock for that moment.
3. A process is identified by pid, start, boot and PID namespace, so a pid that now belongs to another process is never
   signalled.
4. The owner uses its directory by descriptor, so an owner whose directory was removed or replaced from outside changes
   nothing in the directory of the next owner.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import threading
import time
import weakref
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec

from poolproof.bridge.errors import ConfigError, PoolNameConflict
from poolproof.bridge.machine.tree import end_started, mark_of
from poolproof.bridge.processes.file_lock import lock_file, unlock_file
from poolproof.bridge.processes.process import NO_FORK
from poolproof.bridge.processes.procfs import is_alive, kill_groups, pid_space, start_ticks
from poolproof.bridge.processes.runtime_base import base_dir, pools_dir
from poolproof.bridge.regular_file import read_regular, write_all

REAP_TIMEOUT_S = 2.0
EXAMINE_TIMEOUT_S = 2.0
"""How long a claim waits for another process that only examines the directory."""
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
LARGEST_MANIFEST_BYTES = 64 * 1024
LARGEST_RECORD_BYTES = 1024 * 1024
COMPACTED_LINES = 256
"""The record of workers is rewritten when it has so many lines, and twice as many as there are workers."""
STARTED = re.compile(rb"\+([1-9]\d{0,6}) (\d{1,19})")
REAPED = re.compile(rb"-([1-9]\d{0,6})")
_OWNED: weakref.WeakSet[RunDir] = weakref.WeakSet()


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The owner of a pool's name; `pid_space` says where its pids are valid."""

    name: str
    version: str
    pid: int
    start_ticks: int
    created_at: str
    pid_space: str = ""


class PoolRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A pool of this machine, as recorded in its directory; `worker_pids` are the living workers."""

    name: str
    version: str
    owner_pid: int
    owner_alive: bool
    created_at: str
    worker_pids: tuple[int, ...]


class Reaped(msgspec.Struct, frozen=True, kw_only=True):
    """A dead pool that was removed, with the workers that had outlived it."""

    name: str
    owner_pid: int
    killed: tuple[int, ...]


class RunDir:
    """The run directory of a living pool, owned by this process; `fd` is the directory's descriptor and its lock."""

    def __init__(self, path: Path, fd: int, *, version: str) -> None:
        _write_manifest(fd, path.name, version)
        self._workers_fd = _open_new(fd, "workers")
        self.path = path
        self.fd = fd
        self._lock = threading.Lock()
        self._workers: dict[int, int] = {}
        self._lines = 0
        self._reply_dir = ""
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
                    fd = _lock_to_own(path)
                    held.append(fd)
                    if not os.listdir(fd):
                        try:
                            owned = cls(path, fd, version=version)
                        except BaseException:
                            _remove(path)
                            raise
                        held.remove(fd)
                        return owned
                    doomed.append((_set_aside(path), fd))
        except OSError as error:
            with contextlib.suppress(OSError):
                path.rmdir()  # only if it is empty, so no pool has it
            raise ConfigError(f"cannot use {path} as a run directory: {error.strerror}") from error
        finally:
            for old, old_fd in doomed:
                _clear(old, old_fd)
            for one in held:
                os.close(one)

    def make_reply_dir(self) -> Path:
        """Make a directory for reply pipes, which no other owner of this name can have. Raises ConfigError."""
        name = f"replies-{secrets.token_hex(8)}"
        try:
            os.mkdir(name, 0o700, dir_fd=self.fd)
        except OSError as error:
            raise ConfigError(f"cannot use {self.path} as a run directory: {error.strerror}") from error
        self._reply_dir = name
        return self.path / name

    def add_worker(self, pid: int) -> None:
        """Record a worker that was started."""
        ticks = start_ticks(pid) or 0
        with self._lock:
            self._workers[pid] = ticks
            if not self._released:
                self._append(f"+{pid} {ticks}\n")

    def remove_worker(self, pid: int) -> None:
        """Record that a worker was reaped."""
        with self._lock:
            self._workers.pop(pid, None)
            if not self._released:
                self._append(f"-{pid}\n")

    def _append(self, line: str) -> None:
        # A full disk must not cost a worker: then `reap_orphans` knows less, but the lifeline still works.
        with contextlib.suppress(OSError):
            os.write(self._workers_fd, line.encode())
            self._lines += 1
            if self._lines >= max(COMPACTED_LINES, 2 * len(self._workers)):
                self._compact()

    def _compact(self) -> None:
        self._lines = len(self._workers)  # after a failure, not at once again
        fd = _open_new(self.fd, ".workers")
        try:
            data = "".join(f"+{pid} {ticks}\n" for pid, ticks in self._workers.items()).encode()
            write_all(fd, data)
            os.replace(".workers", "workers", src_dir_fd=self.fd, dst_dir_fd=self.fd)
        except OSError:
            os.close(fd)
            raise
        os.close(self._workers_fd)
        self._workers_fd = fd

    def release(self) -> None:
        """Release the name and remove the directory. Idempotent."""
        with self._lock:
            if not self._released:
                self.remove()
                self._close()

    def remove(self) -> None:
        """Remove the directory, unless another one is under its name now; the descriptors stay open."""
        with contextlib.suppress(OSError):
            if _is_at(self.path, self.fd):
                _remove(_set_aside(self.path), self._reply_dir)

    def _close(self) -> None:
        self._released = True
        _OWNED.discard(self)
        os.close(self._workers_fd)
        os.close(self.fd)


def list_pools() -> list[PoolRecord]:
    """Return this user's pools on this machine, by name, including dead pools that are not reaped yet."""
    found = []
    for path in _pool_paths():
        if not path.name.startswith("."):
            with _examined(path) as (fd, dead):
                if fd >= 0:
                    found.append(_read_record(path.name, fd, dead=dead))
    return found


def reap_orphans() -> list[Reaped]:
    """End the workers of pools whose owner is gone, and remove these pools' files. Affects no other process."""
    reaped = []
    for path in _pool_paths():
        with _examined(path) as (fd, dead):
            if not dead:
                continue
            record = _read_record(path.name, fd, dead=True)
            try:
                aside = _set_aside(path)
            except OSError:  # another process reaps it, or nothing can be renamed there
                continue
            reaped.append(Reaped(name=record.name, owner_pid=record.owner_pid, killed=_clear(aside, fd)))
    return reaped


def _pool_paths() -> list[Path]:
    # Creates nothing, so that `poolproof ps` also works where no directory can be made.
    return sorted(pools_dir().iterdir()) if os.path.lexists(base_dir()) else []


@contextlib.contextmanager
def _examined(path: Path) -> Iterator[tuple[int, bool]]:
    # Yields the directory's descriptor, and whether it belongs to a dead pool. Nobody can claim a dead pool's directory
    # during the block. The descriptor is -1 if there is no directory, or one that its owner is only creating.
    try:
        fd = os.open(path, DIRECTORY)
    except OSError:
        yield -1, False
        return
    try:
        dead = lock_file(fd, shared=True)
        if _is_at(path, fd) and os.listdir(fd):
            yield fd, dead
        else:
            yield -1, False
    finally:
        os.close(fd)


def _lock_to_own(path: Path) -> int:
    # Returns the exclusively locked descriptor of the directory under this path, which is created if needed.
    end_s = time.monotonic() + EXAMINE_TIMEOUT_S
    while True:
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        try:
            fd = os.open(path, DIRECTORY)
        except FileNotFoundError:  # its owner has removed it meanwhile
            continue
        if not lock_file(fd, stop=partial(_is_owned, fd, end_s)):
            manifest = _read_manifest(fd)
            os.close(fd)
            whom = "another process" if manifest is None else f"process {manifest.pid} ({manifest.version})"
            raise PoolNameConflict(
                f"the pool name {path.name!r} is taken: {whom} owns a pool of this name and is alive"
            )
        if _is_at(path, fd):
            return fd
        os.close(fd)  # the directory was removed during the wait for its lock


def _is_owned(fd: int, end_s: float) -> bool:
    # Shared locks last only while somebody examines the directory; after `end_s` they count as an owner's.
    if not lock_file(fd, shared=True):
        return True
    unlock_file(fd)
    return time.monotonic() >= end_s


def _is_at(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(fd))
    except FileNotFoundError:
        return False


def _set_aside(path: Path) -> Path:
    return path.rename(path.with_name(f".{_pool_name(path.name)}.{secrets.token_hex(4)}"))


def _pool_name(folder: str) -> str:
    # The name of the pool whose directory this is or was.
    return folder[1:].rpartition(".")[0] or "unknown" if folder.startswith(".") else folder


def _clear(path: Path, fd: int) -> tuple[int, ...]:
    killed = dict.fromkeys(kill_groups(_living_workers(fd), timeout_s=REAP_TIMEOUT_S))
    manifest = _read_manifest(fd)
    if manifest is not None:  # and what workers have started in sessions of their own
        mark = mark_of(manifest.name, (manifest.pid_space, manifest.pid, manifest.start_ticks))
        killed |= dict.fromkeys(pid for pid, _ in end_started(mark, timeout_s=REAP_TIMEOUT_S))
    _remove(path)
    return tuple(killed)


def _remove(path: Path, reply_dir: str = "") -> None:
    # Also where no descriptor is left, which listing a directory would need.
    with contextlib.suppress(OSError):
        if reply_dir:
            (path / reply_dir).rmdir()
        for name in ("workers", "manifest.json", ".manifest"):
            (path / name).unlink(missing_ok=True)
        path.rmdir()
        return
    shutil.rmtree(path, ignore_errors=True)


def _read_record(folder: str, fd: int, *, dead: bool) -> PoolRecord:
    manifest = _read_manifest(fd)
    return PoolRecord(
        name=_pool_name(folder),
        version="?" if manifest is None else manifest.version,
        owner_pid=0 if manifest is None else manifest.pid,
        owner_alive=not dead,
        created_at="?" if manifest is None else manifest.created_at,
        worker_pids=tuple(pid for pid, _ in _living_workers(fd)),
    )


def _write_manifest(fd: int, name: str, version: str) -> None:
    manifest = Manifest(
        name=name,
        version=version,
        pid=os.getpid(),
        start_ticks=start_ticks(os.getpid()) or 0,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        pid_space=pid_space(),
    )
    draft = _open_new(fd, ".manifest")
    try:
        write_all(draft, msgspec.json.encode(manifest))
    finally:
        os.close(draft)
    os.replace(".manifest", "manifest.json", src_dir_fd=fd, dst_dir_fd=fd)


def _open_new(fd: int, name: str) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(name, flags, 0o600, dir_fd=fd)


def _read_manifest(fd: int) -> Manifest | None:
    try:
        return msgspec.json.decode(read_regular("manifest.json", LARGEST_MANIFEST_BYTES, dir_fd=fd), type=Manifest)
    except (OSError, ValueError, RecursionError):
        return None


def _living_workers(fd: int) -> list[tuple[int, int]]:
    # A damaged record must not lead to a signal to init, to this process or to its parent. Without a manifest nobody
    # knows where the recorded pids are valid.
    manifest = _read_manifest(fd)
    if manifest is None or manifest.pid_space != pid_space():
        return []
    try:
        lines = read_regular("workers", LARGEST_RECORD_BYTES, dir_fd=fd).split(b"\n")
    except OSError:
        return []
    found: dict[int, int] = {}
    for line in lines:
        if started := STARTED.fullmatch(line):
            found[int(started[1])] = int(started[2])
        elif reaped := REAPED.fullmatch(line):
            found.pop(int(reaped[1]), None)  # any other line was truncated by a full disk
    spared = {1, os.getpid(), os.getppid(), os.getpgrp()}
    return [(pid, ticks) for pid, ticks in found.items() if pid not in spared and is_alive(pid, ticks)]


def _after_fork_in_child() -> None:
    # The parent keeps the name: the lock belongs to the open file, which this copy shares.
    for owned in list(_OWNED):
        owned._lock = threading.Lock()  # the thread that held it is in the parent
        owned._close()


os.register_at_fork(after_in_child=_after_fork_in_child)
