"""Ends what a pool's workers have started and left behind, when a worker has ended and when the pool is closed.

A thread of its own does that, so that nobody waits. A worker that ends takes its process group with it
(`poolproof.bridge.processes.process`); a stray is what has left the group. Two ways lead to strays:

1. Where control groups are permitted, each worker is moved into one soon after its start, and all that is in it is
   killed at once (`poolproof.bridge.machine.groups`).
2. The environment tells which worker has started a program (`poolproof.bridge.machine.tree`). A search reads all of
   /proc, so its cost is limited: after a search, the next one waits. A process that just executes a program has no
   environment for a moment, so each search is repeated until it finds nothing.

What a zygote's worker forks without executing a program has the environment of the zygote. Without control groups, such
a stray ends when the pool is closed.
"""

from __future__ import annotations

import logging
import threading
import time
from queue import Empty, SimpleQueue

from poolproof.bridge.clock import CLOCK, deadline_ns, now_ns
from poolproof.bridge.machine.adopted import await_adopted
from poolproof.bridge.machine.groups import Groups, remove_abandoned
from poolproof.bridge.machine.procfs import kill_groups, start_ticks
from poolproof.bridge.machine.tree import end_started, started_in

SEARCHES = 2
"""How many searches must find nothing before an ended worker is forgotten."""
END_S = 1.0
"""How long the end of killed strays is waited for, in seconds."""
SEARCH_PAUSE_S = 1.0
SEARCH_SHARE = 50
"""The pause after a search is at least this many times as long as the search."""
LOOK_S = 0.005
FAULT_PAUSE_S = 0.05
"""The pause after an internal error, so that a repeated error does not use a whole processor and fill the log."""
logger = logging.getLogger(__name__)


class Strays:
    """The strays of one pool, whose workers have `mark` in their environment. Nothing but `close` ever waits."""

    def __init__(self, pool: str, mark: str) -> None:
        self._pool = pool
        self._mark = mark
        self._events: SimpleQueue[tuple[int, int, int] | int | None] = SimpleQueue()
        self._groups = Groups.make()
        self._grouped: set[int] = set()
        self._emptying: set[int] = set()
        self._searched: dict[int, int] = {}
        """Ended workers, each with the number of searches still to be made for processes that it has started."""
        self._next_search_s = 0.0
        self._thread = threading.Thread(target=self._run, name=f"{pool}-strays", daemon=True)
        try:
            self._thread.start()
        except BaseException:
            self.remove_groups()
            raise

    def worker_started(self, worker_id: int, pid: int) -> None:
        """Watch what this worker starts. The worker must not be reaped yet."""
        ticks = start_ticks(pid, zombie=True)
        if self._groups is not None and ticks is not None:
            self._events.put((worker_id, pid, ticks))

    def worker_ended(self, worker_id: int) -> None:
        """End what this worker has left behind, soon. The worker must be reaped."""
        self._events.put(worker_id)

    def close(self) -> None:
        """End all strays, after all workers are reaped; wait at most some seconds. What cannot be ended is logged."""
        self._events.put(None)
        self._thread.join()
        self.kill_all()
        await_adopted(end_started(self._mark, timeout_s=END_S), END_S)
        self.remove_groups()
        if left := started_in(self._mark):
            pids = ", ".join(str(pid) for pid, _ in left)
            logger.warning("pool %r: it cannot end what its workers have started: processes %s", self._pool, pids)

    def kill_all(self) -> None:
        """Kill all strays now, and whatever else is in a control group of this pool."""
        if self._groups is not None:
            self._groups.kill_all()
        kill_groups(started_in(self._mark), timeout_s=0.0)

    def remove_groups(self) -> None:
        """Remove the control groups, when all processes in them have ended; wait at most END_S seconds for that."""
        deadline = deadline_ns(END_S)
        while self._groups is not None and not self._groups.remove() and now_ns() < deadline:
            CLOCK.sleep(LOOK_S)

    # These methods run in the thread.

    def _run(self) -> None:
        if self._groups is not None:
            remove_abandoned()
        while True:
            try:
                event = self._events.get(timeout=self._pause_s())
            except Empty:
                event = 0
            try:
                match event:
                    case None:
                        return
                    case (worker_id, pid, ticks):
                        if self._groups is not None and self._groups.take(worker_id, pid, ticks):
                            self._grouped.add(worker_id)
                    case 0:
                        pass
                    case worker_id:
                        self._searched[worker_id] = SEARCHES
                        self._kill_group(worker_id)
                self._clear()
                self._search()
            except Exception:
                logger.exception("pool %r: internal error in the thread that ends strays", self._pool)
                CLOCK.sleep(FAULT_PAUSE_S)

    def _pause_s(self) -> float | None:
        if self._emptying:
            return LOOK_S
        return max(0.0, self._next_search_s - time.monotonic()) if self._searched else None

    def _kill_group(self, worker_id: int) -> None:
        if self._groups is not None and worker_id in self._grouped:
            self._grouped.discard(worker_id)
            await_adopted(self._groups.kill(worker_id), END_S)
            self._emptying.add(worker_id)

    def _clear(self) -> None:
        if self._groups is not None:
            self._emptying = {one for one in self._emptying if not self._groups.forget(one)}

    def _search(self) -> None:
        began = time.monotonic()
        if not self._searched or began < self._next_search_s:
            return
        strays = started_in(self._mark, self._searched)
        self._next_search_s = began + max(SEARCH_PAUSE_S, SEARCH_SHARE * (time.monotonic() - began))
        if not strays:
            self._searched = {one: left - 1 for one, left in self._searched.items() if left > 1}
        kill_groups(strays, timeout_s=END_S)
        await_adopted(strays, END_S)
