"""One planted mutant, and the runs of the comparison on it, each made at most once."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, Self

from poolproof.harness.compare.comparison import RunResult
from poolproof.harness.compare.jobs.jobs import PlannedRun
from poolproof.harness.mutation.generated.hunted import Outcome
from poolproof.harness.mutation.generated.survey import Survey, SurveyedRun
from poolproof.harness.mutation.generated.tree import Tree
from poolproof.harness.mutation.generated.verdicts import judge_run
from poolproof.harness.run.jobserver import JobServer
from poolproof.harness.run.lock import sharing

JOB_EXTRA_S = 60.0
TIMES_AS_LONG, AND_S = 4.0, 15.0
"""A run may take this many times as long as in the survey, and this many seconds more."""
MOST_TIMEOUTS = 2
"""After this many runs of a mutant that did not end in time, no other run is tried."""


class Slots:
    """Limits how many runs are made at the same time, over all mutants; `stopping` ends what still waits."""

    def __init__(self, jobs: int) -> None:
        self._free = threading.BoundedSemaphore(jobs)
        self.jobs = jobs
        self.stopping = threading.Event()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Hold one slot."""
        with self._free, sharing(self.stopping.is_set):
            yield


class Runs(Protocol):
    """Makes runs of the comparison on one version of the pools."""

    def make(self, run: SurveyedRun) -> RunResult:
        """Make this run."""
        ...


class TreeRuns:
    """The runs of one tree, each in a process of its job server; a context manager."""

    def __init__(self, tree: Tree, planned: Mapping[str, PlannedRun], out: Path, slots: Slots) -> None:
        self._planned = planned
        self._out = out
        self._slots = slots
        self._lock = threading.Lock()
        self._server: JobServer | None = None
        self._tree = tree

    def make(self, run: SurveyedRun) -> RunResult:
        """Make this run; a mutant that hangs ends only this run."""
        planned = self._planned[run.key]
        limit_s = min(planned.scenario.budget_s + JOB_EXTRA_S, TIMES_AS_LONG * run.result.duration_s + AND_S)
        with self._slots.taken():
            if self._slots.stopping.is_set():
                raise InterruptedError
            try:
                job = self._serving().start_job(planned.scenario, planned.subject, planned.request, self._out)
            except OSError as error:
                trouble = f"the job server broke: {error}"
                return RunResult(
                    scenario=run.result.scenario,
                    pool=run.result.pool,
                    seed=run.result.seed,
                    verdict=run.result.verdict,
                    face=run.result.face,
                    observed=run.result.observed,
                    trouble=trouble,
                )
            return job.result(limit_s)

    def _serving(self) -> JobServer:
        # Started by the first run: many mutants need none.
        with self._lock:
            if self._server is None:
                self._server = self._tree.serve_jobs().__enter__()
            return self._server

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.__exit__()


class Target:
    """One planted mutant. `executing` are the surveyed runs that execute its place, the most related first."""

    def __init__(
        self,
        *,
        tree: Tree,
        runs: Runs,
        good: Runs,
        survey: Survey,
        planned: Mapping[str, PlannedRun],
        executing: Sequence[SurveyedRun],
        slots: Slots,
    ) -> None:
        self.tree = tree
        self.survey = survey
        self.planned = planned
        self.executing = executing
        self.slots = slots
        self.results: dict[str, RunResult] = {}
        self._runs = runs
        self._good = good

    def try_runs(self, runs: Sequence[SurveyedRun]) -> tuple[Outcome, str, int]:
        """Make these runs until one kills the mutant; return the worst outcome, why, and the number of runs made."""
        left = [run for run in runs if run.key not in self.results]
        found: list[tuple[Outcome, str]] = []
        width = max(1, self.slots.jobs)
        executor = ThreadPoolExecutor(max_workers=width, thread_name_prefix="run")
        waiting: set[Future[tuple[Outcome, str]]] = set()
        try:
            while left or waiting:
                while left and len(waiting) < width:
                    waiting.add(executor.submit(self._try_run, left.pop(0)))
                done, waiting = wait(waiting, timeout=1.0, return_when=FIRST_COMPLETED)
                found += [future.result() for future in done]
                if any(outcome is Outcome.KILLED for outcome, _ in found):
                    break
                if [outcome for outcome, _ in found].count(Outcome.TIMEOUT) >= MOST_TIMEOUTS:
                    break
        finally:
            executor.shutdown(wait=True, cancel_futures=True)
        found += [future.result() for future in waiting if not future.cancelled()]
        outcome, why = worst_of(found)
        return outcome, why, len(found)

    def _try_run(self, run: SurveyedRun) -> tuple[Outcome, str]:
        scenario = self.planned[run.key].scenario
        result = self.results[run.key] = self._runs.make(run)
        outcome, why = judge_run(scenario, result, run.result)
        if outcome is Outcome.SURVIVED:
            return outcome, why
        # A machine that is too busy accuses good pools too: the unmutated pool is run again, now.
        again = self._good.make(run)
        if again.folder:
            shutil.rmtree(again.folder, ignore_errors=True)
        return judge_run(scenario, result, again)


def worst_of(found: Sequence[tuple[Outcome, str]]) -> tuple[Outcome, str]:
    """Return the first result that kills the mutant; else the first timeout; else the first undecided one; else
    survived.
    """
    for wanted in (Outcome.KILLED, Outcome.TIMEOUT, Outcome.UNDECIDED):
        for outcome, why in found:
            if outcome is wanted:
                return outcome, why
    return Outcome.SURVIVED, ""
