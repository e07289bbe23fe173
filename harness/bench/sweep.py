"""A sweep: throughput and latency of each pool at each size, in seeded order, and the scalability law fitted to them.

A serial pool answers only few of many waiting calls, so a block ends by the clock: calls that are still unanswered are
cut off by closing their pool. Each point opens its pool anew.
"""

from __future__ import annotations

import itertools
import random
import resource
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import msgspec

from poolproof.bridge import Capability, ConfigError, PoolConfig, PoolError
from poolproof.harness.bench.block import Block
from poolproof.harness.bench.generator import make_clients, run_block
from poolproof.harness.bench.machine import QuietWatch, describe
from poolproof.harness.bench.running import GATE_PATIENCE_S, Progress
from poolproof.harness.bench.statistics.figures import Curve, SweepPoint, SweepReport
from poolproof.harness.bench.statistics.histogram import QUANTILES, quantile_us
from poolproof.harness.bench.statistics.scalability import LEAST_POINTS, Scalability, fit, knee
from poolproof.harness.bench.statistics.validity import judge_validity
from poolproof.harness.bench.workloads.answers import find_wrong
from poolproof.harness.bench.workloads.workloads import plan_of
from poolproof.harness.model.errors import RunError, UsageError
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.timing.load import CLOSED
from poolproof.harness.model.workload import Size
from poolproof.harness.run.lock import quiet_gate
from poolproof.harness.run.names import pool_name
from poolproof.harness.run.runner import Subject

CALL_TIMEOUT_S = 600.0
LEAD_SHARE = 0.25
"""The first part of a block, in which the clients start, is not counted."""


class SweepPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The inputs of a sweep. `sizes` are (workers, clients, axis); the axis of the point is "workers" or "clients"."""

    call: Scenario
    pools: tuple[Subject, ...]
    sizes: tuple[tuple[int, int, str], ...]
    block_s: float
    rounds: int
    seed: int


def carry_out_sweep(plan: SweepPlan, *, progress: Progress, command: str = "") -> SweepReport:
    """Measure all points behind the quiet gate. Raises UsageError without pools or sizes, RunError if a pool breaks."""
    if not plan.sizes or not plan.pools:
        raise UsageError("a sweep needs a pool and at least one size")
    began = time.monotonic()
    blocks: dict[tuple[str, int, int], list[Block]] = {}
    sizes = list(dict.fromkeys((workers, clients) for workers, clients, _ in plan.sizes))
    points = [(subject, *size) for size in sizes for subject in plan.pools]
    progress.planned(len(points) * plan.rounds)
    draw = random.Random(f"sweep/{plan.seed}")
    with quiet_gate(GATE_PATIENCE_S) as held:
        watch, before = QuietWatch(gate=held), _ended_cpu_s()
        for number in range(plan.rounds):
            draw.shuffle(points)
            for subject, workers, clients in points:
                what = f"{subject.name}, {workers} workers, {clients} clients, round {number + 1}"
                progress.began(what)
                try:
                    block = _measure(plan, subject, workers, clients)
                except PoolError as error:
                    raise RunError(f"{what}: {error}") from error
                blocks.setdefault((subject.name, workers, clients), []).append(block)
                progress.ended(what, f"{block.throughput:.1f} calls/s")
        quiet = watch.end(_ended_cpu_s() - before)
    wrong = _wrong(plan, list(itertools.chain.from_iterable(blocks.values())))
    validity = judge_validity([], quiet, CLOSED, governor=describe().governor, wrong=wrong)
    found = tuple(
        summarize(subject.name, *size, blocks[subject.name, *size]) for subject in plan.pools for size in sizes
    )
    curves = [
        curve(
            subject.name,
            axis,
            [
                (float(workers if axis == "workers" else clients), point.throughput)
                for workers, clients, of in plan.sizes
                for point in found
                if of == axis and (point.pool, point.workers, point.clients) == (subject.name, workers, clients)
            ],
        )
        for axis in dict.fromkeys(axis for *_, axis in plan.sizes)
        for subject in plan.pools
    ]
    return SweepReport(
        call=plan.call.summary,
        points=found,
        curves=tuple(curves),
        machine=describe(),
        validity=validity,
        quiet=quiet,
        seed=plan.seed,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command,
        tool_version=version("poolproof"),
        duration_s=time.monotonic() - began,
        wrong=wrong,
    )


def summarize(pool: str, workers: int, clients: int, blocks: Sequence[Block]) -> SweepPoint:
    """One point from its blocks: the throughput over all blocks, and each quantile that has enough calls."""
    counts: Counter[int] = Counter()
    for block in blocks:
        counts.update(block.response)

    def told(name: str) -> float | None:
        found = quantile_us(counts, QUANTILES[name])
        return None if found is None else found / 1e6

    calls = sum(block.calls for block in blocks)
    return SweepPoint(
        pool=pool,
        workers=workers,
        clients=clients,
        calls=calls,
        throughput=calls / sum(block.seconds for block in blocks),
        p50_s=told("p50"),
        p90_s=told("p90"),
        p99_s=told("p99"),
        errors=sum(sum(block.errors.values()) for block in blocks),
    )


def curve(pool: str, axis: str, points: Sequence[tuple[float, float]]) -> Curve:
    """The fitted law and the knee of one pool along one axis; without the law if there are fewer than 4 points."""
    ordered = sorted(points)
    sizes, rates = [n for n, _ in ordered], [rate for _, rate in ordered]
    if len(ordered) < LEAST_POINTS or min(rates) <= 0:
        return Curve(pool=pool, axis=axis, text=f"{pool} against {axis}: too few points for the scalability law")
    law, bend = fit(sizes, rates), knee(sizes, rates)
    growth, size = rates[-1] / rates[0], sizes[-1] / sizes[0]
    words = f"{growth:.3g} times the throughput with {size:.3g} times the {axis}"
    if bend is not None:
        words += f"; the throughput stops growing at {bend:g}"
    return Curve(
        pool=pool,
        axis=axis,
        rate=law.rate,
        contention=law.contention,
        coherency=law.coherency,
        r_squared=law.r_squared,
        peak=law.peak,
        knee=bend,
        growth=growth,
        intervals=law.intervals,
        text=f"{pool} against {axis}: {words}; {_serial(law)}",
    )


def _serial(law: Scalability) -> str:
    told = f"{min(law.contention, 1.0):.2%} of a call is serial"
    if found := law.intervals.get("contention"):
        told += f" (95 % interval {min(found.low, 1.0):.2%} to {min(found.high, 1.0):.2%})"
    return told


def _wrong(plan: SweepPlan, blocks: Sequence[Block]) -> tuple[str, ...]:
    doubtful = {
        pool.name: [answer for block in blocks if block.arm == pool.name for answer in block.doubtful]
        for pool in plan.pools
    }
    found = find_wrong(doubtful, {command for block in blocks for command in block.right})
    return tuple(f"{pool}: {answer}" for pool, answers in found.items() for answer in answers[:1])


def _ended_cpu_s() -> float:
    # CPU seconds of all ended child processes: the workers of a point end with its pool.
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _measure(plan: SweepPlan, subject: Subject, workers: int, clients: int) -> Block:
    options: dict[str, Any] = {
        **plan.call.config,
        "workers": workers,
        "name": pool_name("sweep", subject.name),
        "call_timeout_s": CALL_TIMEOUT_S,
        "checkout_timeout_s": CALL_TIMEOUT_S,
        "start_timeout_s": CALL_TIMEOUT_S,
    }
    try:  # 128 interpreters that start one after another take many seconds
        pool = subject.make(PoolConfig.from_options({**options, "zygote": True}), None)
    except ConfigError:
        pool = subject.make(PoolConfig.from_options(options), None)
    try:
        if Capability.WARM_UP in subject.capabilities:
            pool.warm_up()
        steps = plan_of(plan.call, Size(workers=workers, clients=clients), plan.seed)
        return run_block(
            make_clients(pool.execute, steps),
            arm=subject.name,
            seconds=plan.block_s,
            lead_s=LEAD_SHARE * plan.block_s,
            cut=lambda: pool.close(0.0),
        )
    finally:
        pool.close(0.0)
