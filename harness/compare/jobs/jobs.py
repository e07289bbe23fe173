"""Makes runs, each in a job of its own and several at a time; progress goes to a listener.

If the whole machine stood still during a run, and only checkers with a limit of time failed, the run is made again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Protocol

import msgspec

from poolproof.harness.compare.comparison import RunResult
from poolproof.harness.compare.jobs.stalls import Stalls, may_be_due_to_a_stall
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.run.lock import sharing
from poolproof.harness.run.runner import Request, Subject

JOB_EXTRA_S = 60.0
"""How many seconds a job may take beyond its scenario's budget, for starting, closing and judging."""


class RunningJob(Protocol):
    """A run in a separate process."""

    def result(self, timeout_s: float) -> RunResult:
        """Wait for the result."""
        ...

    def end(self) -> str:
        """End the run at once."""
        ...


class Progress(Protocol):
    """Receives the progress of a comparison."""

    def planned(self, total: int) -> None:
        """`total` steps are planned."""
        ...

    def began(self, what: str) -> None:
        """A step began."""
        ...

    def ended(self, what: str, outcome: str) -> None:
        """A step ended."""
        ...


StartJob = Callable[[Scenario, Subject, Request, Path], RunningJob]


class PlannedRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run to make. `subject` is on the `side` 0 (the baseline) or 1 (the candidate) of a comparison."""

    scenario: Scenario
    subject: Subject
    request: Request
    side: int = 0

    @property
    def what(self) -> str:
        """The run's name in progress messages."""
        how = "observed" if self.request.observed else "not observed"
        return f"{self.scenario.name} ({self.request.face}, {how}) on {self.subject.name}"


def run_jobs(
    runs: Sequence[PlannedRun],
    out: Path,
    *,
    jobs: int,
    start_job: StartJob,
    progress: Progress,
    partial: Partial | None = None,
    stalls: Stalls | None = None,
) -> list[RunResult]:
    """Make all runs, `jobs` at a time, those with the largest budgets first; return results in the order of `runs`.

    An interrupt ends the running jobs and is raised again; what the jobs recorded stays on disk. With `partial` it is
    not raised: the runs that did not end have a trouble in place of findings. So have those that would begin after the
    partial's time is over. A run that met one of the `stalls`, and failed only by limits of time, is made once more.
    """
    stalls = stalls or Stalls()
    running: set[RunningJob] = set()
    stopping = threading.Event()
    results: dict[int, RunResult] = {}

    def carry_out(planned: PlannedRun) -> RunResult:
        if partial is not None and partial.is_over():
            return _not_run(planned, partial.why)
        began_s = time.monotonic()
        progress.began(planned.what)
        result = make(planned)
        stall_s = stalls.longest_since(began_s)
        if stall_s and may_be_due_to_a_stall(result) and not stopping.is_set():
            stalls.told.append(
                f"{planned.what} was run again: the machine stood still for {stall_s:.1f} s in a run that was "
                f"{result.verdict.value} ({result.folder})"
            )
            result = make(planned)
        progress.ended(planned.what, (result.skipped and "skipped") or result.verdict.value)
        return result

    def make(planned: PlannedRun) -> RunResult:
        with sharing(stopping.is_set):  # not in the job, because its time is limited
            job = start_job(planned.scenario, planned.subject, planned.request, out)
            running.add(job)
            if stopping.is_set():  # the job was started while the others were ended
                job.end()
            try:
                result = job.result(planned.scenario.budget_s + JOB_EXTRA_S)
            finally:
                running.discard(job)
        return result

    futures: dict[Future[RunResult], int] = {}
    executor = ThreadPoolExecutor(max_workers=max(1, jobs), thread_name_prefix="job")
    try:
        futures = {
            executor.submit(carry_out, runs[place]): place
            for place in sorted(range(len(runs)), key=lambda place: -runs[place].scenario.budget_s)
        }
        waiting = set(futures)
        stalls.begin()
        while waiting:
            stalls.tick()
            done, waiting = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
            for future in done:
                results[futures[future]] = future.result()
    except KeyboardInterrupt:
        if partial is None:
            raise
        partial.interrupted = True
        partial.why = partial.why or INTERRUPTED
        ended = [future for future in futures if future.done() and future.exception() is None]
        results |= {futures[future]: future.result() for future in ended}
    finally:
        stopping.set()
        executor.shutdown(wait=False, cancel_futures=True)
        for job in list(running):
            job.end()
        executor.shutdown(wait=True)
    why = "" if partial is None else partial.why
    return [results[place] if place in results else _not_run(runs[place], why) for place in range(len(runs))]


INTERRUPTED = "the comparison was interrupted before this run ended"


class Partial:
    """A comparison that may end before all runs were made: at an interrupt, or when its time (`budget_s`) is over."""

    def __init__(self, budget_s: float | None = None) -> None:
        self.interrupted = False
        self.why = ""
        self._budget_s = budget_s
        self._end_s = None if budget_s is None else time.monotonic() + budget_s

    def is_over(self) -> bool:
        """Return whether no further run may begin."""
        if self._end_s is not None and time.monotonic() >= self._end_s:
            self.why = self.why or f"not run, since the time budget of {self._budget_s:g} s was over"
        return bool(self.why)


def _not_run(planned: PlannedRun, why: str) -> RunResult:
    return RunResult(
        scenario=planned.scenario.name,
        pool=planned.subject.name,
        seed=planned.request.seed,
        face=planned.request.face,
        observed=planned.request.observed,
        verdict=Verdict.UNKNOWN,
        trouble=why,
    )
