"""The experiments by name, and a function that runs some of them and returns the report."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from importlib.util import find_spec

import msgspec

from benchmarks.blocks import BenchError
from benchmarks.effort import Effort
from benchmarks.experiments.arrays import arrays
from benchmarks.experiments.calls import contention, round_trip
from benchmarks.experiments.deadline import deadline
from benchmarks.experiments.efficiency import efficiency
from benchmarks.experiments.foreign import foreign_worker
from benchmarks.experiments.payload import payload
from benchmarks.experiments.programs import programs
from benchmarks.experiments.readiness import start_up
from benchmarks.experiments.replacement import replacement
from benchmarks.experiments.runs import runs
from benchmarks.experiments.sessions import sessions
from benchmarks.machine import describe, quietly_timed
from benchmarks.records import Report, Result
from poolproof.bridge import PoolError
from poolproof.harness.model.errors import UsageError

Experiment = Callable[[Effort], Result]
EXPERIMENTS: dict[str, Experiment] = {
    "round-trip": round_trip,
    "contention": contention,
    "foreign-worker": foreign_worker,
    "runs": runs,
    "efficiency": efficiency,
    "replacement": replacement,
    "start-up": start_up,
    "payload": payload,
    "arrays": arrays,
    "deadline": deadline,
    "sessions": sessions,
    "programs": programs,
}

NEEDS = {"programs": "dspy"}
"""The package that an experiment needs and that `make bench` does not install."""


def choose(names: Iterable[str]) -> dict[str, Experiment]:
    """The named experiments, in the catalogue's order; all runnable ones if none is named. Raises UsageError."""
    wanted = set(names)
    for name in wanted:
        if name not in EXPERIMENTS:
            near = difflib.get_close_matches(name, EXPERIMENTS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"there is no experiment {name!r}{hint} There are: {', '.join(EXPERIMENTS)}")
    wanted = wanted or {name for name in EXPERIMENTS if name not in NEEDS or find_spec(NEEDS[name])}
    return {name: experiment for name, experiment in EXPERIMENTS.items() if name in wanted}


def run(
    experiments: Mapping[str, Experiment], effort: Effort, *, on_result: Callable[[Result], None] = lambda result: None
) -> Report:
    """Run the experiments one after another, each under the measuring lock; call `on_result` with each result.

    A failed experiment is in the report without figures, with the reason as a note.
    """
    results: list[Result] = []
    started = datetime.now(UTC).isoformat(timespec="seconds")
    for name, experiment in experiments.items():
        spent_s = sum(result.seconds for result in results)
        limit_s = experiment_limit_s(effort, spent_s, later=len(experiments) - len(results) - 1)
        results.append(run_one(name, experiment, msgspec.structs.replace(effort, limit_s=limit_s)))
        on_result(results[-1])
    return Report(started=started, effort=effort.name, seed=effort.seed, machine=describe(), results=tuple(results))


def experiment_limit_s(effort: Effort, spent_s: float, *, later: int) -> float:
    """The time limit of the next experiment; a part of the total is reserved for each of the `later` ones."""
    kept_s = later * effort.total_s / (2 * len(EXPERIMENTS))
    return max(min(effort.limit_s, effort.total_s - spent_s - kept_s), 0)


def run_one(name: str, experiment: Experiment, effort: Effort) -> Result:
    """Run one experiment, and add the machine's load and the duration to its result."""
    with quietly_timed() as watch:
        try:
            result = experiment(effort)
        except (BenchError, PoolError) as error:
            note = f"failed: {type(error).__name__}: {error}"
            result = Result(experiment=name, title=name, rows=(), goals=(), notes=(note,))
    return msgspec.structs.replace(result, load=watch.load, seconds=watch.seconds)
