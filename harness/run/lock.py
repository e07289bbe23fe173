"""The quiet gate: a lock of this user and machine, so that no scenario run or other timing runs during a timing.

A timing holds the gate alone (`measuring`). Runs share the gate (`sharing`), and so do the tests of a session with
benches (`covering`). Two locks make the gate fair. All enter through `measuring.turn`, so a waiting timing stops new
runs and never starves; then `measuring.lock` is held alone or shared. Both locks are released when the holder ends,
even by a crash.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from poolproof.bridge.machine.file_lock import lock_file, unlock_file
from poolproof.bridge.processes.rundir.base import pools_dir

SHOWN = 60
SHARING_PATIENCE_S = 600.0
"""A run that has waited this many seconds continues without the gate: a stuck bench must not stop everything."""
GATE_VARIABLE = "POOLPROOF_GATE_DIR"
"""The variable that names a separate folder for the gate, for a test suite that times nothing and must not wait."""
COVERED_VARIABLE = "POOLPROOF_GATE_COVERED"
_INHERITED = COVERED_VARIABLE in os.environ
"""Whether a test that shares the gate started this process; then the gate is never held alone in this process."""
_covering: list[int] = []
"""The descriptors of the locks with which this whole process shares the gate."""


@contextlib.contextmanager
def measuring() -> Iterator[bool]:
    """Wait for the gate and hold it alone. Yields whether it is held: False in a child process of a sharing test."""
    with quiet_gate(None) as held:
        yield held


@contextlib.contextmanager
def quiet_gate(patience_s: float | None) -> Iterator[bool]:
    """Wait at most `patience_s` seconds (None: no limit) to hold the gate alone. Yields whether it is held."""
    end = None if patience_s is None else time.monotonic() + patience_s

    def late() -> bool:
        return end is not None and time.monotonic() >= end

    for fd in _covering:  # this process's own share would block the exclusive lock
        unlock_file(fd)
    turn, lock = _open("measuring.turn"), _open("measuring.lock")
    try:
        held = lock_file(turn, stop=late) and not _INHERITED and lock_file(lock, stop=late)
        yield held
    finally:
        os.close(lock)
        os.close(turn)
        for fd in _covering:
            lock_file(fd, shared=True, stop=lambda: False)


@contextlib.contextmanager
def sharing(stop: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Share the gate with other runs, but not with a timing. If `stop` returns true, go on without the gate."""
    if _covering or _INHERITED:
        yield
        return
    end = time.monotonic() + SHARING_PATIENCE_S
    lock = _share(lambda: stop() or time.monotonic() >= end)
    try:
        yield
    finally:
        os.close(lock)


@contextlib.contextmanager
def covering() -> Iterator[None]:
    """Share the gate for all threads of this process and for the processes that it starts meanwhile."""
    end = time.monotonic() + SHARING_PATIENCE_S
    lock = _share(lambda: time.monotonic() >= end)
    _covering.append(lock)
    os.environ[COVERED_VARIABLE] = "1"
    try:
        yield
    finally:
        _covering.remove(lock)
        if not _covering and not _INHERITED:
            os.environ.pop(COVERED_VARIABLE, None)
        os.close(lock)


def holders() -> list[str]:
    """Return the other processes that hold or share the gate now, as "process 123 (pytest -q)"; best effort."""
    found: dict[int, str] = {}
    with contextlib.suppress(OSError):
        places = set()
        for name in ("measuring.turn", "measuring.lock"):
            there = os.stat(_path(name))
            places.add(f"{os.major(there.st_dev):02x}:{os.minor(there.st_dev):02x}:{there.st_ino}")
        for line in Path("/proc/locks").read_text().splitlines():
            words = line.replace(" -> ", " ").split()
            if len(words) > 5 and words[5] in places and words[4].isdecimal() and int(words[4]) != os.getpid():
                pid = int(words[4])
                found[pid] = f"process {pid}{_command_of(pid)}"
    return [found[pid] for pid in sorted(found)]


def _command_of(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:4]
    except OSError:
        return ""
    told = b" ".join(words).decode("utf-8", "replace").strip()
    return f" ({told[:SHOWN]})" if told else ""


def _share(enough: Callable[[], bool]) -> int:
    lock, turn = _open("measuring.lock"), _open("measuring.turn")
    try:
        if lock_file(turn, stop=enough):
            lock_file(lock, shared=True, stop=enough)
    finally:
        os.close(turn)
    return lock


def _open(name: str) -> int:
    return os.open(_path(name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _path(name: str) -> str:
    return os.path.join(os.environ.get(GATE_VARIABLE) or pools_dir().parent, name)
