"""The state that the parts of one simulation share: plan, scheduler, history, and the objects that live now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from poolproof.harness.simulation.plan import MS, Plan
from poolproof.harness.simulation.scheduler import Scheduler

US = 1000
History = list[tuple[Any, ...]]


class State:
    """The shared state. `note` appends to the history: a kind, the time, and values that depend on the kind."""

    engine: Any
    watch: Any

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        traits = plan.traits
        self.pipe_bytes = traits["pipe_bytes"]
        self.kill_ns = traits["kill_us"] * US
        self.late_ns = traits["late_us"] * US
        self.start_ns = traits["start_ms"] * MS
        self.leave_ns = traits["leave_ms"] * MS
        self.reap_ns = traits["reap_us"] * US
        self.by_the_book = bool(traits["by_the_book"])
        self.reply_pipes = bool(traits["reply_pipes"])
        self.ops = {op.index: op for op in plan.ops}
        self.history: History = []
        self.injured: set[int] = set()
        self.workers: dict[int, Any] = {}
        self.pipes: dict[int, Any] = {}
        self.clients_left = 0
        self.supervising = False
        self.ended = False
        self.points = 0
        """How many more locks the current client passes before it is interrupted; 0: it is not interrupted."""
        self.on_point: Callable[[], None] = lambda: None
        self.scheduler = Scheduler(plan.seed, preempt_every=traits["preempt_every"])
        self.clock = self.scheduler.clock
        self.now_ns = self.clock.now_ns

    def note(self, kind: str, *what: Any) -> None:  # noqa: ANN401 - any JSON value
        """Append a note to the history."""
        self.history.append((kind, self.clock.at_ns, *what))

    def on_write(self, worker_id: int, torn: bool) -> None:
        """A client writes to a worker. Note it if a part of the request is left or no client holds the worker."""
        holder = self.engine.coordinator.held.get(worker_id)
        if torn or holder is None:
            self.note("write", worker_id, -1 if holder is None else holder.call)

    def is_readable(self, fd: int) -> bool:
        """Whether this descriptor of a worker is readable."""
        worker = self.workers[fd // 4]
        return not worker.alive if fd % 4 == 1 else worker.transport.readable()

    def block(self, done: Callable[[], bool], until_ns: int) -> bool:
        """Carry out other steps until `done` holds or the time has passed. Returns whether `done` holds."""
        if self.supervising:
            self.note("supervisor waits")
            return done()
        nested, self.scheduler.nested = self.scheduler.nested, 0
        points, self.points = self.points, 0
        try:
            return self.scheduler.run(done, until_ns)
        finally:
            self.scheduler.nested = nested
            self.points = points

    def point(self) -> None:
        """Let the current client pass a lock; this raises if the plan interrupts the client there."""
        self.points -= 1
        if not self.points:
            self.on_point()
