"""One simulation: a pool of V2 on the simulated platform, with the deaths of workers that its plan has."""

from __future__ import annotations

from poolproof.bridge import Event, PoolConfig
from poolproof.harness.simulation.plan import MS, Plan
from poolproof.harness.simulation.platform import HeldTable, SimPlatform, SimWatch
from poolproof.harness.simulation.scheduler import BEGIN_NS
from poolproof.harness.simulation.state import State
from poolproof.pool_v2.running.engine import Engine


class World(State):
    """The pool of one plan, and what happens to its workers. One interpreter thread runs everything."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.clock.on_sleep = self._sleep
        self.scheduler.on_quiet = self._quiet
        self.watch = SimWatch(self)
        config = PoolConfig(**plan.options)
        observer = self._observe if plan.traits["observed"] else None
        self.engine = Engine(config, observer, None, SimPlatform(self))
        self.config = config
        self.engine.coordinator.held = HeldTable(self)
        self.watch.wake()
        for at_ms, kind in plan.deaths:
            self.scheduler.at(BEGIN_NS + at_ms * MS, self._die, kind)

    def _sleep(self, timeout_s: float) -> None:
        self.block(lambda: False, self.now_ns() + int(timeout_s * 1e9))

    def _quiet(self) -> None:
        if self.engine.coordinator.waiting:
            self.note("quiet")

    def _observe(self, event: Event) -> None:
        self.note("event", event.kind.value, event.call, event.worker, event.detail if event.kind == "done" else "")

    def _die(self, kind: str) -> None:
        living = [worker for worker in self.workers.values() if worker.alive and not worker.stdin_closed]
        if not living:
            return
        worker = living[int(self.scheduler.random() * len(living))]
        if kind == "hangup":
            self.note("misbehave", worker.worker_id)
            worker.stdin_closed = True
            worker.reads = False
        elif kind == "stubborn":
            worker.stubborn = True
        else:
            worker.stranger = kind == "stranger"
            worker.exit(None)
