"""How many workers one process can drive: many workers that wait 10 ms in each call, and as many clients."""

from __future__ import annotations

from contextlib import ExitStack

import msgspec

from benchmarks.blocks import measure_blocks, middle, ratio_of_rates
from benchmarks.effort import Effort, Limit
from benchmarks.experiments.calls import row_of
from benchmarks.raw import pipe_a_client
from benchmarks.records import Result, judge
from benchmarks.systems import v2
from poolproof.harness.model.workload import Step

CALL_S = 0.010
LEAD_S = 0.1
"""The clients' first calls, which all begin at once, are not counted."""
GOAL = 0.95
BARE = "raw pipes, one a client"
START_TIMEOUT_S = 60.0


def efficiency(effort: Effort) -> Result:
    """Calls per second over the ideal, in which every worker does nothing but one call after another.

    The worker's own overhead and late wake-ups by the kernel count against the pool. Bare pipes with the same codec,
    one for each client, show how much that is.
    """
    ideal = effort.crowd / CALL_S
    limit = Limit(effort.limit_s)
    with ExitStack() as stack:
        found = measure_blocks(
            {
                "V2": stack.enter_context(v2(effort.crowd, zygote=True, start_timeout_s=START_TIMEOUT_S)),
                BARE: stack.enter_context(pipe_a_client(effort.crowd)),
            },
            clients=effort.crowd,
            rounds=effort.crowd_rounds,
            seconds=effort.crowd_block_s,
            seed=effort.seed,
            limit=limit,
            step=Step(command="sleep", args={"seconds": CALL_S}),
            lead_s=LEAD_S,
        )
    shares = [block.throughput / ideal for block in found["V2"]]
    condition = f"{effort.crowd} workers x {CALL_S * 1000:.0f} ms, {effort.crowd} clients"
    rows = []
    for name, blocks in found.items():
        row = row_of(condition, name, blocks, None if name == "V2" else ratio_of_rates(blocks, found["V2"]))
        metrics = {"ideal_per_s": ideal, "efficiency": row.metrics["calls_per_s"] / ideal, **row.metrics}
        rows.append(msgspec.structs.replace(row, metrics=metrics))
    return Result(
        experiment="efficiency",
        title="Many workers that wait",
        rows=tuple(rows),
        goals=(
            judge(
                f"efficiency at {effort.crowd} workers x {CALL_S * 1000:.0f} ms",
                middle(shares, seed=effort.seed),
                at_least=GOAL,
            ),
        ),
        notes=limit.notes(len(shares), effort.crowd_rounds),
    )
