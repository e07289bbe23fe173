"""The position of a migration, shared by all its processes: one small file, and next to it a log of every change.

Independent of pools. Rules

1. The file is replaced atomically by the process that holds its lock (`NAME.lock`), so readers see a complete file.
2. Every change gets the next number. Before it takes effect, it is written to the log (`NAME.log`, one JSON object a
   line), with the author, time and reason. The log is append-only; only a change that could not take effect, such as
   on a full disk, is taken back before the lock is released. A writer that is killed between the two leaves a line
   without a change: the line of the next change has the number of the change that it replaced, so `never_in_effect`
   knows.
3. A file that cannot be read has its reason in `trouble`: a process that followed it keeps its position, one that
   begins uses v1, and the next change repairs the file. A file without a log was never a state file. It belongs to the
   user and is never replaced.
4. Links are not followed, so the rules hold for one file. What is no regular file is never opened for longer than it
   takes to see that.
5. Files that root makes belong to the owner of the state file, or else of the folder, so that a change made with sudo
   does not lock the application out.
"""

from __future__ import annotations

import contextlib
import errno
import getpass
import os
import socket
import stat
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from poolproof.bridge.machine.file_lock import lock_file
from poolproof.bridge.regular_file import read_regular, write_all
from poolproof.harness.model.errors import HarnessError
from poolproof.migration.plan import Mode, Position

FORMAT = 1
LOCK_WAIT_S = 5.0
LONGEST_BYTES = 64 * 1024
LONGEST_LOG_BYTES = 64 * 1024 * 1024
DRAFT = ".draft"
LOG_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class StateError(HarnessError):
    """The state file cannot be read, written or locked."""


