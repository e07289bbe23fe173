"""One comparison: every scenario on both pools, each run in a job of its own, then the timing, then the judgement.

Knows nothing of reports and of the command line; progress goes to a listener.
"""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import msgspec

from harness.cells import shortfalls
from harness.comparison import SCHEMA_VERSION, Comparison, Cover, Machine, Minimum, RunResult, ScenarioComparison, Speed
from harness.differential import Answers, compare_answers
from harness.errors import RecordError, RunError
from harness.judge import compare_scenario, judge
from harness.lab.speeds import measure_speed
from harness.lock import sharing
from harness.runner import Request, Subject, analyze
from harness.scenario import Scenario
from harness.store import RunFolder

JOB_EXTRA_S = 60.0
"""What a job may take on top of its scenario's budget: starting, closing and judging."""


class RunningJob(Protocol):
    """A run in a process of its own."""

    def result(self, timeout_s: float) -> RunResult:
        """Wait for its result."""
        ...

    def end(self) -> str:
        """End it at once."""
        ...


class Progress(Protocol):
    """Hears how a comparison goes on."""

    def planned(self, total: int) -> None:
        """So many steps are to come."""
        ...

    def began(self, what: str) -> None:
        """A step began."""
        ...

    def ended(self, what: str, outcome: str) -> None:
        """A step ended."""
        ...


StartJob = Callable[[Scenario, Subject, Request, Path], RunningJob]


def run_jobs(
    scenarios: Sequence[Scenario],
    subjects: Sequence[Subject],
    request: Request,
    out: Path,
    *,
    jobs: int,
    start_job: StartJob,
    progress: Progress,
) -> dict[tuple[str, int], RunResult]:
    """Run every scenario on every pool, `jobs` at a time; the results by scenario and the subject's position.

    An interrupt ends the jobs that run and is raised on; what they recorded stays on disk.
    """
    running: set[RunningJob] = set()
    stopping = threading.Event()
    results: dict[tuple[str, int], RunResult] = {}

    def carry_out(scenario: Scenario, subject: Subject) -> RunResult:
        what = f"{scenario.name} on {subject.name}"
        progress.began(what)
        with sharing(stopping.is_set):  # here and not in the job, whose time is limited
            job = start_job(scenario, subject, request, out)
            running.add(job)
            if stopping.is_set():  # it was started while the others were ended
                job.end()
            try:
                result = job.result(scenario.budget_s + JOB_EXTRA_S)
            finally:
                running.discard(job)
        progress.ended(what, (result.skipped and "skipped") or result.verdict.value)
        return result

    executor = ThreadPoolExecutor(max_workers=max(1, jobs), thread_name_prefix="job")
    try:
        futures: dict[Future[RunResult], tuple[str, int]] = {
            executor.submit(carry_out, scenario, subject): (scenario.name, position)
            for scenario in sorted(scenarios, key=lambda scenario: -scenario.budget_s)
            for position, subject in enumerate(subjects)
        }
        waiting = set(futures)
        while waiting:
            done, waiting = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
            for future in done:
                results[futures[future]] = future.result()
    finally:
        stopping.set()
        executor.shutdown(wait=False, cancel_futures=True)
        for job in list(running):
            job.end()
        executor.shutdown(wait=True)
    return results


def compare(
    scenarios: Sequence[Scenario],
    baseline: Subject,
    candidate: Subject,
    request: Request,
    out: Path,
    *,
    jobs: int,
    start_job: StartJob,
    progress: Progress,
    command: str = "",
    minimum: Minimum = Minimum(),  # noqa: B008 - frozen
    read_cover: Callable[[], Cover | None] = lambda: None,
) -> Comparison:
    """Compare two pools. `read_cover` is asked for the coverage once all scenarios have been run.

    Raises UsageError if `out` cannot be written, KeyboardInterrupt as it comes.
    """
    began = time.monotonic()
    load_before = os.getloadavg()[0]
    progress.planned(2 * len(scenarios) + sum(scenario.timed for scenario in scenarios))
    results = run_jobs(
        scenarios, (baseline, candidate), request, out, jobs=jobs, start_job=start_job, progress=progress
    )
    ran = [s for s in scenarios if not any(results[s.name, side].skipped for side in (0, 1))]
    speeds, troubles = measure_speeds(ran, baseline, candidate, request, progress=progress)
    return assemble(
        scenarios,
        results,
        (baseline.name, candidate.name),
        request,
        speeds=speeds,
        troubles=troubles,
        minimum=minimum,
        coverage=read_cover(),
        machine=describe_machine(load_before),
        duration_s=time.monotonic() - began,
        command=command,
    )


