"""Run directories: each gives a pool's name one owner on this machine, and records the pool's workers.

Independent of what a pool does. Layout of `<base>/pools/<name>/`:

    lock            locked (flock) by the owner for as long as it lives
    manifest.json   the name, the pool's version, the owner's pid and start, the creation time
    workers         one line per step: "+<pid> <start>" for a started worker, "-<pid>" for a reaped one
    reply-<n>       pipes for responses (`poolproof.bridge.wire.replies`), if clients have waited

Rules
1. The process that holds the lock of the directory that is *now* under the name owns the name.
2. A directory whose lock is free, or whose owner is dead, belongs to a dead pool: its living workers may be ended. It
   never gets a new owner: it is first renamed, atomically, to a name with a dot that no pool can have.
3. A process is identified by pid and start, so a pid that now belongs to another process is never signalled.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from poolproof.bridge.errors import ConfigError, PoolNameConflict
from poolproof.bridge.machine.tree import started_in
from poolproof.bridge.processes.file_lock import lock_file
from poolproof.bridge.processes.procfs import is_alive, kill_groups, start_ticks

BASE_VARIABLE = "POOLPROOF_RUNTIME_DIR"
REAP_TIMEOUT_S = 2.0


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The owner of a pool's name."""

    name: str
    version: str
    pid: int
    start_ticks: int
    created_at: str


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


def pools_dir() -> Path:
    """Return the directory of this user's pools; create it if needed. Raises ConfigError if it is not private."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.environ.get(BASE_VARIABLE):
        base = Path(os.environ[BASE_VARIABLE])
    elif runtime and os.access(runtime, os.W_OK):
        base = Path(runtime) / "poolproof"
    else:
        base = Path(tempfile.gettempdir()) / f"poolproof-{os.getuid()}"
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = base.stat()
        if found.st_uid != os.getuid() or found.st_mode & 0o022:
            raise ConfigError(
                f"{base} must belong to this user, and nobody else may have access: its owner is "
                f"{found.st_uid}, mode {found.st_mode & 0o777:o}"
            )
        (base / "pools").mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot use {base} for run directories: {error.strerror}") from error
    return base / "pools"


class RunDir:
    """The run directory of a living pool, owned by this process."""

    def __init__(self, path: Path, lock_fd: int) -> None:
        self.path = path
        self._lock_fd = lock_fd
        self._workers_fd = os.open(path / "workers", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._released = False

    @classmethod
    def claim(cls, name: str, *, version: str) -> RunDir:
        """Claim `name`. Raises PoolNameConflict if a living pool has it; a dead pool's directory is removed first."""
        path = pools_dir() / name
        doomed: list[Path] = []
        lock_fd = None
        try:
            while True:
                lock_fd = _lock(path, create=True)
                manifest = _read_manifest(path)
                if lock_fd is None:
                    # A forked child of a dead owner may hold the lock; it owns nothing, and cannot use the pool.
                    if manifest is None or is_alive(manifest.pid, manifest.start_ticks):
                        whom = "another process" if manifest is None else f"process {manifest.pid} ({manifest.version})"
                        raise PoolNameConflict(
                            f"the pool name {name!r} is taken: {whom} owns a pool of this name and is alive"
                        )
                elif _is_new(path):
                    try:
                        _write_manifest(path, name, version)
                        return cls(path, lock_fd)
                    except OSError:
                        doomed += _set_aside(path, _read_manifest(path))
                        raise
                doomed += _set_aside(path, manifest)
                if lock_fd is not None:
                    os.close(lock_fd)
                    lock_fd = None
        except OSError as error:
            if lock_fd is not None:
                if not any((path / name).exists() for name in ("manifest.json", "workers")):
                    _remove(path)  # this call has made it
                os.close(lock_fd)
            raise ConfigError(f"cannot use {path} as a run directory: {error.strerror}") from error
        finally:
            for old in doomed:
                _clear(old)

    def add_worker(self, pid: int) -> None:
        """Record a worker that was started."""
        self._append(f"+{pid} {start_ticks(pid) or 0}\n")

    def remove_worker(self, pid: int) -> None:
        """Record that a worker was reaped."""
        self._append(f"-{pid}\n")

    def _append(self, line: str) -> None:
        # A full disk must not cost a worker: then `reap_orphans` knows less, but the lifeline still works.
        with contextlib.suppress(OSError):
            os.write(self._workers_fd, line.encode())

    def release(self) -> None:
        """Release the name and remove the directory. Idempotent."""
        if not self._released:
            self._released = True
            self.remove()
            self.abandon_in_child()

    def remove(self) -> None:
        """Remove the directory; the descriptors stay open for threads that may still use them."""
        with contextlib.suppress(OSError):
            for old in _set_aside(self.path, _read_manifest(self.path)):
                _remove(old)

    def abandon_in_child(self) -> None:
        """Close this copy's descriptors in a forked child; the parent keeps the name."""
        os.close(self._workers_fd)
        os.close(self._lock_fd)


def list_pools() -> list[PoolRecord]:
    """Return this user's pools on this machine, by name, including dead pools that are not reaped yet."""
    found = (_read_record(path) for path in sorted(pools_dir().iterdir()) if not path.name.startswith("."))
    return [record for record in found if record is not None]


