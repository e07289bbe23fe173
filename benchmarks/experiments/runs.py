"""Variation between runs: the same figure of V2 in several programs, each of which is a new process.

`python -m benchmarks.experiments.runs CLIENTS WORKERS SECONDS` is one such program; it prints its calls per second.
"""

from __future__ import annotations

import subprocess
import sys

from benchmarks.blocks import BenchError, measure_blocks
from benchmarks.effort import Effort, Limit
from benchmarks.raw import ROOT
from benchmarks.records import Figure, Result, Row, judge
from benchmarks.systems import v2
from poolproof.harness.history.stats import quantile

CLIENTS = 8
FACTOR = 1.5
END_TIMEOUT_S = 60.0


def one_run(clients: int, workers: int, seconds: float) -> float:
    """Calls per second of a new pool in this program."""
    with v2(workers) as execute:
        limit = Limit(0, least=1)
        found = measure_blocks({"V2": execute}, clients=clients, rounds=1, seconds=seconds, seed=1, limit=limit)
    return found["V2"][0].throughput


def another_run(clients: int, workers: int, seconds: float) -> float:
    """Calls per second of a new pool in a new program. Raises BenchError if that program fails."""
    command = [sys.executable, "-m", "benchmarks.experiments.runs", str(clients), str(workers), str(seconds)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds + END_TIMEOUT_S)
    if done.returncode:
        raise BenchError(f"a run ended with status {done.returncode}: {done.stderr[-500:]}")
    return float(done.stdout)


def runs(effort: Effort) -> Result:
    """Measure the largest over the smallest figure of `effort.runs` runs at 8 clients."""
    limit = Limit(effort.limit_s * 2)
    rates: list[float] = []
    for step in range(effort.runs):
        if not limit.allows(step):
            break
        rates.append(another_run(CLIENTS, effort.workers, effort.run_s))
    factor = max(rates) / min(rates)
    metrics = {"smallest_per_s": min(rates), "median_per_s": quantile(rates, 0.5), "largest_per_s": max(rates)}
    goal = judge(
        f"largest / smallest of {effort.runs} runs at {CLIENTS} clients",
        Figure(factor, factor, factor) if len(rates) == effort.runs else None,
        at_most=FACTOR,
    )
    return Result(
        experiment="runs",
        title=f"No-op calls, {effort.workers} workers, {CLIENTS} clients, in programs of their own",
        rows=(Row(condition=f"{CLIENTS} clients", system="V2", samples=len(rates), metrics=metrics),),
        goals=(goal,),
        notes=limit.notes(len(rates), effort.runs),
    )


if __name__ == "__main__":
    sys.stdout.write(f"{one_run(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))}\n")