def measure_speeds(
    scenarios: Sequence[Scenario], baseline: Subject, candidate: Subject, request: Request, *, progress: Progress
) -> tuple[tuple[Speed, ...], tuple[str, ...]]:
    """Measure every timed scenario, one after another and alone on the machine; a sentence for each that failed."""
    speeds: list[Speed] = []
    troubles: list[str] = []
    for scenario in scenarios:
        if not scenario.timed:
            continue
        what = f"the speed of {scenario.name}"
        progress.began(what)
        try:
            speed = measure_speed(scenario, baseline, candidate, request)
        except RunError as error:
            troubles.append(str(error))
            progress.ended(what, "failed")
        else:
            speeds.append(speed)
            progress.ended(what, "wrong answers" if speed.wrong else f"{speed.ratio:.2f} times")
    return tuple(speeds), tuple(troubles)


def assemble(
    scenarios: Sequence[Scenario],
    results: Mapping[tuple[str, int], RunResult],
    pools: tuple[str, str],
    request: Request,
    *,
    speeds: Sequence[Speed] = (),
    troubles: Sequence[str] = (),
    minimum: Minimum = Minimum(),  # noqa: B008 - frozen
    coverage: Cover | None = None,
    machine: Machine,
    duration_s: float,
    command: str = "",
) -> Comparison:
    """Judge what both pools did: `pools` is (baseline, candidate), `results` goes by scenario and 0 or 1 for these."""
    compared = compare_results(scenarios, results)
    judgement = judge(compared, speeds=speeds, troubles=(*troubles, *shortfalls(compared, coverage, minimum)))
    return Comparison(
        decision=judgement.decision,
        reasons=judgement.reasons,
        warnings=judgement.warnings,
        baseline=pools[0],
        candidate=pools[1],
        seed=request.seed,
        workers=request.size.workers,
        clients=request.size.clients,
        profile=request.profile,
        worker_command=request.worker_command or "",
        scenarios=compared,
        speeds=tuple(speeds),
        troubles=tuple(troubles),
        minimum=minimum,
        coverage=coverage,
        machine=machine,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        duration_s=duration_s,
        command=command,
        tool_version=version("poolproof"),
    )


def compare_results(
    scenarios: Sequence[Scenario], results: Mapping[tuple[str, int], RunResult]
) -> tuple[ScenarioComparison, ...]:
    """Set the results of both pools side by side, with the answers read back from their folders."""
    rows = []
    today = datetime.now(UTC).date().isoformat()
    for scenario in scenarios:
        one, other = results[scenario.name, 0], results[scenario.name, 1]
        answers = Answers()
        if scenario.compare_answers and one.folder and other.folder:
            try:
                answers = compare_answers(
                    RunFolder(Path(one.folder)).read_history(),
                    RunFolder(Path(other.folder)).read_history(),
                    scenario.comparing,
                )
            except RecordError as error:
                other = msgspec.structs.replace(other, trouble=str(error))
        rows.append(compare_scenario(scenario, one, other, answers, today=today))
    return tuple(rows)


def reanalyze(comparison: Comparison, home: Path, find: Callable[[Sequence[str]], Sequence[Scenario]]) -> Comparison:
    """The same comparison, judged again from its run folders; `home` is the folder that it was read from.

    Timings are taken as they were. Raises RecordError for a run folder that is gone, UsageError for a scenario.
    """
    scenarios = {scenario.name: scenario for row in comparison.scenarios for scenario in find([row.file or row.name])}
    results = {}
    for row in comparison.scenarios:
        for side, result in enumerate((row.baseline, row.candidate)):
            if result.folder:
                moved = home / "runs" / Path(result.folder).name
                folder = RunFolder(moved if moved.is_dir() else Path(result.folder))
                again = analyze(scenarios[row.name], folder)
                result = msgspec.structs.replace(again, duration_s=result.duration_s)
            results[row.name, side] = result
    ordered = [scenarios[row.name] for row in comparison.scenarios]
    compared = compare_results(ordered, results)
    missed = shortfalls(compared, comparison.coverage, comparison.minimum)
    judgement = judge(compared, speeds=comparison.speeds, troubles=(*comparison.troubles, *missed))
    return msgspec.structs.replace(
        comparison,
        decision=judgement.decision,
        reasons=judgement.reasons,
        warnings=judgement.warnings,
        scenarios=compared,
        schema_version=SCHEMA_VERSION,
    )


def describe_machine(load_before: float) -> Machine:
    """Where this was measured, and how busy it was."""
    return Machine(
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        cpus=os.cpu_count() or 1,
        load_before=load_before,
        load_after=os.getloadavg()[0],
    )
