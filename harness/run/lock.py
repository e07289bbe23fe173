"""The quiet gate: nothing is timed on this machine while another timing or scenario run of the same user goes on.

Whoever times holds it alone (`measuring`); runs share it (`sharing`), and so do the tests of a session with benches
(`covering`). Two locks make it fair: all enter through `measuring.turn`, so a waiting timer stops new runs and is never
starved; `measuring.lock` is then held alone or shared. A holder's end, however it comes, releases both.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator

from poolproof.bridge.processes.rundir import pools_dir

POLL_S = 0.02
SHARING_PATIENCE_S = 600.0
"""A run that has waited so long goes on: a stuck bench must not stop everything."""
GATE_VARIABLE = "POOLPROOF_GATE_DIR"
"""A folder of its own for the gate, for a test suite that times nothing and should wait for nobody's bench."""
COVERED_VARIABLE = "POOLPROOF_GATE_COVERED"
_INHERITED = COVERED_VARIABLE in os.environ
"""A test that shares the gate started this process, so the gate cannot be held alone before that test ends."""
_covering: list[int] = []
"""The descriptors of the locks with which this whole process shares the gate."""


@contextlib.contextmanager
def measuring() -> Iterator[bool]:
    """Hold the gate alone, waiting for whoever has it. Gives whether it is held: not in a child of a sharing test."""
    with quiet_gate(None) as held:
        yield held


@contextlib.contextmanager
def quiet_gate(patience_s: float | None) -> Iterator[bool]:
    """The same, but for at most `patience_s` seconds of waiting (None: no limit); False if it could not be held."""
    end = None if patience_s is None else time.monotonic() + patience_s

    def late() -> bool:
        return end is not None and time.monotonic() >= end

    for fd in _covering:  # this process's own share would never let it in
        fcntl.flock(fd, fcntl.LOCK_UN)
    turn, lock = _open("measuring.turn"), _open("measuring.lock")
    try:
        held = _take(turn, fcntl.LOCK_EX, late) and not _INHERITED and _take(lock, fcntl.LOCK_EX, late)
        yield held
    finally:
        os.close(lock)
        os.close(turn)
        for fd in _covering:
            fcntl.flock(fd, fcntl.LOCK_SH)


@contextlib.contextmanager
def sharing(stop: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Go on beside other runs, but not beside a timing. `stop` ends the waiting early, and then nothing is held."""
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


def _share(enough: Callable[[], bool]) -> int:
    lock, turn = _open("measuring.lock"), _open("measuring.turn")
    try:
        if _take(turn, fcntl.LOCK_EX, enough):
            _take(lock, fcntl.LOCK_SH, enough)
    finally:
        os.close(turn)
    return lock


def _open(name: str) -> int:
    folder = os.environ.get(GATE_VARIABLE) or pools_dir().parent
    return os.open(os.path.join(folder, name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _take(fd: int, how: int, enough: Callable[[], bool]) -> bool:
    # Polled, so that whoever waits can be told to stop.
    while True:
        try:
            fcntl.flock(fd, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if enough():
                return False
            time.sleep(POLL_S)
        else:
            return True
