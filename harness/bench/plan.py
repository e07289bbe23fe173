"""The plans of a bench and of a sweep: their inputs, and how the pools that they measure are opened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from poolproof.bridge import Capability, ConfigError, Pool, PoolConfig
from poolproof.harness.bench.statistics.figures import Schedule
from poolproof.harness.bench.watch import Watch
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.timing.budget import parse_budget
from poolproof.harness.model.timing.load import Load
from poolproof.harness.model.workload import Size
from poolproof.harness.run.names import pool_name
from poolproof.harness.run.runner import Subject

BENCH_TIMEOUT_S = 60.0
"""Long enough for the queue of a serial pool: each call of a block waits for all calls before it, as measured."""
SWEEP_TIMEOUT_S = 600.0


class BenchPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The inputs of one bench. `budgets` are texts in the budget grammar, beside the scenario's own.

    With `observed`, or with a budget on a service time or a wait, the bench is repeated with observers: as many rounds
    again measure service times and waits.
    """

    scenario: Scenario
    baseline: Subject
    candidate: Subject
    size: Size
    load: Load
    schedule: Schedule
    seed: int = 1
    budgets: tuple[str, ...] = ()
    worker_command: str | None = None
    observed: bool = False

    def __post_init__(self) -> None:
        for text in (*self.budgets, *self.scenario.budgets):
            parse_budget(text)

    @property
    def observes(self) -> bool:
        """Whether service times and waits are measured."""
        named = (metric for text in (*self.budgets, *self.scenario.budgets) for metric in parse_budget(text).metrics)
        return self.observed or any(metric.startswith(("service_", "wait_")) for metric in named)

    def subject(self, role: str) -> Subject:
        """The pool with this role, which is "baseline" or "candidate"."""
        return self.candidate if role == "candidate" else self.baseline

    def open(self, role: str, watch: Watch | None, env: Mapping[str, str]) -> Pool:
        """Open a new pool with this role, observed by `watch`; `env` is added to its workers' environment.

        A pool that offers `warm_up` is warmed up. Raises PoolError.
        """
        subject = self.subject(role)
        options: dict[str, Any] = {
            **self.scenario.options_for(subject.name),
            "workers": self.size.workers,
            "name": pool_name(f"bench-{self.scenario.name}", subject.name),
            "call_timeout_s": BENCH_TIMEOUT_S,
            "checkout_timeout_s": BENCH_TIMEOUT_S,
        }
        if self.worker_command is not None:
            options["worker_command"] = self.worker_command
        if env:
            options["env"] = {**env, **options.get("env", {})}
        return _open(subject, options, watch)


class SweepPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The inputs of a sweep. `sizes` are (workers, clients, axis); the axis of the point is "workers" or "clients"."""

    call: Scenario
    pools: tuple[Subject, ...]
    sizes: tuple[tuple[int, int, str], ...]
    block_s: float
    rounds: int
    seed: int

    def open(self, name: str, workers: int) -> Pool:
        """Open and warm up a new pool of this name and size, with a zygote if it supports one. Raises PoolError."""
        subject = next(pool for pool in self.pools if pool.name == name)
        options: dict[str, Any] = {
            **self.call.config,
            "workers": workers,
            "name": pool_name("sweep", subject.name),
            "call_timeout_s": SWEEP_TIMEOUT_S,
            "checkout_timeout_s": SWEEP_TIMEOUT_S,
            "start_timeout_s": SWEEP_TIMEOUT_S,
        }
        try:  # 128 interpreters that start one after another take many seconds
            return _open(subject, {**options, "zygote": True}, None)
        except ConfigError:
            return _open(subject, options, None)


def _open(subject: Subject, options: Mapping[str, Any], watch: Watch | None) -> Pool:
    pool = subject.make(PoolConfig.from_options(options), watch.observe if watch is not None else None)
    if Capability.WARM_UP in subject.capabilities:
        try:
            pool.warm_up()
        except BaseException:
            pool.close(0.0)
            raise
    return pool
