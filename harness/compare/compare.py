"""One comparison: every scenario on both pools, each run in a job of its own, then the timing, then the judgement.

Knows nothing of reports or the command line; progress goes to a listener.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec

from poolproof.bridge import Capability
from poolproof.bridge.redaction import redact_command
from poolproof.harness.bench.speeds import measure_speed
from poolproof.harness.compare.cells import shortfalls
from poolproof.harness.compare.comparison import (
    Comparison,
    Cover,
    Machine,
    Minimum,
    RunResult,
    ScenarioComparison,
    Speed,
)
from poolproof.harness.compare.differential import Answers, compare_answers
from poolproof.harness.compare.jobs.jobs import INTERRUPTED, Partial, PlannedRun, Progress, StartJob, run_jobs
from poolproof.harness.compare.jobs.stalls import Stalls
from poolproof.harness.compare.judge import Beside, compare_scenario, judge
from poolproof.harness.compare.pairing import choose, everything
from poolproof.harness.explore.choosing import Chosen
from poolproof.harness.history.history import History
from poolproof.harness.model.errors import RecordError, RunError
from poolproof.harness.model.face import EXECUTE, Face
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.run.lock import holders
from poolproof.harness.run.runner import Request, Subject, plan_of, why_skipped
from poolproof.harness.run.store import RunFolder

FULL = "full"
MOST_EXTRA = {"quick": 100}
"""By profile: the largest number of runs of a comparison through faces other than `execute`."""


def as_shipped_and_observed(scenario: Scenario, subject: Subject, request: Request, side: int = 0) -> list[PlannedRun]:
    """Return the runs of every scenario on every pool: as shipped (without an observer), and observed.

    A pool that declares that it reports no events is not observed.
    """
    return [
        PlannedRun(
            scenario=scenario,
            subject=subject,
            request=msgspec.structs.replace(request, face=EXECUTE.name, observed=observed),
            side=side,
        )
        for observed in ((False, True) if Capability.EVENTS in subject.capabilities else (False,))
    ]


def plan_comparison(
    scenarios: Sequence[Scenario], baseline: Subject, candidate: Subject, request: Request, *, most: int | None
) -> tuple[list[PlannedRun], tuple[tuple[str, str], ...]]:
    """Plan all runs of a comparison; also return the pairs of a face and a kind of fault or workload that none covers.

    A face that can run none of the scenarios is reported with the first reason, such as a package that is missing.

    Every scenario runs as shipped and observed on both pools. On the candidate, as shipped, it runs through other faces
    too: at most `most` such runs in all, or in the profile full each scenario through each face.
    """
    runs = [
        run
        for scenario in scenarios
        for side, subject in enumerate((baseline, candidate))
        for run in as_shipped_and_observed(scenario, subject, request, side)
    ]
    known = {scenario.name: scenario for scenario in scenarios}
    other_faces = [face for face in candidate.faces if face.name != EXECUTE.name]

    def asked(face: Face) -> Request:
        return msgspec.structs.replace(request, face=face.name, observed=False, baseline=baseline.name)

    def why_not(scenario: Scenario, face: Face) -> str:
        return why_skipped(scenario, candidate, asked(face), baseline)

    if request.profile == FULL:
        cover = everything(scenarios, other_faces, why_not)
    else:
        cover = choose(scenarios, other_faces, lambda scenario: plan_of(scenario, request), why_not, most=most)
    runs += [
        PlannedRun(scenario=known[pick.scenario], subject=candidate, request=asked(candidate.face(pick.face)), side=1)
        for pick in cover.picks
    ]
    never = [
        (face.name, reasons[0])
        for face in other_faces
        if (reasons := [why_not(scenario, face) for scenario in scenarios]) and all(reasons)
    ]
    return runs, (*cover.missing, *never)


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
    generated: Sequence[Chosen] = (),
    total: int | None = None,
    partial: Partial | None = None,
) -> Comparison:
    """Compare two pools. `read_cover` is called for the coverage after all scenarios have been run.

    The `generated` runs are made on the candidate alone: the reference model judges them. `total` is how many
    scenarios the suite has.

    Raises UsageError if `out` cannot be written. A KeyboardInterrupt is raised on, unless there is a `partial`: see
    run_jobs.
    """
    began = time.monotonic()
    load_before = os.getloadavg()[0]
    runs, missing = plan_comparison(scenarios, baseline, candidate, request, most=MOST_EXTRA.get(request.profile))
    further = [PlannedRun(scenario=one.scenario, subject=candidate, request=one.request, side=1) for one in generated]
    progress.planned(len(runs) + len(further) + sum(scenario.timed for scenario in scenarios))
    stalls = Stalls()
    results = run_jobs(
        [*runs, *further], out, jobs=jobs, start_job=start_job, progress=progress, partial=partial, stalls=stalls
    )
    main, more = sort_results(runs, results[: len(runs)])
    ran = [s for s in scenarios if not any(main[s.name, side].skipped for side in (0, 1))]
    speeds, troubles = measure_speeds(ran, baseline, candidate, request, progress=progress, partial=partial)
    return assemble(
        scenarios,
        main,
        (baseline.name, candidate.name),
        request,
        more=more,
        explored=results[len(runs) :],
        total=total,
        not_met=missing,
        speeds=speeds,
        troubles=troubles,
        warnings=stalls.told,
        minimum=minimum,
        coverage=read_cover(),
        machine=describe_machine(load_before),
        duration_s=time.monotonic() - began,
        command=command,
    )


Main = dict[tuple[str, int], RunResult]
"""By scenario and side: the main run, which is as shipped, or observed if that run was skipped."""
More = dict[tuple[str, int], list[RunResult]]
"""By scenario and side: all other runs that were not skipped."""


def sort_results(runs: Sequence[PlannedRun], results: Sequence[RunResult]) -> tuple[Main, More]:
    """Return the main run of each scenario and side, and the other runs."""
    main: Main = {}
    more: More = {}
    for planned, result in zip(runs, results, strict=True):
        key = planned.scenario.name, planned.side
        if key not in main or (main[key].skipped and result.face == main[key].face):
            main[key] = result if key not in main or not result.skipped else main[key]
        elif not result.skipped:
            more.setdefault(key, []).append(result)
    return main, more


def measure_speeds(
    scenarios: Sequence[Scenario],
    baseline: Subject,
    candidate: Subject,
    request: Request,
    *,
    progress: Progress,
    partial: Partial | None = None,
) -> tuple[tuple[Speed, ...], tuple[str, ...]]:
    """Measure every timed scenario, one by one and alone on the machine; also return a sentence for each failure."""
    speeds: list[Speed] = []
    troubles: list[str] = []
    for scenario in scenarios:
        if not scenario.timed:
            continue
        what = f"the speed of {scenario.name}"
        if partial is not None and partial.is_over():
            troubles.append(f"{what} was not measured: {partial.why}")
            continue
        if others := holders():
            what = f"{what} (after waiting for {', '.join(others)})"
        progress.began(what)
        try:
            speed = measure_speed(scenario, baseline, candidate, request)
        except KeyboardInterrupt:
            if partial is None:
                raise
            partial.interrupted = True
            partial.why = partial.why or INTERRUPTED
            troubles.append(f"{what} was not measured: the comparison was interrupted")
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
    more: Mapping[tuple[str, int], Sequence[RunResult]] = {},
    explored: Sequence[RunResult] = (),
    total: int | None = None,
    not_met: Sequence[tuple[str, str]] = (),
    speeds: Sequence[Speed] = (),
    troubles: Sequence[str] = (),
    warnings: Sequence[str] = (),
    minimum: Minimum = Minimum(),  # noqa: B008 - frozen
    coverage: Cover | None = None,
    machine: Machine,
    duration_s: float,
    command: str = "",
) -> Comparison:
    """Judge what both pools did. `pools` is (baseline, candidate); `results` is by scenario and side (0 or 1).

    `more` are the further runs of each side, and `not_met` the pairs of face and kind that no run covers.
    """
    compared = compare_results(scenarios, results, more)
    missed = shortfalls(compared, coverage, minimum)
    judgement = judge(compared, speeds=speeds, troubles=(*troubles, *missed), explored=explored, total=total)
    return Comparison(
        decision=judgement.decision,
        reasons=judgement.reasons,
        warnings=(*judgement.warnings, *warnings),
        not_asked=judgement.not_asked,
        baseline=pools[0],
        candidate=pools[1],
        seed=request.seed,
        workers=request.size.workers,
        clients=request.size.clients,
        profile=request.profile,
        worker_command=redact_command(request.worker_command or ""),
        scenarios=compared,
        explored=tuple(explored),
        total=total,
        not_met=tuple(f"{face}: {kind}" for face, kind in not_met),
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
    scenarios: Sequence[Scenario],
    results: Mapping[tuple[str, int], RunResult],
    more: Mapping[tuple[str, int], Sequence[RunResult]] = {},
) -> tuple[ScenarioComparison, ...]:
    """Compare the results of both pools, with the answers read back from their run folders.

    The answers of each pool's main run are also compared with those of the pool's other runs.
    """
    rows = []
    today = datetime.now(UTC).date().isoformat()
    for scenario in scenarios:
        one, other = results[scenario.name, 0], results[scenario.name, 1]
        read = _Histories()
        answers = Answers()
        beside: list[Beside] = []
        if scenario.compare_answers and one.folder and other.folder:
            try:
                answers = compare_answers(read(one), read(other), scenario.comparing)
            except RecordError as error:
                other = msgspec.structs.replace(other, trouble=str(error))
        others: tuple[list[RunResult], list[RunResult]] = ([], [])
        for side, main in enumerate((one, other)):
            for result in more.get((scenario.name, side), ()):
                told = result
                if scenario.compare_answers and main.folder and result.folder:
                    try:
                        found = compare_answers(read(main), read(result), scenario.comparing)
                        beside.append(Beside(one=main, other=result, answers=found))
                    except RecordError as error:
                        told = msgspec.structs.replace(result, trouble=str(error))
                others[side].append(told)
        rows.append(compare_scenario(scenario, one, other, answers, more=others, beside=beside, today=today))
    return tuple(rows)


class _Histories:
    """Reads each history once, and keeps it for the time of one scenario."""

    def __init__(self) -> None:
        self._read: dict[str, History] = {}

    def __call__(self, result: RunResult) -> History:
        if result.folder not in self._read:
            self._read[result.folder] = RunFolder(Path(result.folder)).read_history()
        return self._read[result.folder]


def describe_machine(load_before: float) -> Machine:
    """Describe the machine of the measurement, and how busy it was."""
    return Machine(
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        cpus=os.cpu_count() or 1,
        load_before=load_before,
        load_after=os.getloadavg()[0],
    )