def reap_orphans() -> list[Reaped]:
    """End the workers of pools whose owner is gone, and remove these pools' files. Affects no other process."""
    reaped = []
    for path in sorted(pools_dir().iterdir()):
        record = _read_record(path)
        if record is None or record.owner_alive:
            continue
        manifest = _read_manifest(path)
        lock_fd = _lock(path, create=False)
        if lock_fd is None and manifest is None:
            continue  # the directory is being created or removed at this moment
        # Without the lock: a forked child of the dead owner may hold it.
        reaped += [
            Reaped(name=record.name, owner_pid=record.owner_pid, killed=_clear(old))
            for old in _set_aside(path, manifest)
        ]
        if lock_fd is not None:
            os.close(lock_fd)
    return reaped


def _is_new(path: Path) -> bool:
    try:
        return os.listdir(path) == ["lock"]
    except FileNotFoundError:
        return False


def _set_aside(path: Path, manifest: Manifest | None) -> list[Path]:
    # Returns the new path in a list; an empty list if the directory no longer has this manifest.
    doomed = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        if _read_manifest(path) != manifest:
            return []
        path.rename(doomed)
    except FileNotFoundError:
        return []
    return [doomed]


def _clear(path: Path) -> tuple[int, ...]:
    name = path.name.removeprefix(".").rpartition(".")[0]
    killed = kill_groups({*_recorded_workers(path), *started_in(name)}, timeout_s=REAP_TIMEOUT_S)
    _remove(path)
    return killed


def _remove(path: Path) -> None:
    # Also where no descriptor is left, which listing a directory would need.
    with contextlib.suppress(OSError):
        for name in ("lock", "workers", "manifest.json", f".manifest.{os.getpid()}"):
            (path / name).unlink(missing_ok=True)
        path.rmdir()
        return
    shutil.rmtree(path, ignore_errors=True)


def _write_manifest(path: Path, name: str, version: str) -> None:
    manifest = Manifest(
        name=name,
        version=version,
        pid=os.getpid(),
        start_ticks=start_ticks(os.getpid()) or 0,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    draft = path / f".manifest.{os.getpid()}"
    draft.write_bytes(msgspec.json.encode(manifest))
    draft.replace(path / "manifest.json")


def _read_record(path: Path) -> PoolRecord | None:
    # Returns None for a directory that has vanished meanwhile.
    manifest = _read_manifest(path)
    living = tuple(pid for pid, ticks in _recorded_workers(path) if is_alive(pid, ticks))
    if manifest is not None:
        return PoolRecord(
            name=manifest.name,
            version=manifest.version,
            owner_pid=manifest.pid,
            owner_alive=is_alive(manifest.pid, manifest.start_ticks),
            created_at=manifest.created_at,
            worker_pids=living,
        )
    if not path.is_dir():
        return None
    lock_fd = _lock(path, create=False)
    if lock_fd is not None:
        os.close(lock_fd)
    return PoolRecord(
        name=path.name, version="?", owner_pid=0, owner_alive=lock_fd is None, created_at="?", worker_pids=living
    )


def _lock(path: Path, *, create: bool) -> int | None:
    # Returns the locked descriptor. None if a living process holds the lock or, without `create`, if there is no lock
    # file.
    while True:
        try:
            if create:
                path.mkdir(mode=0o700, exist_ok=True)
            fd = os.open(path / "lock", os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o600)
        except OSError as error:
            if not isinstance(error, FileNotFoundError | FileExistsError):
                with contextlib.suppress(OSError):
                    path.rmdir()  # only if nobody has put a lock into it
                raise
            # The former owner may have removed it between two of these steps.
            if not create:
                return None
            if _no_place(path):
                raise
            continue
        if not lock_file(fd):
            os.close(fd)
            return None
        with contextlib.suppress(FileNotFoundError):
            if os.stat(path / "lock").st_ino == os.fstat(fd).st_ino:
                return fd
        os.close(fd)  # the directory was removed during the wait for its lock
        if not create:
            return None


def _no_place(path: Path) -> bool:
    # Returns whether no directory can be created here: a file is in the way, or the parent does not exist.
    try:
        return not stat.S_ISDIR(path.lstat().st_mode)
    except FileNotFoundError:
        return not path.parent.is_dir()


def _read_manifest(path: Path) -> Manifest | None:
    try:
        return msgspec.json.decode((path / "manifest.json").read_bytes(), type=Manifest)
    except (OSError, ValueError):
        return None


def _recorded_workers(path: Path) -> list[tuple[int, int]]:
    try:
        lines = (path / "workers").read_text(errors="replace").splitlines()
    except OSError:
        return []
    found: dict[int, int] = {}
    for line in lines:
        match line[:1], line[1:].split():
            case "+", [pid, ticks] if pid.isdecimal() and ticks.isdecimal():
                found[int(pid)] = int(ticks)
            case "-", [pid] if pid.isdecimal():
                found.pop(int(pid), None)
            case _:
                continue  # truncated by a full disk
    return list(found.items())
