"""The rounds of one bench: three pools, their clients, and the blocks that were measured on them.

Knows nothing of verdicts, budgets and reports.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack

from poolproof.bridge import Capability, Pool
from poolproof.harness.bench.block import ARMS, Block, wrong_answers
from poolproof.harness.bench.generator import Client, make_clients, run_block
from poolproof.harness.bench.plan import BenchPlan
from poolproof.harness.bench.resources import Meter
from poolproof.harness.bench.statistics.analysis import LEAST_ROUNDS, Analysis
from poolproof.harness.bench.statistics.figures import PoolFigures, Sample
from poolproof.harness.bench.statistics.histogram import histogram
from poolproof.harness.bench.statistics.metrics import UNITS
from poolproof.harness.bench.watch import Watch
from poolproof.harness.history.growth import Slope, slope
from poolproof.harness.model.timing.load import arrivals
from poolproof.harness.model.workload import Plan

EVERY_ROUNDS = 5
SHOWN_WRONG = 3
ROLES = {"baseline": "baseline", "control": "baseline", "candidate": "candidate"}


class Session:
    """Three open pools, and the blocks that were measured on them."""

    def __init__(self, plan: BenchPlan, steps: Plan, env: Mapping[str, str], stack: ExitStack) -> None:
        self._plan, self._steps, self._env = plan, steps, env
        self._meter = Meter()
        self._pools: dict[str, Pool] = {}
        self._clients: dict[str, tuple[Client, ...]] = {}
        self._checked: list[Block] = []
        self._samples: dict[str, list[Sample]] = {arm: [] for arm in ARMS}
        self._active_s: dict[str, list[float]] = {arm: [] for arm in ARMS}
        self._growth: dict[str, list[tuple[int, int, int]]] = {arm: [] for arm in ARMS}
        self.rounds: list[dict[str, Block]] = []
        self.blocks: list[Block] = []
        self._draw = random.Random(f"order/{plan.seed}")
        self._opened = time.monotonic()
        self._open({}, stack)
        self._began = time.monotonic()
        self._pids = {arm: self._worker_pids(arm) for arm in ARMS}
        self._first_cpu = {arm: self._cpu_s(arm) for arm in ARMS}
        self._last_cpu = dict(self._first_cpu)
        self._last_switches = {arm: self._switches(arm) for arm in ARMS}

    def carry_out(self, on_round: Callable[[int, int], None]) -> str:
        """Run all rounds, and return why they ended early; "" if the schedule was completed."""
        schedule = self._plan.schedule
        for number in range(schedule.rounds):
            around = {arm: self._measured(arm, number) for arm in self._order()}
            self.rounds.append(around)
            self.blocks += around.values()
            on_round(number + 1, schedule.rounds)
            done = number + 1
            if schedule.until_width and done >= schedule.least_rounds and done % EVERY_ROUNDS == 0:
                width = Analysis(self.rounds, seed=self._plan.seed).widest(open_load=self._plan.load.open)
                if width <= schedule.until_width:
                    return (
                        f"after {done} rounds every interval was narrow enough (--until-width "
                        f"{schedule.until_width:.1%})"
                    )
            late = time.monotonic() - self._opened >= schedule.limit_s > 0
            if late and LEAST_ROUNDS <= done < schedule.rounds:
                return f"after {done} rounds the time limit of {schedule.limit_s:g} s was reached"
        return ""

    def observe(self) -> None:
        """Measure service times and waits: as many rounds again, on pools of the same kinds with an observer."""
        watches = {arm: Watch() for arm in ARMS if Capability.EVENTS in self._plan.subject(ROLES[arm]).capabilities}
        with ExitStack() as stack:
            self._open(watches, stack)
            for number, around in enumerate(self.rounds):
                for arm in self._order():
                    self._block(arm, f"observed/{number}", self._plan.schedule.block_s)
                    if arm in watches:
                        around[arm].service, around[arm].wait = watches[arm].collect(self._begins(arm))

    def wrong(self) -> tuple[str, ...]:
        """A sentence for each of the first wrong answers of each pool, in any block."""
        found = wrong_answers(self._checked)
        names = {
            "baseline": self._plan.baseline.name,
            "control": f"{self._plan.baseline.name} (control)",
            "candidate": self._plan.candidate.name,
        }
        return tuple(
            f"{self._plan.scenario.name} on {names[arm]}: {answer}"
            for arm in ARMS
            for answer in found.get(arm, ())[:SHOWN_WRONG]
        )

    def analysis(self) -> Analysis:
        """Return the figures of all rounds."""
        found = Analysis(self.rounds, seed=self._plan.seed)
        for role in ("baseline", "candidate"):
            found.add_slopes(role, self._slopes(role))
        return found

    def figures(self, role: str, analysis: Analysis) -> PoolFigures:
        """All figures of one pool."""
        blocks = [block for block in self.blocks if ROLES[block.arm] == role]
        errors: dict[str, int] = {}
        for block in blocks:
            for kind, count in block.errors.items():
                errors[kind] = errors.get(kind, 0) + count
        response, service = blocks[0].response.copy(), blocks[0].service.copy()
        for block in blocks[1:]:
            response.update(block.response)
            service.update(block.service)
        return PoolFigures(
            role=role,
            pool=self._plan.subject(role).name,
            calls=sum(block.calls for block in blocks),
            errors=errors,
            failure=next((block.failure for block in self._checked if ROLES[block.arm] == role and block.failure), ""),
            dropped=sum(block.dropped for block in blocks),
            late=sum(block.late for block in blocks),
            figures={metric: analysis.figure(role, metric) for metric in UNITS},
            response=histogram(response),
            service=histogram(service),
            samples=tuple(self._samples[role]),
            slopes={name: found for name, found in self._slopes(role).items() if found is not None},
        )

    def restarted(self) -> list[str]:
        """Return the arms (baseline, control, candidate) in which a worker was replaced since the session began."""
        return [arm for arm in ARMS if self._pids[arm] != self._worker_pids(arm)]

    def workers_cpu_s(self) -> float:
        """Processor seconds that all workers have used since the begin."""
        return sum(max(self._last_cpu[arm] - self._first_cpu[arm], 0.0) for arm in ARMS)

    def _order(self) -> list[str]:
        order = list(ARMS)
        self._draw.shuffle(order)
        return order

    def _open(self, watches: Mapping[str, Watch], stack: ExitStack) -> None:
        order = self._order()
        for arm in order:
            pool = self._plan.open(ROLES[arm], watches.get(arm), self._env)
            stack.callback(pool.close)
            self._pools[arm] = pool
            self._clients[arm] = make_clients(pool.execute, self._steps, watches.get(arm))
        for arm in order:
            self._block(arm, "warm", self._plan.schedule.warm_s)  # a pool's first calls are never counted
            if arm in watches:
                watches[arm].collect(self._begins(arm))

    def _begins(self, arm: str) -> dict[int, int]:
        return {number: at_ns for client in self._clients[arm] for number, at_ns in client.begins.items()}

    def _measured(self, arm: str, number: int) -> Block:
        at_s = time.monotonic() - self._began
        before = self._meter.process()
        block = self._block(arm, str(number), self._plan.schedule.block_s)
        process, workers = self._meter.process(), self._meter.workers(self._worker_pids(arm))
        block.at_s = at_s
        block.process, block.workers = process, workers
        used, switched = process.cpu_s - before.cpu_s, process.switches - before.switches
        if workers is not None:
            used += max(workers.cpu_s - self._last_cpu[arm], 0.0)
            switched += max(workers.switches - self._last_switches[arm], 0)
            self._last_cpu[arm], self._last_switches[arm] = workers.cpu_s, workers.switches
            self._samples[arm].append(Sample(at_s=at_s + block.seconds, workers=workers, process=process))
            active = self._active_s[arm]
            active.append((active[-1] if active else 0.0) + block.seconds)
            rss, fds, threads = self._growth[arm][-1] if self._growth[arm] else (0, 0, 0)
            self._growth[arm].append(
                (
                    rss + process.rss_bytes - before.rss_bytes,
                    fds + process.fds - before.fds,
                    threads + process.threads - before.threads,
                )
            )
        block.cpu_s, block.switches = used, switched
        return block

    def _block(self, arm: str, word: str, seconds: float) -> Block:
        load = self._plan.load
        # All pools of a round get the same arrivals; each round has other arrivals.
        times = arrivals(load, seconds, seed=f"arrivals/{self._plan.seed}/{word}") if load.open else None
        block = run_block(self._clients[arm], arm=arm, seconds=seconds, arrivals=times)
        self._checked.append(block)
        return block

    def _slopes(self, role: str) -> dict[str, Slope | None]:
        # Time counts only while this pool is at work: an idle pool leaks nothing.
        at, workers = self._active_s[role], [sample.workers for sample in self._samples[role]]
        found: dict[str, Slope | None] = {
            "rss_slope": slope(at, [used.rss_bytes for used in workers]),
            "fds_slope": slope(at, [used.fds for used in workers]),
            "threads_slope": slope(at, [used.threads for used in workers]),
        }
        pss = [used.pss_bytes for used in workers if used.pss_bytes is not None]
        found["pss_slope"] = slope(at, pss) if len(pss) == len(at) else None
        for place, name in enumerate(("rss", "fds", "threads")):
            found[f"process_{name}_slope"] = slope(at, [grown[place] for grown in self._growth[role]])
        return found

    def _worker_pids(self, arm: str) -> frozenset[int]:
        return frozenset(worker.pid for worker in self._pools[arm].status().workers)

    def _cpu_s(self, arm: str) -> float:
        used = self._meter.workers(self._pids[arm])
        return used.cpu_s if used is not None else 0.0

    def _switches(self, arm: str) -> int:
        used = self._meter.workers(self._pids[arm])
        return used.switches if used is not None else 0
