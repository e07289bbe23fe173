"""Finds the processes of a pool from outside: the descendants of this process that were not there before the pool."""

from __future__ import annotations

import contextlib
import signal

import psutil

HELPERS = ("resource_tracker", "forkserver", "multiprocessing.managers", "semaphore_tracker")
"""Words in the command lines of helper processes that an engine starts and that are no workers."""


def descendants() -> frozenset[int]:
    """Return the pids of all processes below this one."""
    return frozenset(child.pid for child in psutil.Process().children(recursive=True))


def workers_since(before: frozenset[int]) -> list[int]:
    """Return the pids of the processes that work: new since `before`, no helper of an engine, and without children.

    A process that has children is taken for the manager of the pool; its children do the work.
    """
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if child.pid in before or child.status() == psutil.STATUS_ZOMBIE or child.children():
                continue
            if not any(word in " ".join(child.cmdline()) for word in HELPERS):
                found.append(child.pid)
    return sorted(found)


def kill_one(before: frozenset[int], turn: int) -> int:
    """SIGKILL one of the processes of `workers_since`; return its pid. Raises ProcessLookupError if there is none."""
    found = workers_since(before)
    if not found:
        raise ProcessLookupError("the pool has no process below this one")
    victim = psutil.Process(found[turn % len(found)])
    victim.send_signal(signal.SIGKILL)
    return victim.pid
