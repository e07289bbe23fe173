"""Reaps processes that this program has adopted: as the first process of a container (PID 1) or a subreaper (prctl(2)).

Any other program adopts no processes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from poolproof.bridge.clock import CLOCK, deadline_ns, now_ns
from poolproof.bridge.machine.procfs import start_ticks

LOOK_S = 0.005


def reap_adopted(processes: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Reap the ended children of this program among these (pid, start). Returns its children that still live."""
    return [(pid, ticks) for pid, ticks in processes if start_ticks(pid, zombie=True) == ticks and is_child_left(pid)]


def await_adopted(processes: Iterable[tuple[int, int]], timeout_s: float) -> None:
    """Reap these killed processes, and what is left of the groups that they led; wait at most `timeout_s` seconds.

    A process may become this program's child only when its parent, which may be another of these processes, has ended.
    """
    killed = list(processes)
    deadline = deadline_ns(timeout_s)
    while True:
        alive = any(start_ticks(pid) == ticks for pid, ticks in killed)
        left = [*reap_adopted(killed), *(pid for pid, _ in killed if is_child_left(-pid))]
        if not (alive or left) or now_ns() >= deadline:
            return
        CLOCK.sleep(LOOK_S)


def is_child_left(who: int) -> bool:
    """Reap the ended children of this process among `who`, a pid or a negated group id. Returns whether one lives."""
    try:
        while os.waitpid(who, os.WNOHANG) != (0, 0):
            if who > 0:
                return False
    except ChildProcessError:  # somebody else's children
        return False
    return True
