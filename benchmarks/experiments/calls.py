"""Round trips and contention: how many small calls per second each system answers, for one and for many clients."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from contextlib import ExitStack

from benchmarks import systems
from benchmarks.blocks import System, measure_blocks, middle, open_all, ratio_of_rates
from benchmarks.effort import Effort, Limit
from benchmarks.records import Figure, Goal, Result, Row, judge
from poolproof.harness.bench.block import Block
from poolproof.harness.history.stats import quantile

ROUND_TRIP_LIMIT = 1.35
ONE_CLIENT_TIMES = 3.5
MANY_CLIENTS_TIMES = 4.0
FAIRNESS = 0.9
OBSERVER_COST = {1: 0.05, 8: 0.12}
"""The share of its calls per second that V2 may lose to an observer that does nothing, by number of clients."""
GOAL_CLIENTS = 8
ON_ONE_CPU = " on one processor"
IN_MAIN = ", main thread"
V2, OBSERVED, EXECUTOR, PIPE = "V2", "V2, observed", "ProcessPoolExecutor", "raw pipe"
Found = Mapping[str, list[Block]]


def round_trip(effort: Effort, subjects: Mapping[str, System] | None = None) -> Result:
    """One client: the duration of a call, compared with a bare pipe with the same codec.

    First in a separate thread; then in the main thread, where only the systems that the goals need are measured.
    """
    chosen: Mapping[str, System] = {**systems.ALL, "raw pipes in turn": systems.raw_in_turn, PIPE: systems.raw}
    chosen = chosen if subjects is None else subjects
    limit = Limit(effort.limit_s)
    rows: list[Row] = []
    goals: list[Goal] = []
    with ExitStack() as stack:
        opened, notes = open_all(stack, chosen, effort.workers)
        needed = {name: opened[name] for name in (V2, OBSERVED, EXECUTOR, PIPE) if name in opened}
        for where, here, calls in (("", False, opened), (IN_MAIN, True, needed)):
            found = measure_blocks(
                calls,
                clients=1,
                rounds=effort.rounds,
                seconds=effort.block_s,
                seed=effort.seed + here,
                limit=limit,
                here=here,
            )
            rows += _rows(found, f"1 client{where}")
            notes += limit.notes(len(found[V2]), effort.rounds)
            for name in (V2, OBSERVED):
                over_pipe = _ratio(found, PIPE, name)
                goals += (
                    judge(
                        f"round trip, {name} / raw pipe{where}",
                        over_pipe.inverse() if over_pipe else None,
                        at_most=ROUND_TRIP_LIMIT,
                    ),
                    judge(
                        f"calls/s at 1 client{where}, {name} / {EXECUTOR}",
                        _ratio(found, EXECUTOR, name),
                        at_least=ONE_CLIENT_TIMES,
                    ),
                )
            goals.append(_observer_goal(found, 1, where))
    if threading.current_thread() is not threading.main_thread():
        notes += (f"'1 client{IN_MAIN}' ran in a thread that is not the main one",)
    return Result(
        experiment="round-trip",
        title=f"A no-op call, 1 client, {effort.workers} workers",
        rows=tuple(rows),
        goals=tuple(goals),
        notes=notes,
    )


def contention(effort: Effort, subjects: Mapping[str, System] | None = None) -> Result:
    """Many clients: calls per second, the median call, and the fairness between clients.

    First on any processor, then with all clients on one processor, for every system alike.
    """
    rows: list[Row] = []
    goals: list[Goal] = []
    one = frozenset({min(os.sched_getaffinity(0))})
    conditions = [(clients, frozenset[int](), "") for clients in effort.contenders]
    conditions += [(GOAL_CLIENTS, one, ON_ONE_CPU)] * (GOAL_CLIENTS in effort.contenders)
    limit = Limit(effort.limit_s * 2)
    with ExitStack() as stack:
        chosen = {**systems.ALL, "bare hand-off": systems.bare_hand_off} if subjects is None else subjects
        opened, notes = open_all(stack, chosen, effort.workers)
        for clients, cpus, where in conditions:
            found = measure_blocks(
                opened,
                clients=clients,
                rounds=effort.contended_rounds,
                seconds=effort.contended_block_s,
                seed=effort.seed + clients,
                limit=limit,
                cpus=cpus,
            )
            rows += _rows(found, f"{clients} clients{where}")
            notes += limit.notes(len(found[V2]), effort.contended_rounds)
            if clients != GOAL_CLIENTS:
                continue
            for name in (V2, OBSERVED):
                fairness = [block.fairness for block in found.get(name, ())]
                goals += (
                    judge(
                        f"calls/s at 8 clients{where}, {name} / {EXECUTOR}",
                        _ratio(found, EXECUTOR, name),
                        at_least=MANY_CLIENTS_TIMES,
                    ),
                    judge(
                        f"fairness of {name} at 8 clients{where} (min / max served)",
                        middle(fairness, seed=effort.seed) if fairness else None,
                        at_least=FAIRNESS,
                    ),
                )
            goals.append(_observer_goal(found, GOAL_CLIENTS, where))
    return Result(
        experiment="contention",
        title=f"No-op calls, {effort.workers} workers, many clients",
        rows=tuple(rows),
        goals=tuple(goals),
        notes=notes,
    )


def _observer_goal(found: Found, clients: int, where: str) -> Goal:
    name = f"calls/s at {clients} client{'s' * (clients > 1)}{where}, {OBSERVED} / {V2}"
    return judge(name, _ratio(found, V2, OBSERVED), at_least=1 - OBSERVER_COST[clients])


def _ratio(found: Found, system: str, of: str = V2) -> Figure | None:
    return ratio_of_rates(found[system], found[of]) if system in found and of in found else None


def _rows(found: Found, condition: str) -> tuple[Row, ...]:
    return tuple(
        row_of(condition, name, blocks, None if name == V2 else _ratio(found, name)) for name, blocks in found.items()
    )


def row_of(condition: str, system: str, blocks: list[Block], v2_ratio: Figure | None) -> Row:
    """One row: the medians of one system's blocks."""
    return Row(
        condition=condition,
        system=system,
        samples=len(blocks),
        metrics={
            "calls_per_s": quantile([block.throughput for block in blocks], 0.5),
            "p50_us": quantile([(block.p50_s or 0.0) * 1e6 for block in blocks], 0.5),
            "fairness": quantile([block.fairness for block in blocks], 0.5),
        },
        v2_ratio=v2_ratio,
    )
