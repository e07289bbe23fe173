"""DSPy workers: how long a warm zygote takes to fork them, and how much memory each of them uses when idle."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.util import find_spec

from benchmarks.blocks import middle
from benchmarks.effort import Effort, Limit
from benchmarks.records import Result, Row, judge
from benchmarks.systems import config
from poolproof.bridge.dspy.adapter import DSPY_ENVIRONMENT, DSPY_PRELOAD
from poolproof.harness.history.stats import quantile
from poolproof.pool_v2 import PoolV2

READY_GOAL_MS = 150.0
IDLE_GOAL_MB = 15.0
START_TIMEOUT_S = 120.0
MISSING = "dspy is not installed: pip install 'poolproof[dspy]'"
PRELOADS: dict[str, tuple[str, ...]] = {
    "V2, DSPy preloaded": DSPY_PRELOAD,
    "V2, DSPy and litellm preloaded": (*DSPY_PRELOAD, "litellm"),
}
Taken = tuple[float, list[float]]
"""Milliseconds until all workers were ready, and each worker's proportional share of memory (PSS) in megabytes."""
Starter = Callable[[tuple[str, ...], int], Taken]


def start_programs(preload: tuple[str, ...], workers: int) -> Taken:
    """Fork `workers` DSPy workers from a zygote that has forked one already."""
    options = config(
        workers=workers + 1, lazy=True, preload=preload, env=DSPY_ENVIRONMENT, start_timeout_s=START_TIMEOUT_S
    )
    with PoolV2(options) as pool:
        pool.warm_up(1)
        began = time.perf_counter()
        pool.warm_up()
        took_ms = (time.perf_counter() - began) * 1000
        return took_ms, [proportional_mb(worker.pid) for worker in pool.status().workers]


def proportional_mb(pid: int) -> float:
    """The process's memory in megabytes; a page that n processes share counts as 1/n. Source: proc(5), smaps_rollup."""
    with open(f"/proc/{pid}/smaps_rollup") as rollup:
        lines = dict(line.split(":", 1) for line in rollup if ":" in line and line.startswith("Pss:"))
    return int(lines["Pss"].split()[0]) * 1024 / 1e6


def programs(effort: Effort, start: Starter = start_programs, *, installed: bool | None = None) -> Result:
    """Start `start_workers` DSPy workers `starts` times for each preload; without DSPy, return only a note."""
    title = f"{effort.start_workers} DSPy workers from a warm zygote"
    if not (find_spec("dspy") is not None if installed is None else installed):
        return Result(experiment="programs", title=title, rows=(), goals=(), notes=(MISSING,))
    taken: dict[str, list[Taken]] = {name: [] for name in PRELOADS}
    limit = Limit(effort.limit_s)
    for step in range(effort.starts):
        if not limit.allows(step):
            break
        for name, preload in PRELOADS.items():
            taken[name].append(start(preload, effort.start_workers))
    rows, goals = [], []
    for name, found in taken.items():
        times = [took_ms for took_ms, _ in found]
        largest = [max(shares) for _, shares in found]
        metrics = {"median_ms": quantile(times, 0.5), "largest_ms": max(times), "idle_mb": quantile(largest, 0.5)}
        condition = f"{effort.start_workers} workers"
        rows.append(Row(condition=condition, system=name, samples=len(found), metrics=metrics))
        ready, idle = middle(times, seed=effort.seed), middle(largest, seed=effort.seed)
        goals.append(judge(f"{condition} ready, {name} (ms)", ready, at_most=READY_GOAL_MS))
        goals.append(judge(f"memory of an idle worker, {name} (PSS, MB)", idle, at_most=IDLE_GOAL_MB))
    notes = limit.notes(min(map(len, taken.values())), effort.starts)
    return Result(experiment="programs", title=title, rows=tuple(rows), goals=tuple(goals), notes=notes)
