"""Runs the self-check: every mutant in scenarios that should detect it, and the good pools. Entry point.

Each run is a job in its own process with a time limit, so a mutant that hangs ends only its own run. A mutant's run is
judged against the same run of its good pool, and its time limit depends on that run's duration.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Protocol

import msgspec

from poolproof.harness.compare.comparison import RunResult
from poolproof.harness.model.intended import resolved
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.mutation.job import BROKEN, MutantOrder
from poolproof.harness.mutation.lifecycle_tests.lifecycle_test import LifecycleTest
from poolproof.harness.mutation.matrix import Cell, Judgement, KillMatrix, accusers, build_matrix, way_text
from poolproof.harness.mutation.mutant import EXECUTE, Mutant
from poolproof.harness.mutation.registry import Stage, all_mutants, all_stages
from poolproof.harness.run.job import Job
from poolproof.harness.run.lock import sharing
from poolproof.harness.run.runner import Request
from poolproof.harness.subjects.pools import find_pool

GOOD_TIMES = 4
"""A good pool may take this many times its budget: on a busy machine a run that was cut off would be a false alarm."""
JOB_EXTRA_S = 25.0
"""A job may take this many seconds more than its budget: for its start, a close that hangs, and the leak check."""
LONGEST_BUDGET_S = 12.0
"""The longest budget of a mutant's run, in seconds, unless the good pool's run took nearly as long."""
TIMES_AS_LONG, AND_S = 2.0, 3.0
"""A mutant may take this many times as long as its good pool, and this many seconds more. A mutant that hangs has shown
its bug by then.
"""


class Progress(Protocol):
    """Receives the progress of the self-check."""

    def planned(self, total: int) -> None:
        """Called once, with the number of runs that are made if no mutant is detected before its last run."""

    def began(self, what: str) -> None:
        """A run began."""

    def ended(self, what: str, outcome: str) -> None:
        """A run ended."""


class Task(msgspec.Struct, frozen=True, order=True):
    """One run to make; with an empty `mutant` it is a run of the unmutated pool."""

    seed: int
    pool: str
    mutant: str
    scenario: str
    face: str = EXECUTE
    observed: bool = False

    @property
    def subject(self) -> str:
        """The name of the pool or mutant in the job's order."""
        return f"{self.pool}.{self.mutant}" if self.mutant else self.pool

    @property
    def control(self) -> Task:
        """The same run of the unmutated pool."""
        return msgspec.structs.replace(self, mutant="")


class Trail(msgspec.Struct, frozen=True):
    """The runs of one bug with one seed, those that are most likely to show the bug first."""

    mutant: Mutant
    tasks: tuple[Task, ...]


class Plan(msgspec.Struct, frozen=True):
    """All runs of good pools, and a trail of runs for each bug, which ends as soon as the bug is found."""

    good: tuple[Task, ...]
    trails: tuple[Trail, ...]

    @property
    def runs(self) -> int:
        """The largest possible number of runs."""
        return len(self.good) + sum(len(trail.tasks) for trail in self.trails)


def plan(mutants: Sequence[Mutant], seeds: Sequence[int], *, full: bool, exhaustive: bool = False) -> Plan:
    """Plan the runs of each mutant in its own scenarios (then in all others if `full`), and the same runs of its pool.

    Each run uses the mutant's face, and has an observer only if the mutant requires one. Equivalents run only in their
    own scenarios, unless `exhaustive`.
    """
    stages = all_stages()
    good: set[Task] = set()
    trails: list[Trail] = []
    for mutant in mutants:
        far = full and (exhaustive or not mutant.equivalent)
        names = [name for name in _route(mutant, stages, full=far) if _fits(stages[name], mutant)]
        for seed in seeds:
            tasks = tuple(Task(seed, mutant.pool, mutant.name, name, mutant.face, mutant.observed) for name in names)
            good.update(task.control for task in tasks)
            if mutant.equivalent:
                good.update(tasks)
            else:
                trails.append(Trail(mutant, tasks))
    return Plan(tuple(sorted(good, key=lambda task: (bool(task.mutant), task))), tuple(trails))


def _route(mutant: Mutant, stages: dict[str, Stage], *, full: bool) -> Iterator[str]:
    # The mutant's own scenarios, then those about a guarantee that it breaks, then the rest.
    yield from mutant.scenarios
    if full:
        others = [name for name in stages if name not in mutant.scenarios]
        yield from sorted(others, key=lambda name: not set(stages[name].guarantees) & set(mutant.breaks))


def _fits(stage: Stage, mutant: Mutant) -> bool:
    if isinstance(stage, LifecycleTest):  # a lifecycle test calls the pool in its own way, without an observer
        return mutant.pool in stage.pools and mutant.face == EXECUTE and not mutant.observed
    return stage.needs <= find_pool(mutant.pool).capabilities


