"""Finds the processes below a worker: by their parents while it lives, and by their environment after its end."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection
from pathlib import Path

from poolproof.bridge.machine.procfs import kill_groups, pid_space, start_ticks

POOL_VARIABLE = "POOLPROOF_POOL"
"""The environment variable with the mark of the pool, which whatever a worker starts inherits."""
WORKER_VARIABLE = "POOLPROOF_WORKER"
"""The environment variable with the worker's id, which whatever a worker starts inherits."""
PROC = Path("/proc")
LOOK_S = 0.005


def descendants(pid: int) -> list[tuple[int, int]]:
    """Return the living processes below `pid` as (pid, start in clock ticks), parents first."""
    found: dict[int, int] = {}
    left = [pid]
    while left:
        for child in _children(left.pop()):
            ticks = start_ticks(child)
            if ticks is not None and child not in found:
                found[child] = ticks
                left.append(child)
    return list(found.items())


def mark_of(pool: str, owner: tuple[str, int, int] | None = None) -> str:
    """Return the mark of a pool: its name alone is unique only below one base directory.

    `owner` is the process that has opened it, by PID namespace, pid and start in clock ticks; by default this process.
    """
    space, pid, ticks = owner or (pid_space(), os.getpid(), start_ticks(os.getpid()) or 0)
    return f"{space}:{pid}:{ticks}:{pool}"


def started_in(mark: str, workers: Collection[int] = ()) -> list[tuple[int, int]]:
    """Return this user's living processes that have the pool's mark in their environment, as (pid, start).

    With `workers`, only those that one of these workers has started.
    """
    variable = f"{POOL_VARIABLE}={mark}".encode()
    starters = {f"{WORKER_VARIABLE}={worker_id}".encode() for worker_id in workers}
    found = []
    with contextlib.suppress(OSError):  # no descriptor is left
        for name in os.listdir(PROC):
            if not name.isdecimal() or int(name) == os.getpid():
                continue
            variables = _environment(name)
            if variable in variables and (not workers or not starters.isdisjoint(variables)):
                ticks = start_ticks(int(name))
                if ticks is not None:
                    found.append((int(name), ticks))
    return found


def end_started(mark: str, *, timeout_s: float) -> list[tuple[int, int]]:
    """Kill what was started with this mark, until nothing is found or `timeout_s` seconds have passed.

    Returns what was found, as (pid, start). Looks again after each kill: a process that just executes another program
    has no environment for a moment.
    """
    deadline = time.monotonic() + timeout_s
    found: list[tuple[int, int]] = []
    while strays := started_in(mark):
        found += strays
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            break
        kill_groups(strays, timeout_s=left_s)
        time.sleep(min(left_s, LOOK_S))
    return found


def _environment(pid: str) -> list[bytes]:
    try:
        return (PROC / pid / "environ").read_bytes().split(b"\0")
    except OSError:  # it has ended, or belongs to another user
        return []


def _children(pid: int) -> list[int]:
    # Source: proc(5), /proc/PID/task/TID/children.
    children: list[int] = []
    with contextlib.suppress(OSError):
        for task in (PROC / str(pid) / "task").iterdir():
            with contextlib.suppress(OSError):
                children += map(int, (task / "children").read_text().split())
    return children
