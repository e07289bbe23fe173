"""How tests wait: they look until something is true, and fail at a limit that no sound run comes near."""

from __future__ import annotations

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


def stop(pid: int) -> None:
    """Stop a process by SIGSTOP, and wait until it has stopped: on another processor it may run on for a moment."""
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T", f"{pid} has stopped")
