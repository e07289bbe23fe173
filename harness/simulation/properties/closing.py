"""The rules of the close: waiting calls end at once, held workers get their grace, and nothing is left. Pure."""

from __future__ import annotations

from typing import Any

from poolproof.harness.simulation.plan import MS
from poolproof.harness.simulation.properties.observed import Rules


class ClosingRules(Rules):
    """The rules of the close: guarantees G20 and G22."""

    def prepare(self) -> None:
        """Set up the state of these rules before the first note."""
        self.grace_ns = 0
        self.closed_ns: int | None = None
        self.waited: dict[int, int] = {}
        self.last_ns = 0

    def on_close(self, grace_ns: int) -> None:
        """The pool is being closed."""
        self.grace_ns = grace_ns
        self.waited = {op.op.index: number for number, op in self.seen.waiting.items() if not op.ended}

    def on_outcome(self, index: int, item: int, outcome: str, sent: str, value: Any) -> None:  # noqa: ANN401
        """A client has the outcome of a call."""
        seen = self.seen
        close_ns = seen.closing_ns
        if close_ns is None:
            return
        op = seen.seen[index]
        if op.invoked_ns > close_ns and outcome not in ("PoolClosed", "Cancelled") and op.op.kind != "lease":
            self.wrong("G22", f"operation {index} began after the close and got {outcome}")
        late_ns = seen.now_ns - close_ns
        if index in self.waited and not op.outcomes and outcome == "PoolClosed" and late_ns > seen.late_ns:
            self.wrong("G22", f"operation {index} waited, and got {outcome} {late_ns / 1e6} ms late")
        if index in self.waited and not op.outcomes and outcome not in ("PoolClosed", "Cancelled") and late_ns:
            self.wrong("G22", f"operation {index} waited at the close, and got {outcome}")

    def on_free(self, worker_id: int, number: int, unread: int) -> None:
        """A worker is taken from a call; `unread`: bytes that the worker sent are left."""
        self.last_ns = self.seen.now_ns

    def on_kill(self, worker_id: int) -> None:
        """The pool kills a living worker."""
        seen = self.seen
        worker = seen.workers[worker_id]
        holder = seen.by_number.get(worker.holder or 0)
        if seen.closing_ns is None or holder is None or holder.op.fault or holder.op.interrupt or holder.ended:
            return
        early = seen.now_ns < seen.closing_ns + self.grace_ns
        if early and seen.now_ns < holder.deadline_ns and seen.plan.calm and holder.op.kind == "echo":
            self.wrong("G22", f"worker {worker_id} was killed before its grace was over")

    def on_closed(self) -> None:
        """`close` has returned."""
        seen = self.seen
        self.closed_ns = seen.now_ns
        close_ns = seen.closing_ns or 0
        bound_ns = self.grace_ns + 4 * seen.slack_ns + seen.leave_ns
        if seen.plan.deaths or "orphan" in seen.plan.starts.values():
            bound_ns += 21 * MS  # a stranger may hold a dead worker's stdout
        if seen.now_ns - close_ns > bound_ns and not seen.config.ping_interval_s:
            self.wrong("G22", f"close took {(seen.now_ns - close_ns) / 1e6} ms; its grace was {self.grace_ns / 1e6} ms")
        latest_ns = max(close_ns, self.last_ns) + 2 * seen.slack_ns + seen.leave_ns
        if not seen.plan.deaths and seen.now_ns > latest_ns and not seen.config.ping_interval_s:
            self.wrong("G22", f"close waited {(seen.now_ns - latest_ns) / 1e6} ms after the last worker was given back")
        for worker in seen.workers.values():
            if worker.exited_ns is None:
                self.wrong("G20", f"worker {worker.worker_id} lives after the close")
            elif worker.released_ns is None:
                self.wrong("G21", f"worker {worker.worker_id} was not reaped at the close")

    def on_arrive(self, worker_id: int, *_: object) -> None:
        """A worker has read a request."""
        if self.closed_ns is not None:
            self.wrong("G22", f"worker {worker_id} gets a request after the close")

    def on_final(
        self, submitted: int, in_flight: int, outcomes: dict[str, int], sessions: list[Any], state: str
    ) -> None:
        """The pool is closed, and every client has ended."""
        if state != "closed":
            self.wrong("G22", f"the pool is {state} after its close")
