"""Runs the self-check: every mutant where it should be found out, and the good pools beside it. Part of the porch.

Each run is a job in a process of its own with a time limit, so that a mutant that hangs costs its own run alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Protocol

import msgspec

from harness.comparison import RunResult
from harness.job import Job, JobOrder
from harness.pools import find_pool
from harness.runner import Request
from harness.scenario import Scenario
from harness.selfcheck.drill import Drill
from harness.selfcheck.job import BROKEN, LONGEST_BUDGET_S
from harness.selfcheck.matrix import Cell, Judgement, KillMatrix, build_matrix
from harness.selfcheck.mutant import Mutant
from harness.selfcheck.roster import Stage, all_mutants, all_stages

JOB_EXTRA_S = 25.0
"""How much longer than its budget a job may take: its start, a close that hangs, and the census."""


class Progress(Protocol):
    """Who is told how far it is."""

    def planned(self, total: int) -> None:
        """So many runs are to come."""

    def began(self, what: str) -> None:
        """A run began."""

    def ended(self, what: str, outcome: str) -> None:
        """A run ended."""


class Task(msgspec.Struct, frozen=True, order=True):
    """One run to make; without a mutant it is the unmutated pool's."""

    seed: int
    pool: str
    mutant: str
    scenario: str

    @property
    def subject(self) -> str:
        """The name that the job knows it by."""
        return f"{self.pool}.{self.mutant}" if self.mutant else self.pool


def plan(mutants: Sequence[Mutant], seeds: Sequence[int], *, full: bool) -> list[Task]:
    """All runs: of each mutant in its own scenarios (in all if `full`), and of its unmutated pool in the same."""
    stages = all_stages()
    tasks: set[Task] = set()
    for mutant in mutants:
        for name in stages if full else mutant.scenarios:
            if _fits(stages[name], mutant.pool):
                tasks |= {Task(seed, mutant.pool, who, name) for seed in seeds for who in (mutant.name, "")}
    return sorted(tasks)


def _fits(stage: Stage, pool: str) -> bool:
    if isinstance(stage, Drill):
        return pool in stage.pools
    return stage.needs <= find_pool(pool).capabilities


def selfcheck(
    mutants: Sequence[Mutant], seeds: Sequence[int], request: Request, out: Path, *, jobs: int, progress: Progress
) -> KillMatrix:
    """Make all runs, `jobs` at a time, and add them up. An interrupt ends the jobs that run and is raised on."""
    began = time.monotonic()
    tasks = plan(mutants, seeds, full=request.profile == "full")
    progress.planned(len(tasks))
    running: set[Job] = set()
    stopping = threading.Event()

    def carry_out(task: Task) -> Cell | None:
        what = f"{task.scenario} on {task.subject}, seed {task.seed}"
        progress.began(what)
        stage = all_stages()[task.scenario]
        order = JobOrder(
            scenario=task.scenario,
            pool=task.subject,
            request=msgspec.structs.replace(request, seed=task.seed),
            out=str(out),
        )
        job = Job(order, "harness.selfcheck.job")
        running.add(job)
        if stopping.is_set():
            job.end()
        try:
            result = job.result(min(stage.budget_s, LONGEST_BUDGET_S) + JOB_EXTRA_S)
        finally:
            running.discard(job)
        cell = as_cell(task, stage, result)
        progress.ended(what, (result.skipped and "skipped") or cell.verdict.value)
        return None if result.skipped else cell

    executor = ThreadPoolExecutor(max_workers=jobs, thread_name_prefix="selfcheck")
    try:
        waiting: set[Future[Cell | None]] = {executor.submit(carry_out, task) for task in tasks}
        done: set[Future[Cell | None]] = set()
        while waiting:
            ended, waiting = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
            done |= ended
    finally:
        stopping.set()
        executor.shutdown(wait=False, cancel_futures=True)
        for job in list(running):
            job.end()
        executor.shutdown(wait=True)
    cells = sorted(
        (cell for future in done if (cell := future.result()) is not None),
        key=lambda cell: (cell.mutant, cell.pool, cell.scenario, cell.seed),
    )
    bugs = {mutant.key for mutant in all_mutants() if not mutant.equivalent}
    whole = bugs <= {mutant.key for mutant in mutants}
    matrix = build_matrix(mutants, cells, profile=request.profile, seeds=seeds, whole=whole)
    return msgspec.structs.replace(matrix, duration_s=time.monotonic() - began)


def as_cell(task: Task, stage: Stage, result: RunResult) -> Cell:
    """What a job has found. A weakness is declared for the unmutated pool, and so for its mutants."""
    declared = {}
    if isinstance(stage, Scenario):
        declared = {d.checker: d.reason for d in stage.intended_differences if d.pool == task.pool}
    broken = result.trouble.removeprefix(BROKEN) if result.trouble.startswith(BROKEN) else ""
    return Cell(
        pool=task.pool,
        mutant=task.mutant,
        scenario=task.scenario,
        seed=task.seed,
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
