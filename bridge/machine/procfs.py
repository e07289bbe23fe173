"""Distinguishes a process from a later process with the same pid, by reading /proc.

Independent of pools. A zombie counts as gone, because it can do nothing any more.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterable
from pathlib import Path


def start_ticks(pid: int, *, zombie: bool = False) -> int | None:
    """Return when the process started, in clock ticks since boot; None if there is no such living process.

    With `zombie`, a process that has ended and was not reaped counts too.

    Source: proc(5), fields 3 (state) and 22 (starttime) of /proc/PID/stat.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # The second field is the program's name in brackets, which may itself contain blanks and brackets.
    fields = stat[stat.rindex(b")") + 2 :].split()
    return None if fields[0] in (b"Z", b"X") and not zombie else int(fields[19])


def pid_space() -> str:
    """Return a text that identifies the PID namespace: it is equal for two processes if a pid means the same to both.

    It names the boot and the PID namespace. Source: proc(5), random(4), pid_namespaces(7).
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}:{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return ""


def is_alive(pid: int, ticks: int) -> bool:
    """Return whether the process that started at `ticks` still lives under `pid`."""
    return start_ticks(pid) == ticks


def kill_groups(processes: Iterable[tuple[int, int]], *, timeout_s: float) -> tuple[int, ...]:
    """Send SIGKILL to those of these processes (pid, ticks) that live, and to their groups; wait at most `timeout_s`
    seconds.

    Returns the signalled pids. A pid that now belongs to another process is not signalled: the process is pinned by a
    pidfd before the comparison.
    """
    killed: dict[int, int] = {}
    for pid, ticks in processes:
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            continue
        if not is_alive(pid, ticks):
            os.close(pidfd)
            continue
        try:
            if os.getpgid(pid) == pid:
                os.killpg(pid, signal.SIGKILL)
            else:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        except OSError:  # it has ended meanwhile
            os.close(pidfd)
            continue
        killed[pid] = pidfd
    deadline = time.monotonic() + timeout_s
    for pidfd in killed.values():
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
        os.close(pidfd)
    return tuple(killed)
