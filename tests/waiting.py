"""How tests wait: they look until something is true, and fail at a limit that no sound run comes near."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from poolproof.bridge.machine.procfs import start_ticks

HANG_GUARD_S = 40.0


def wait_until(holds: Callable[[], Any], what: str, *, timeout_s: float = HANG_GUARD_S) -> Any:
    """Look until `holds` returns something true, and return that; fail with `what` at the limit."""
    deadline_s = time.monotonic() + timeout_s
    pause = threading.Event()  # not time.sleep, which tests replace
    while not (found := holds()):
        if time.monotonic() > deadline_s:
            pytest.fail(f"not within {timeout_s} s: {what}")
        pause.wait(0.002)
    return found


def wait_until_gone(pid: int, *, timeout_s: float = HANG_GUARD_S) -> None:
    """Wait until no process lives under this pid; a zombie is gone too."""
    wait_until(lambda: start_ticks(pid) is None, f"process {pid} is gone", timeout_s=timeout_s)


class Holdings:
    """The descriptors and threads that this process holds at one moment, to tell later what it has gained.

    Other tests' pools may still end in this process, so what is missing later says nothing. Their threads may just
    read what the kernel tells of processes, so descriptors of such files say nothing either.
    """

    def __init__(self) -> None:
        self._before = _held()

    def gained(self) -> list[str]:
        """What this process holds now and did not hold then, in words."""
        return sorted(_held() - self._before)

    def require_none_gained(self, *, collect: bool = False) -> None:
        """Wait until nothing is left that this process did not hold then; fail with its words at the limit.

        With `collect` whatever only the garbage collector can end may be left to it.
        """
        deadline_s = time.monotonic() + HANG_GUARD_S
        while (gained := self.gained()) and time.monotonic() < deadline_s:
            if collect:
                gc.collect()
            threading.Event().wait(0.002)
        assert gained == []


def _held() -> set[str]:
    held = {f"thread {thread.ident} {thread.name}" for thread in threading.enumerate()}
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:  # the descriptor with which the folder was read
            continue
        if not target.startswith(("/proc/", "/sys/")):
            held.add(f"descriptor {fd} {target}")
    return held


def stop(pid: int) -> None:
    """Stop a process by SIGSTOP, and wait until it has stopped: on another processor it may run on for a moment."""
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T", f"{pid} has stopped")
