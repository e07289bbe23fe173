"""Bugs in how V2 starts workers, limits their number and replaces them. Entry point."""

from __future__ import annotations

from typing import Any

from poolproof.harness.mutation.mutant import V2, Registry
from poolproof.harness.mutation.planting import replace
from poolproof.pool_v2.calls.batch import Round
from poolproof.pool_v2.core.circuit import Circuit
from poolproof.pool_v2.core.coordinator import Coordinator
from poolproof.pool_v2.core.replacement import Replacement
from poolproof.pool_v2.core.worker_table import NEVER_NS, Worker
from poolproof.pool_v2.running.supervisor import Supervisor

REGISTRY = Registry()
LIVES = "only the pool's events show how many workers live at the same time"
STARTS = "only the pool's events show when a worker was started and when it answered"


@REGISTRY.bug(V2, breaks=("G8",), scenarios=("lost_worker",))
def never_replaced() -> None:
    """A worker that ended is not replaced."""

    asked: set[int] = set()

    def stingy(wanted_starts: Any) -> Any:
        def only_first(self: Coordinator, now_ns: int) -> int:
            wanted: int = 0 if id(self) in asked else wanted_starts(self, now_ns)
            asked.add(id(self))
            return wanted

        return only_first

    replace(Replacement, "wanted_starts", stingy)


@REGISTRY.bug(V2, breaks=("G13",), scenarios=("slow_start",), observed_because=STARTS)
def starts_in_turn() -> None:
    """Workers are started one after another."""

    def one_by_one(allowed: Any) -> Any:
        def one(self: Circuit, wanted: int, starting: int, now_ns: int) -> int:
            return 0 if starting else min(1, allowed(self, wanted, starting, now_ns))

        return one

    replace(Circuit, "allowed_starts", one_by_one)


@REGISTRY.bug(V2, breaks=("G13",), scenarios=("broken_start",))
def no_back_off() -> None:
    """A worker that fails to start is started again at once, for ever."""
    replace(Circuit, "failed", lambda _: lambda self, error, now_ns: setattr(self, "last_error", error))


@REGISTRY.bug(V2, breaks=("G13",), scenarios=("silent_start",))
def init_timer_restarts() -> None:
    """Every stray frame of a starting worker extends its start deadline by the whole timeout."""

    def patient(on_handshake: Any) -> Any:
        def again(self: Supervisor, worker: Worker) -> None:
            on_handshake(self, worker)
            if worker in self._starting:
                handshake, deadline = self._starting[worker]
                self._starting[worker] = handshake, deadline + int(60e9)

        return again

    replace(Supervisor, "_on_handshake", patient)


@REGISTRY.bug(V2, breaks=("G14",), scenarios=("few_calls",), observed_because=LIVES)
def one_worker_too_many() -> None:
    """The pool starts one worker more than it may have."""

    def greedy(wanted_starts: Any) -> Any:
        def one_more(self: Coordinator, now_ns: int) -> int:
            wanted: int = wanted_starts(self, now_ns)
            return wanted + 1 if not self.closing and len(self.workers) + wanted <= self.limits.most else wanted

        return one_more

    replace(Replacement, "wanted_starts", greedy)


@REGISTRY.bug(V2, breaks=("G15",), scenarios=("modest_demand",), observed_because=LIVES)
def grows_at_once() -> None:
    """The first call that waits makes the pool start all of its workers."""

    def eager(wanted_starts: Any) -> Any:
        def all_of_them(self: Coordinator, now_ns: int) -> int:
            wanted: int = wanted_starts(self, now_ns)
            return self.limits.most - len(self.workers) if wanted else 0

        return all_of_them

    replace(Replacement, "wanted_starts", eager)


@REGISTRY.bug(V2, breaks=("G16",), scenarios=("recycled_workers",))
def never_recycled() -> None:
    """A worker keeps serving after its last allowed request."""

    def immortal(started: Any) -> Any:
        def without_limit(self: Coordinator, worker_id: int, now_ns: int) -> Worker:
            worker: Worker = started(self, worker_id, now_ns)
            worker.request_limit = NEVER_NS
            return worker

        return without_limit

    replace(Replacement, "started", immortal)


@REGISTRY.bug(V2, breaks=("G16",), scenarios=("recycled_workers",), face="many")
def batches_count_once() -> None:
    """A batch counts as one request of its worker, however many items it has."""
    replace(Round, "served_by", lambda _: lambda self, worker: None)
