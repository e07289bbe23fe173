"""A comparison of the unmutated pools with the lines that each of its runs executes. An entry point.

A mutant at a line that a run does not execute is, for that run, the unmutated pool. So the survey tells which runs can
find a mutant at all, and its results stand for the runs that cannot.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from poolproof.harness.compare.catalogue import find_scenarios
from poolproof.harness.compare.compare import MOST_EXTRA, plan_comparison
from poolproof.harness.compare.comparison import RunResult
from poolproof.harness.compare.coverage_run import CoverageRun
from poolproof.harness.compare.jobs.jobs import PlannedRun, Progress, run_jobs
from poolproof.harness.explore.choosing import EXPLORED, choose_runs
from poolproof.harness.model.errors import RecordError, UsageError
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.mutation.generated.draw import PACKAGES, digest
from poolproof.harness.mutation.generated.tree import PACKAGE, package_folder
from poolproof.harness.run.job import MEASURED_END_WAIT_S, Job, JobOrder
from poolproof.harness.run.runner import Request, Subject
from poolproof.harness.run.store import write_whole
from poolproof.harness.subjects.pools import find_pool

SURVEY_FILE = "survey.json"
BASELINE, CANDIDATE = "v1", "v2"


class SurveyedRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the unmutated pool: its result, and the executed lines of each file of PACKAGES."""

    key: str
    result: RunResult
    lines: dict[str, frozenset[int]] = {}

    def executes(self, file: str, lines: Iterable[int]) -> bool:
        """Whether the run executed one of these lines."""
        return not self.lines.get(file, frozenset()).isdisjoint(lines)

    def share_of(self, file: str) -> float:
        """The share, from 0 to 1, of the lines that the run executed which are in this file."""
        whole = sum(map(len, self.lines.values()))
        return len(self.lines.get(file, ())) / whole if whole else 0.0


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """All runs of one comparison, in the order of the plan. `sources` names the version of the sources."""

    sources: str
    profile: str
    seed: int
    runs: tuple[SurveyedRun, ...]

    def executing(self, file: str, lines: Sequence[int]) -> list[SurveyedRun]:
        """The runs that execute one of these lines; those that execute most of the file come first."""
        found = [run for run in self.runs if run.executes(file, lines)]
        return sorted(found, key=lambda run: (-run.share_of(file), run.result.duration_s, run.key))

    def executed_lines(self, file: str) -> frozenset[int]:
        """The lines of the file that any run executed."""
        return frozenset().union(*(run.lines.get(file, frozenset()) for run in self.runs))


def key_of(run: PlannedRun) -> str:
    """The name of a run within its comparison."""
    how = "observed" if run.request.observed else "shipped"
    return f"{run.scenario.name}/{run.subject.name}/{run.request.face}/{how}"


def plan_runs(request: Request, scenarios: Sequence[Scenario] = ()) -> dict[str, PlannedRun]:
    """The runs of a comparison of V2 with V1 with this request, by key: of `scenarios`, or of all of the profile.

    Those of all scenarios include the generated runs, which are made on V2 alone.
    """
    chosen = list(scenarios) or find_scenarios([], profile=request.profile)
    one, other = find_pool(BASELINE), find_pool(CANDIDATE)
    runs, _ = plan_comparison(chosen, one, other, request, most=MOST_EXTRA.get(request.profile))
    generated = () if scenarios else choose_runs(EXPLORED[request.profile], other, request, baseline=one)
    further = [PlannedRun(scenario=one.scenario, subject=other, request=one.request, side=1) for one in generated]
    return {key_of(run): run for run in (*runs, *further)}


def read_sources() -> dict[str, str]:
    """The text of each file of PACKAGES, by its path in the package."""
    home = package_folder()
    files = [file for package in PACKAGES for file in sorted((home / package).rglob("*.py"))]
    return {file.relative_to(home).as_posix(): file.read_text() for file in files}


def make_survey(
    runs: Mapping[str, PlannedRun], request: Request, out: Path, *, jobs: int, progress: Progress
) -> Survey:
    """Make the runs, measure what each executes, and store the survey under `out`."""
    covering = CoverageRun(out / "coverage", [f"{PACKAGE}.{package}" for package in PACKAGES])
    planned = list(runs.values())

    def start(scenario: Scenario, subject: Subject, request: Request, folder: Path) -> Job:
        run = PlannedRun(scenario=scenario, subject=subject, request=request)
        order = JobOrder(
            scenario=scenario.name, file=scenario.file, pool=subject.name, request=request, out=str(folder)
        )
        command = covering.command(key_of(run), "poolproof.harness.run.job")
        return Job(order, command=command, end_wait_s=MEASURED_END_WAIT_S)

    results = run_jobs(planned, out / "runs", jobs=jobs, start_job=start, progress=progress)
    home = package_folder()
    sources = read_sources()
    names = {os.path.realpath(home / name): name for name in sources}
    lines: dict[str, dict[str, frozenset[int]]] = {}
    for context, files in covering.read_lines().items():
        known = {
            names[os.path.realpath(file)]: found for file, found in files.items() if os.path.realpath(file) in names
        }
        lines[context] = known
    survey = Survey(
        sources=digest(sources),
        profile=request.profile,
        seed=request.seed,
        runs=tuple(
            SurveyedRun(key=key, result=result, lines=lines.get(key, {}))
            for key, result in zip(runs, results, strict=True)
            if not result.skipped
        ),
    )
    if not any(survey.executed_lines(name) for name in sources):
        raise RecordError(f"no run of the survey in {out} has executed a line of {', '.join(PACKAGES)}")
    write_whole(out / SURVEY_FILE, msgspec.json.encode(survey))
    return survey


def read_survey(folder: Path, request: Request) -> Survey:
    """Read a stored survey. Raises RecordError if it is damaged, UsageError if it is of other sources or options."""
    file = folder / SURVEY_FILE
    try:
        survey = msgspec.json.decode(file.read_bytes(), type=Survey)
    except OSError as error:
        raise UsageError(f"--survey {folder}: cannot read {file}: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RecordError(f"{file} is damaged: {error}") from error
    if survey.sources != digest(read_sources()):
        raise UsageError(f"--survey {folder}: the pools' sources have changed since; a new survey is needed")
    if (survey.profile, survey.seed) != (request.profile, request.seed):
        raise UsageError(f"--survey {folder}: it has the profile {survey.profile} and the seed {survey.seed}")
    return survey
