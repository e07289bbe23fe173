"""One comparison: every scenario on both pools, each run in a job of its own, then the timing, then the judgement.

Knows nothing of reports or the command line; progress goes to a listener.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from poolproof.bridge import Capability
from poolproof.harness.bench.speeds import measure_speed
from poolproof.harness.compare.assembling import assemble, describe_machine, sort_results
from poolproof.harness.compare.comparison import (
    Comparison,
    Cover,
    Minimum,
    Speed,
)
from poolproof.harness.compare.jobs.jobs import INTERRUPTED, Partial, PlannedRun, Progress, StartJob, run_jobs
from poolproof.harness.compare.jobs.stalls import Stalls
from poolproof.harness.compare.pairing import choose, everything
from poolproof.harness.explore.choosing import Chosen
from poolproof.harness.model.errors import RunError
from poolproof.harness.model.face import EXECUTE, Face
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.run.lock import holders
from poolproof.harness.run.runner import Request, Subject, plan_of, why_skipped

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
