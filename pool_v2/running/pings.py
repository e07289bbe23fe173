"""When idle workers are pinged: a cycle lasts one ping interval and has at most `max_idle_pings` pings."""

from __future__ import annotations

from collections.abc import Callable

from poolproof.pool_v2.core.worker_table import NEVER_NS, Worker
from poolproof.pool_v2.running.runtime import Runtime


class Pings:
    """The workers to ping. `begin(worker, after_ns)` begins a ping of a worker that was idle for `after_ns`.

    `begun` has the ids of the workers whose ping was begun; the code that ends the ping removes the id. The methods are
    called in the supervisor's thread.
    """

    def __init__(self, runtime: Runtime, begin: Callable[[Worker, int], None]) -> None:
        self._runtime = runtime
        self._begin = begin
        self._due: dict[int, Worker] = {}
        self._cycle_ends_ns = 0
        self._left = 0
        self.begun: set[int] = set()

    def add(self, worker: Worker) -> None:
        """Ping a worker that has been idle for the ping interval, in this cycle or in a later one."""
        self._due.setdefault(worker.worker_id, worker)
        self.begin_some(self._runtime.now_ns())

    def forget(self, worker_id: int) -> None:
        """Do not ping this worker any more."""
        self._due.pop(worker_id, None)

    def begin_some(self, now_ns: int) -> int:
        """Begin the pings that this cycle allows; the remaining workers come first in the next cycle.

        Returns when that begins, in nanoseconds.
        """
        if not self._due:
            return NEVER_NS
        config = self._runtime.config
        interval_ns = int((config.ping_interval_s or 0.0) * 1e9)
        if now_ns >= self._cycle_ends_ns:
            self._cycle_ends_ns = now_ns + interval_ns
            self._left = config.max_idle_pings
        while self._due and self._left > 0:
            worker = self._due.pop(next(iter(self._due)))
            idle = worker.usable and worker.worker_id not in self._runtime.coordinator.held
            if idle and now_ns - worker.idle_since_ns >= interval_ns and worker.worker_id not in self.begun:
                self._left -= 1
                self.begun.add(worker.worker_id)
                self._begin(worker, interval_ns)
        return self._cycle_ends_ns if self._due else NEVER_NS