class _Check:
    """One running self-check."""

    def __init__(self, request: Request, out: Path, progress: Progress, *, exhaustive: bool) -> None:
        self._request = request
        self._out = out
        self._progress = progress
        self._exhaustive = exhaustive
        self._stages = all_stages()
        self._running: set[Job] = set()
        self._stopping = threading.Event()
        self._good: dict[Task, Future[list[Cell]]] = {}

    def carry_out(self, whole: Plan, jobs: int) -> list[Cell]:
        executor = ThreadPoolExecutor(max_workers=jobs, thread_name_prefix="selfcheck")
        try:
            # Good runs are submitted first: a trail waits for the results of its good runs.
            self._good = {task: executor.submit(self._run, task) for task in whole.good}
            waiting = {*self._good.values(), *(executor.submit(self._follow, trail) for trail in whole.trails)}
            done: set[Future[list[Cell]]] = set()
            while waiting:
                ended, waiting = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
                done |= ended
        finally:
            self._stopping.set()
            executor.shutdown(wait=False, cancel_futures=True)
            for job in list(self._running):
                job.end()
            executor.shutdown(wait=True)
        return [cell for future in done for cell in future.result()]

    def _follow(self, trail: Trail) -> list[Cell]:
        # Ends once a checker of a guarantee that the bug breaks has accused the mutant.
        cells: list[Cell] = []
        for task in trail.tasks:
            control = next(iter(self._good[task.control].result()), None)
            if self._stopping.is_set():
                break
            budget_s = LONGEST_BUDGET_S
            if control is not None:
                budget_s = max(budget_s, control.duration_s + AND_S)
                budget_s = min(budget_s, TIMES_AS_LONG * control.duration_s + AND_S)
            for cell in self._run(task, budget_s):
                cells.append(cell)
                accused = (judgement.guarantees for judgement in accusers(cell, control))
                if not self._exhaustive and any(set(trail.mutant.breaks) & set(names) for names in accused):
                    return cells
        return cells

    def _run(self, task: Task, budget_s: float | None = None) -> list[Cell]:
        # The cell, or none if the run was skipped.
        way = way_text(task.face, observed=task.observed)
        what = f"{task.scenario} on {task.subject}{way}, seed {task.seed}"
        self._progress.began(what)
        stage = self._stages[task.scenario]
        budget_s = GOOD_TIMES * stage.budget_s if budget_s is None else budget_s
        order = MutantOrder(
            scenario=task.scenario,
            pool=task.subject,
            request=msgspec.structs.replace(self._request, seed=task.seed, face=task.face, observed=task.observed),
            out=str(self._out),
            budget_s=budget_s,
        )
        with sharing(self._stopping.is_set):
            job = Job(order, "poolproof.harness.mutation.job")
            self._running.add(job)
            if self._stopping.is_set():
                job.end()
            try:
                result = job.result(budget_s + JOB_EXTRA_S)
            finally:
                self._running.discard(job)
        cell = as_cell(task, stage, result)
        self._progress.ended(what, (result.skipped and "skipped") or cell.verdict.value)
        return [] if result.skipped else [cell]


def selfcheck(
    mutants: Sequence[Mutant],
    seeds: Sequence[int],
    request: Request,
    out: Path,
    *,
    jobs: int,
    progress: Progress,
    exhaustive: bool = False,
) -> KillMatrix:
    """Make the runs, `jobs` at a time, and build the matrix. An interrupt ends the running jobs and is re-raised.

    A bug's trail ends once a checker of a guarantee that it breaks has accused it, unless `exhaustive`.
    """
    began = time.monotonic()
    whole = plan(mutants, seeds, full=request.profile == "full", exhaustive=exhaustive)
    progress.planned(whole.runs)
    found = _Check(request, out, progress, exhaustive=exhaustive).carry_out(whole, jobs)
    cells = sorted(found, key=lambda cell: (cell.mutant, cell.pool, cell.scenario, cell.seed))
    bugs = {mutant.key for mutant in all_mutants() if not mutant.equivalent}
    all_bugs = bugs <= {mutant.key for mutant in mutants}
    matrix = build_matrix(mutants, cells, profile=request.profile, seeds=seeds, whole=all_bugs)
    return msgspec.structs.replace(matrix, duration_s=time.monotonic() - began)


def as_cell(task: Task, stage: Stage, result: RunResult) -> Cell:
    """The result of a job as a cell of the matrix. A weakness declared for a pool counts for its mutants too."""
    declared = {}
    if isinstance(stage, Scenario):
        declared = {d.checker: d.reason for d in resolved(stage.intended_differences) if d.pool == task.pool}
    broken = result.trouble.removeprefix(BROKEN) if result.trouble.startswith(BROKEN) else ""
    return Cell(
        pool=task.pool,
        mutant=task.mutant,
        scenario=task.scenario,
        seed=task.seed,
        face=task.face,
        observed=task.observed,
        judgements=tuple(
            Judgement(
                checker=found.checker,
                verdict=found.verdict,
                claim=found.claim,
                guarantees=found.guarantees,
                declared=declared.get(found.checker, ""),
            )
            for found in result.findings
        ),
        trouble="" if broken else result.trouble,
        broken=broken,
        duration_s=round(result.duration_s, 3),
        folder=result.folder,
    )
