"""A sweep: throughput and latency of each pool at each size, in seeded order, and the scalability law fitted to them.

A serial pool answers only few of many waiting calls, so a block ends by the clock: calls that are still unanswered are
cut off by closing their pool. Each point opens its pool anew.
"""

from __future__ import annotations

import itertools
import random
import resource
import time
from datetime import UTC, datetime
from importlib.metadata import version

from poolproof.bridge import PoolError
from poolproof.harness.bench.block import Block, wrong_answers
from poolproof.harness.bench.generator import make_clients, run_block
from poolproof.harness.bench.machine import QuietWatch, describe
from poolproof.harness.bench.plan import SweepPlan
from poolproof.harness.bench.running import GATE_PATIENCE_S, Progress
from poolproof.harness.bench.statistics.curves import curve, summarize
from poolproof.harness.bench.statistics.figures import SweepReport
from poolproof.harness.bench.statistics.validity import judge_validity
from poolproof.harness.bench.workloads.workloads import plan_of
from poolproof.harness.model.errors import RunError, UsageError
from poolproof.harness.model.timing.load import CLOSED
from poolproof.harness.model.workload import Size
from poolproof.harness.run.lock import quiet_gate

LEAD_SHARE = 0.25
"""The first part of a block, in which the clients start, is not counted."""


def carry_out_sweep(plan: SweepPlan, *, progress: Progress, command: str = "") -> SweepReport:
    """Measure all points behind the quiet gate. Raises UsageError without pools or sizes, RunError if a pool breaks."""
    if not plan.sizes or not plan.pools:
        raise UsageError("a sweep needs a pool and at least one size")
    began = time.monotonic()
    blocks: dict[tuple[str, int, int], list[Block]] = {}
    sizes = list(dict.fromkeys((workers, clients) for workers, clients, _ in plan.sizes))
    points = [(subject.name, *size) for size in sizes for subject in plan.pools]
    progress.planned(len(points) * plan.rounds)
    draw = random.Random(f"sweep/{plan.seed}")
    with quiet_gate(GATE_PATIENCE_S) as held:
        watch, before = QuietWatch(gate=held), _ended_cpu_s()
        for number in range(plan.rounds):
            draw.shuffle(points)
            for name, workers, clients in points:
                what = f"{name}, {workers} workers, {clients} clients, round {number + 1}"
                progress.began(what)
                try:
                    block = _measure(plan, name, workers, clients)
                except PoolError as error:
                    raise RunError(f"{what}: {error}") from error
                blocks.setdefault((name, workers, clients), []).append(block)
                progress.ended(what, f"{block.throughput:.1f} calls/s")
        quiet = watch.end(_ended_cpu_s() - before)
    found_wrong = wrong_answers(itertools.chain.from_iterable(blocks.values()))
    wrong = tuple(f"{pool}: {answer}" for pool, answers in found_wrong.items() for answer in answers[:1])
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


def _ended_cpu_s() -> float:
    # CPU seconds of all ended child processes: the workers of a point end with its pool.
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _measure(plan: SweepPlan, name: str, workers: int, clients: int) -> Block:
    pool = plan.open(name, workers)
    try:
        steps = plan_of(plan.call, Size(workers=workers, clients=clients), plan.seed)
        return run_block(
            make_clients(pool.execute, steps),
            arm=name,
            seconds=plan.block_s,
            lead_s=LEAD_SHARE * plan.block_s,
            cut=lambda: pool.close(0.0),
        )
    finally:
        pool.close(0.0)
