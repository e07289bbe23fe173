"""Round trips and contention: how many small calls a second each system answers, for 1 and for many clients."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack

from benchmarks import systems
from benchmarks.blocks import Block, System, measure_blocks, middle, open_all, ratio_of_rates
from benchmarks.effort import Effort, Limit
from benchmarks.records import Figure, Goal, Result, Row, judge
from harness.stats import quantile

ROUND_TRIP_LIMIT = 1.35
ONE_CLIENT_TIMES = 3.5
MANY_CLIENTS_TIMES = 4.0
FAIRNESS = 0.9
GOAL_CLIENTS = 8
ON_ONE_CPU = " on one processor"


def round_trip(effort: Effort, subjects: Mapping[str, System] | None = None) -> Result:
    """One client: how long a call takes, beside a bare pipe with the same codec."""
    chosen: Mapping[str, System] = {**systems.ALL, "raw pipes in turn": systems.raw_in_turn, "raw pipe": systems.raw}
    chosen = chosen if subjects is None else subjects
    limit = Limit(effort.limit_s)
    with ExitStack() as stack:
        calls, notes = open_all(stack, chosen, effort.workers)
        found = measure_blocks(
            calls, clients=1, rounds=effort.rounds, seconds=effort.block_s, seed=effort.seed, limit=limit
        )
    raw = _ratio(found, "raw pipe", effort.seed)
    return Result(
        experiment="round-trip",
        title=f"A no-op call, 1 client, {effort.workers} workers",
        rows=_rows(found, "1 client", effort.seed),
        goals=(
            judge("round trip, V2 / raw pipe", raw.inverse() if raw else None, at_most=ROUND_TRIP_LIMIT),
            judge(
                "calls/s at 1 client, V2 / ProcessPoolExecutor",
                _ratio(found, "ProcessPoolExecutor", effort.seed),
                at_least=ONE_CLIENT_TIMES,
            ),
        ),
        notes=notes + limit.notes(len(found["V2"]), effort.rounds),
    )


def contention(effort: Effort, subjects: Mapping[str, System] | None = None) -> Result:
    """Many clients: calls a second, the median call, and how evenly the clients are served.

    First wherever the scheduler puts the clients, then with all of them on one processor, for every system alike.
    """
    rows: list[Row] = []
    goals: list[Goal] = []
    one = frozenset({min(os.sched_getaffinity(0))})
    conditions = [(clients, frozenset[int](), "") for clients in effort.contenders]
    conditions += [(GOAL_CLIENTS, one, ON_ONE_CPU)] * (GOAL_CLIENTS in effort.contenders)
    limit = Limit(effort.limit_s * 2)
    with ExitStack() as stack:
        chosen = {**systems.ALL, "bare hand-off": systems.bare_hand_off} if subjects is None else subjects
        calls, notes = open_all(stack, chosen, effort.workers)
        for clients, cpus, where in conditions:
            found = measure_blocks(
                calls,
                clients=clients,
                rounds=effort.contended_rounds,
                seconds=effort.contended_block_s,
                seed=effort.seed + clients,
                limit=limit,
                cpus=cpus,
            )
            rows += _rows(found, f"{clients} clients{where}", effort.seed)
            notes += limit.notes(len(found["V2"]), effort.contended_rounds)
            if clients == GOAL_CLIENTS:
                ratio = _ratio(found, "ProcessPoolExecutor", effort.seed)
                fairness = middle([block.fairness for block in found["V2"]], seed=effort.seed)
                goals += (
                    judge(f"calls/s at 8 clients{where}, V2 / ProcessPoolExecutor", ratio, at_least=MANY_CLIENTS_TIMES),
                    judge(f"fairness of V2 at 8 clients{where} (min / max served)", fairness, at_least=FAIRNESS),
                )
    return Result(
        experiment="contention",
        title=f"No-op calls, {effort.workers} workers, many clients",
        rows=tuple(rows),
        goals=tuple(goals),
        notes=notes,
    )


def _ratio(found: Mapping[str, list[Block]], system: str, seed: int) -> Figure | None:
    return ratio_of_rates(found[system], found["V2"], seed=seed) if system in found else None


def _rows(found: Mapping[str, list[Block]], condition: str, seed: int) -> tuple[Row, ...]:
    return tuple(
        Row(
            condition=condition,
            system=name,
            samples=len(blocks),
            metrics={
                "calls_per_s": quantile([block.rate for block in blocks], 0.5),
                "p50_us": quantile([block.p50_us for block in blocks], 0.5),
                "fairness": quantile([block.fairness for block in blocks], 0.5),
            },
            v2_ratio=None if name == "V2" else _ratio(found, name, seed),
        )
        for name, blocks in found.items()
    )
