"""How many workers one process can drive: many workers, each called with 10 ms of waiting, by as many clients."""

from __future__ import annotations

from functools import partial

from benchmarks.blocks import Block, Call, middle, ratio_of_rates, run_block
from benchmarks.effort import Effort, Limit
from benchmarks.raw import pipe_a_client
from benchmarks.records import Result, Row, judge
from benchmarks.systems import ANSWER_TIMEOUT_S, config
from harness.stats import quantile
from pool_v2 import PoolV2

CALL_S = 0.010
LEAD_S = 0.1
"""The clients' first calls, which begin all at once, are not counted."""
GOAL = 0.95
BARE = "raw pipes, one a client"
START_TIMEOUT_S = 60.0


def efficiency(effort: Effort) -> Result:
    """Achieved calls a second over the ideal, where every worker does nothing but one call after another.

    The worker's own overhead and the kernel's late wake-ups count against the pool; how much that is, as many bare
    pipes with the same codec show, one for each client.
    """
    ideal = effort.crowd / CALL_S
    limit = Limit(effort.limit_s)
    options = config(
        workers=effort.crowd,
        zygote=True,
        start_timeout_s=START_TIMEOUT_S,
        call_timeout_s=ANSWER_TIMEOUT_S,
        checkout_timeout_s=ANSWER_TIMEOUT_S,
    )
    args = {"seconds": CALL_S}
    found: dict[str, list[Block]] = {"V2": [], BARE: []}
    with PoolV2(options) as pool, pipe_a_client({"seconds": CALL_S}, effort.crowd) as bare:
        pool.warm_up()
        calls: dict[str, Call] = {"V2": partial(pool.execute, "sleep", args), BARE: bare}
        for step in range(effort.crowd_rounds):
            if not limit.allows(step):
                break
            for name, call in calls.items():
                block = run_block(call, clients=effort.crowd, seconds=effort.crowd_block_s, lead_s=LEAD_S)
                found[name].append(block)
    shares = [block.rate / ideal for block in found["V2"]]
    rows = tuple(
        Row(
            condition=f"{effort.crowd} workers x {CALL_S * 1000:.0f} ms, {effort.crowd} clients",
            system=name,
            samples=len(blocks),
            metrics={
                "calls_per_s": quantile([block.rate for block in blocks], 0.5),
                "ideal_per_s": ideal,
                "efficiency": quantile([block.rate / ideal for block in blocks], 0.5),
                "p50_us": quantile([block.p50_us for block in blocks], 0.5),
                "fairness": quantile([block.fairness for block in blocks], 0.5),
            },
            v2_ratio=None if name == "V2" else ratio_of_rates(blocks, found["V2"], seed=effort.seed),
        )
        for name, blocks in found.items()
    )
    return Result(
        experiment="efficiency",
        title="Many workers that wait",
        rows=rows,
        goals=(
            judge(
                f"efficiency at {effort.crowd} workers x {CALL_S * 1000:.0f} ms",
                middle(shares, seed=effort.seed),
                at_least=GOAL,
            ),
        ),
        notes=limit.notes(len(shares), effort.crowd_rounds),
    )
