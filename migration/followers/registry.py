"""The register of the followers of a state file: the folder FILE.followers, with two files for each follower.

ID.lock is locked as long as the follower lives: the kernel releases it however the process ends, and no other process
can be taken for it, as could happen with a process id. ID.json has the follower's own report; it is replaced
atomically. A follower whose files were removed from outside makes them again.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import stat
import tempfile
import time
import weakref
from pathlib import Path

import msgspec

from poolproof.bridge.machine.file_lock import lock_file
from poolproof.bridge.machine.procfs import start_ticks
from poolproof.bridge.regular_file import read_regular, write_all
from poolproof.migration.followers.record import FORMAT, Follower, Life, Record, judge

LONGEST_BYTES = 64 * 1024
LOCK_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
FORGET_S = 3600.0
"""How long a follower that ended without leaving is still listed, in seconds."""
_numbers = itertools.count(1)
_registrations: weakref.WeakSet[Registration] = weakref.WeakSet()


class Registration:
    """The entry of one follower. Not thread-safe: one thread at a time publishes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.pid = os.getpid()
        self.host = socket.gethostname()
        self.start_ticks = start_ticks(self.pid) or 0
        stem = f"{self.host.replace('/', '_')}-{self.pid}-{self.start_ticks}-{next(_numbers)}"
        self._record_path = folder / f"{stem}.json"
        self._lock_path = folder / f"{stem}.lock"
        self._fd: int | None = None
        _registrations.add(self)

    def publish(self, record: Record) -> None:
        """Replace the follower's report; register it first if needed. Raises OSError."""
        self._hold()
        fd, draft = tempfile.mkstemp(prefix=".", dir=self._folder)
        try:
            try:
                os.fchmod(fd, 0o644)
                _give_to_owner(fd, self._folder)
                write_all(fd, msgspec.json.encode(record))
            finally:
                os.close(fd)
            os.replace(draft, self._record_path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(draft)
            raise

    def close(self) -> None:
        """Leave the register. Idempotent; does nothing in a forked child."""
        if os.getpid() != self.pid:
            return
        fd, self._fd = self._fd, None
        if fd is None:
            return
        for path in (self._record_path, self._lock_path):
            with contextlib.suppress(OSError):
                path.unlink()
        os.close(fd)

    def let_go(self) -> None:
        """Close a forked child's copy of the lock; otherwise the child would hold the lock after its parent's death."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def _hold(self) -> None:
        if self._fd is not None:
            with contextlib.suppress(OSError):
                if os.path.samestat(os.fstat(self._fd), self._lock_path.lstat()):
                    return
            os.close(self._fd)
            self._fd = None
        self._make_folder()
        with contextlib.suppress(FileNotFoundError):
            self._lock_path.unlink()  # the id is ours alone, so the file has no other owner
        fd = os.open(self._lock_path, LOCK_FLAGS, 0o644)
        try:
            os.fchmod(fd, 0o644)
            _give_to_owner(fd, self._folder)
            if not lock_file(fd):
                raise OSError(f"{self._lock_path} is locked by another process")
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    def _make_folder(self) -> None:
        if self._folder.is_dir():
            return
        self._folder.mkdir(exist_ok=True)
        parent = self._folder.parent.stat()  # whoever may change the state may register
        self._folder.chmod(stat.S_IMODE(parent.st_mode) | 0o700)
        if os.geteuid() == 0:
            os.chown(self._folder, parent.st_uid, parent.st_gid)


def find_followers(folder: Path) -> list[Follower]:
    """Return the followers in the register, the oldest first; those that ended without leaving too.

    Raises OSError if the folder exists and cannot be read.
    """
    found = []
    for path in _records(folder):
        try:
            record = msgspec.json.decode(read_regular(path, LONGEST_BYTES), type=Record)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            continue  # it has just left
        if record.format == FORMAT:
            found.append(judge(record, held=_is_held(path.with_suffix(".lock")), now_s=time.time()))
    return sorted(found, key=lambda follower: (follower.record.started, follower.record.pid))


def forget_dead(folder: Path, *, older_s: float = FORGET_S) -> None:
    """Remove the files of followers that ended without leaving, and have said nothing for `older_s` seconds."""
    for path in _records(folder):
        with contextlib.suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
            record = msgspec.json.decode(read_regular(path, LONGEST_BYTES), type=Record)
            lock = path.with_suffix(".lock")
            found = judge(record, held=_is_held(lock), now_s=time.time())
            if found.life is Life.DEAD and found.silent_s >= older_s:
                path.unlink()
                lock.unlink(missing_ok=True)


def _records(folder: Path) -> list[Path]:
    try:
        return [path for path in sorted(folder.iterdir()) if path.suffix == ".json" and not path.name.startswith(".")]
    except FileNotFoundError:
        return []


def _is_held(lock: Path) -> bool:
    try:
        fd = os.open(lock, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    except OSError:
        return True  # it cannot be examined, so it is not known to be dead
    try:
        return not lock_file(fd, shared=True)
    except OSError:
        return True
    finally:
        os.close(fd)


def _give_to_owner(fd: int, folder: Path) -> None:
    if os.geteuid() == 0:
        owner = folder.stat()
        os.fchown(fd, owner.st_uid, owner.st_gid)


def _let_go_of_all() -> None:
    for registration in list(_registrations):
        registration.let_go()


os.register_at_fork(after_in_child=_let_go_of_all)
