"""Measures how much faster the candidate is: pairs of short blocks, one a pool, in random order, on warm pools.

Knows nothing of faults. The unit is the block: a pair shares the machine's drift, and the interval is over pairs.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections.abc import Callable

import msgspec

from bridge import Pool, PoolConfig, PoolError
from harness.comparison import Speed
from harness.errors import RunError
from harness.models.loopback import LoopbackModels
from harness.names import pool_name
from harness.runner import Request, Subject, serving_models
from harness.scenario import Scenario
from harness.stats import paired_ratio
from harness.workload import Plan, Size

QUICK_PAIRS = 6
FULL_PAIRS = 24
BLOCK_SCALE = 0.5


class Block(msgspec.Struct, frozen=True):
    """One block: how many calls it made and in how many seconds."""

    pool: str
    calls: int
    seconds: float


def measure_speed(
    scenario: Scenario,
    baseline: Subject,
    candidate: Subject,
    request: Request,
    *,
    on_block: Callable[[int, int], None] = lambda done, total: None,
) -> Speed:
    """Throughput of `scenario`'s workload, candidate over baseline, over 6 pairs (24 in the full profile).

    `on_block` hears of each finished block. Raises RunError if a pool cannot be made or a call fails.
    """
    pairs = QUICK_PAIRS if request.profile == "quick" else FULL_PAIRS
    size = msgspec.structs.replace(scenario.fixed_size or request.size, scale=request.size.scale * BLOCK_SCALE)
    plan = scenario.workload(random.Random(f"speed/{scenario.name}/{request.seed}"), size)
    order = random.Random(f"order/{request.seed}")
    load = os.getloadavg()[0]
    pools: dict[int, Pool] = {}
    blocks: dict[int, list[Block]] = {0: [], 1: []}
    beside = contextlib.ExitStack()
    try:
        models = beside.enter_context(serving_models(scenario))
        for side, subject in enumerate((baseline, candidate)):
            pools[side] = _warm_pool(scenario, subject, request, size, models)
            run_block(subject.name, pools[side], plan)  # the first calls of a pool are never counted
        for pair in range(pairs):
            sides = [0, 1]
            order.shuffle(sides)
            for number, side in enumerate(sides):
                name = (baseline, candidate)[side].name
                blocks[side].append(run_block(name, pools[side], plan))
                on_block(2 * pair + number + 1, 2 * pairs)
    except PoolError as error:
        raise RunError(f"the speed of {scenario.name!r} could not be measured: {error}") from error
    finally:
        for pool in pools.values():
            pool.close()
        beside.close()
    rates = {side: [block.calls / block.seconds for block in blocks[side]] for side in blocks}
    ratio = paired_ratio(rates[0], rates[1], seed=request.seed)
    notes = []
    if load > (os.cpu_count() or 1):
        notes.append(f"the machine was busy: load {load:.1f} on {os.cpu_count()} processors")
    if pairs < FULL_PAIRS:
        notes.append(f"{pairs} pairs of blocks; the full profile takes {FULL_PAIRS}")
    return Speed(
        scenario=scenario.name,
        metric="throughput",
        baseline=_median(rates[0]),
        candidate=_median(rates[1]),
        ratio=ratio.ratio,
        low=ratio.low,
        high=ratio.high,
        blocks=pairs,
        notes=tuple(notes),
    )


def run_block(name: str, pool: Pool, plan: Plan) -> Block:
    """Every client of the plan makes its calls; the time from the common start to the last end. Raises RunError."""
    start = threading.Barrier(len(plan) + 1)
    errors: list[Exception] = []

    def work(number: int) -> None:
        start.wait()
        for position, step in enumerate(plan[number]):
            try:
                pool.execute(step.command, {**step.args, "nonce": f"{number}.{position}"}, session=step.session)
            except Exception as error:
                errors.append(error)
                return

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(len(plan))]
    for thread in threads:
        thread.start()
    start.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    if errors:
        raise RunError(f"a call on {name} raised {type(errors[0]).__name__}: {errors[0]}") from errors[0]
    return Block(name, sum(len(steps) for steps in plan), seconds)


def _warm_pool(
    scenario: Scenario, subject: Subject, request: Request, size: Size, models: LoopbackModels | None
) -> Pool:
    name = pool_name(f"speed-{scenario.name}", subject.name)
    options = {**scenario.options_for(subject.name), "workers": size.workers, "name": name}
    if models is not None:
        options["env"] = {**models.environment(), **options.get("env", {})}
    # All calls of a block may queue behind one another in a serial pool, and that is what is measured.
    options["call_timeout_s"] = options["checkout_timeout_s"] = scenario.budget_s
    if request.worker_command is not None:
        options["worker_command"] = request.worker_command
    pool = subject.make(PoolConfig.from_options(options), None)
    try:
        pool.warm_up()
    except PoolError:
        pool.close()
        raise
    return pool


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]