class StateConflict(StateError):
    """Another process changed the state in the meantime."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The active position as change number `sequence`, with its author, time (ISO 8601) and reason.

    `paused` is the reason why the migration stands still, or empty. `finished`: v2 serves for good.
    `trouble` is never in the file: it says why the file could not be read.
    """

    format: int = FORMAT
    sequence: int
    mode: Mode
    percent: int = 0
    who: str = ""
    at: str = ""
    why: str = ""
    paused: str = ""
    finished: bool = False
    trouble: str = ""

    @property
    def position(self) -> Position:
        """The position. Raises ConfigError if it is invalid."""
        return Position(self.mode, self.percent)


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the log. `replaces` is the number of the entry that the change found, 0 for no file or a damaged one.

    Numbers may have gaps; the change before another one in the history is the one that it replaces.
    """

    sequence: int
    at: str
    who: str
    why: str
    before: str
    after: str
    replaces: int = 0


def never_in_effect(changes: Sequence[Change], entry: Entry | None) -> set[int]:
    """Return the numbers of the changes whose writer was killed after it had written to the log.

    Such a change has a higher number than what the next change, or else the state file, has found. A change
    that found no file, or a damaged one, says nothing about the changes before it.
    """
    found = set()
    last = 0 if entry is None or entry.trouble else entry.sequence
    for change in reversed(changes):
        if last and change.sequence > last:
            found.add(change.sequence)
        else:
            last = change.replaces
    return found


class StateFile:
    """The state file of one migration. Every method may be called from any thread and process."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        path = Path(path)
        self.path = Path(os.path.realpath(path.parent)) / path.name
        self.lock_path = self.path.with_name(self.path.name + ".lock")
        self.log_path = self.path.with_name(self.path.name + ".log")
        self.followers_path = self.path.with_name(self.path.name + ".followers")

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    def close(self) -> None:
        """Do nothing: no file is open between two calls."""

    def stamp(self) -> tuple[int, ...] | None:
        """Return a value that changes with every change of the file and of its permissions; None if there is none."""
        try:
            found = self.path.lstat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size

    def read(self) -> Entry | None:
        """Return the active entry; None without a file. Never raises: for an unreadable file, returns v1 with `trouble`
        set.
        """
        try:
            data = read_regular(self.path, LONGEST_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            return _fallen(f"{self.path} cannot be read: {_reason(error)}")
        try:
            entry = msgspec.json.decode(data, type=Entry)
            if entry.format != FORMAT or entry.sequence < 1 or entry.trouble:
                raise ValueError(f"format {entry.format}, sequence {entry.sequence}")
            entry.position  # noqa: B018 - it raises
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError, RecursionError) as error:
            return _fallen(f"{self.path} is damaged ({len(data)} bytes): {error}")
        return entry

    def write(
        self,
        position: Position,
        *,
        who: str,
        why: str,
        expected: int | None = None,
        above: int = 0,
        paused: str = "",
        finished: bool = False,
    ) -> Entry:
        """Write a position, which activates it. Its number is greater than `above` and than every earlier number.

        Raises StateConflict if the active number is not `expected` (0: no file or a damaged one), otherwise StateError.
        """
        self._require_regular()
        with self._locked():
            before = self.read()
            number = 0 if before is None else before.sequence
            if expected is not None and number != expected:
                raise StateConflict(
                    f"{self.path} was changed by another process meanwhile: its entry has the "
                    f"number {number}, not {expected}"
                )
            history = self.log()
            if before is not None and before.trouble and not history and self._has_content():
                raise StateError(
                    f"{self.path} is not the state file of a migration and is left unchanged; name another file"
                )
            entry = Entry(
                sequence=max([number, above, *(change.sequence for change in history[-1:])]) + 1,
                mode=position.mode,
                percent=position.percent,
                who=who,
                at=datetime.now(UTC).isoformat(timespec="milliseconds"),
                why=why,
                paused=paused,
                finished=finished,
            )
            told = "none" if before is None else "damaged" if before.trouble else str(before.position)
            after = f"{position}{' paused' if paused else ' finished' if finished else ''}"
            change = Change(
                sequence=entry.sequence, at=entry.at, who=who, why=why, before=told, after=after, replaces=number
            )
            try:
                self._put(msgspec.json.encode(change), msgspec.json.format(msgspec.json.encode(entry)) + b"\n")
            except OSError as error:
                raise StateError(f"{self.path} cannot be written: {error.strerror}") from error
            return entry

    def log(self) -> list[Change]:
        """Return every change, the oldest first; lines that were cut off are skipped.

        Raises StateError if the log cannot be read.
        """
        try:
            lines = read_regular(self.log_path, LONGEST_LOG_BYTES).splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StateError(f"{self.log_path} cannot be read: {_reason(error)}") from error
        found = []
        for line in lines:
            with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
                found.append(msgspec.json.decode(line, type=Change))
        return found

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        if not self.path.parent.is_dir():  # the lock would create a mistyped folder
            raise StateError(f"{self.path} cannot be written: there is no folder {self.path.parent}")
        end_s = time.monotonic() + LOCK_WAIT_S
        try:
            # Read-only, so that every user who may read the folder can lock; the holder of a lock needs no more.
            flags = os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            fd = os.open(self.lock_path, flags, 0o644)
        except OSError as error:
            raise StateError(f"{self.path} cannot be locked: {_reason(error)}{self._lock_owner()}") from error
        self._share(fd, 0o444)
        try:
            try:
                locked = lock_file(fd, stop=lambda: time.monotonic() >= end_s)
            except OSError as error:
                raise StateError(f"{self.path} cannot be locked: {error.strerror}") from error
            if not locked:
                raise StateError(f"{self.path} was locked by another process for {LOCK_WAIT_S:g} s")
            yield
        finally:
            os.close(fd)

    def _put(self, line: bytes, data: bytes) -> None:
        # Whatever fails, the log has the change exactly if the file has it. All that needs space comes first.
        draft = self._prepare(data)
        try:
            fd = os.open(self.log_path, LOG_FLAGS, 0o644)
            try:
                self._share(fd, 0o600)
                size = os.fstat(fd).st_size
                torn = size and os.pread(fd, 1, size - 1) != b"\n"  # the last writer was killed in mid-line
                try:
                    write_all(fd, (b"\n" if torn else b"") + line + b"\n")
                    os.fsync(fd)
                    os.replace(draft, self.path)
                except BaseException:
                    os.ftruncate(fd, size)
                    raise
            finally:
                os.close(fd)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(draft)
            raise

    def _prepare(self, data: bytes) -> str:
        # The content of the state file under another name, with the mode and the owner of the present file.
        mode = 0o644
        with contextlib.suppress(OSError):
            mode = self.path.stat().st_mode & 0o777
        self._remove_drafts()
        fd, name = tempfile.mkstemp(prefix=f".{self.path.name}.", suffix=DRAFT, dir=self.path.parent)
        try:
            try:
                os.fchmod(fd, mode)
                self._share(fd, 0)
                write_all(fd, data)
                os.fsync(fd)
            finally:
                os.close(fd)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
        return name

    def _remove_drafts(self) -> None:
        # Those of writers that were killed: drafts are only made by the holder of the lock.
        with contextlib.suppress(OSError):
            for name in os.listdir(self.path.parent):
                if name.startswith(f".{self.path.name}.") and name.endswith(DRAFT):
                    os.unlink(self.path.parent / name)

    def _share(self, fd: int, needed: int) -> None:
        # Gives a file that root has made to the application's user, and permits what a narrow umask forbade.
        found = os.fstat(fd)
        if found.st_uid != os.geteuid():
            return
        with contextlib.suppress(OSError):
            if found.st_mode & needed != needed:
                os.fchmod(fd, found.st_mode & 0o777 | needed)
            if os.geteuid() == 0:
                owner = (self.path if self.path.exists() else self.path.parent).stat()
                os.fchown(fd, owner.st_uid, owner.st_gid)

    def _lock_owner(self) -> str:
        try:
            found = self.lock_path.lstat()
        except OSError:
            return ""
        return f" ({self.lock_path.name} belongs to user {found.st_uid} and has the mode {found.st_mode & 0o777:o})"

    def _require_regular(self) -> None:
        try:
            mode = self.path.lstat().st_mode
        except OSError:  # there is no file yet; any other trouble will come again
            return
        if stat.S_ISLNK(mode):
            raise StateError(f"{self.path} is a link; name the file that it leads to")
        if not stat.S_ISREG(mode):
            raise StateError(f"{self.path} is not a regular file and is left unchanged; name another file")

    def _has_content(self) -> bool:
        try:
            return self.path.lstat().st_size > 0
        except OSError:
            return False


def whoami() -> str:
    """Return the author of a change: user, host and process id."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # the passwd file has no name for this user
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}:{os.getpid()}"


def _fallen(trouble: str) -> Entry:
    return Entry(sequence=0, mode=Mode.V1, trouble=trouble)


def _reason(error: OSError) -> str:
    return "it is a link" if error.errno == errno.ELOOP else str(error.strerror)
