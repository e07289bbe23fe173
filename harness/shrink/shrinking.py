"""Shrinks a run: runs smaller and smaller plans while the finding shows, within bounds, and measures how often it does.

Each trial is a run in its own process. Progress goes to a listener; the reduced plan is stored and can be run.
"""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from poolproof.bridge.redaction import redact_command
from poolproof.harness.compare.jobs.jobs import JOB_EXTRA_S, Progress, StartJob
from poolproof.harness.history.history import RunInfo
from poolproof.harness.history.replay import way_words
from poolproof.harness.history.stats import Proportion, proportion
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.model.workload import Size
from poolproof.harness.run.lock import sharing
from poolproof.harness.run.plan import StoredPlan, read_plan, write_plan
from poolproof.harness.run.runner import Request, Subject
from poolproof.harness.run.store import write_whole
from poolproof.harness.shrink.hints import find_plan
from poolproof.harness.shrink.reduction import Reduction, Spent, size_of
from poolproof.harness.shrink.selection import Selection

PROBING_CHECKERS = frozenset(
    {"full_capacity", "limits_kept", "no_growth", "options_kept", "orderly_life", "true_status", "turns_kept"}
)
"""Checkers that need the records of probes; a trial for a finding of another checker is made without probes."""
PLAN_FILE = "plan.json"
RECORD_FILE = "shrink.json"
SURELY = 0.95
"""The probability with which the trials of a plan show a finding that the plan can still show."""
MOST_TRIALS = 5


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """The largest number of runs and seconds; `repeats` runs measure the rate before, and as many the rate after."""

    runs: int = 80
    seconds: float = 300.0
    repeats: int = 5


class Shrunk(msgspec.Struct, frozen=True, kw_only=True):
    """The result: sizes, rates of reproduction, runs, seconds, and the reason for an early end.

    `plan` is the file of the reduced plan. If the finding did not show at all, `plan` is empty and `after` is None.
    """

    scenario: str
    pool: str
    seed: int
    checker: str
    size_before: dict[str, int]
    size_after: dict[str, int]
    before: Proportion
    after: Proportion | None = None
    runs: int
    seconds: float
    stopped: str = ""
    plan: str = ""
    replay: str = ""


class Shrinking:
    """One shrinking of a run. `scale` is the scale of the run's profile, `hints` are operations to try alone first."""

    def __init__(
        self,
        scenario: Scenario,
        subject: Subject,
        info: RunInfo,
        checker: str,
        out: Path,
        *,
        scale: float,
        bounds: Bounds,
        hints: Sequence[frozenset[int]] = (),
        start_job: StartJob,
        progress: Progress,
    ) -> None:
        self._scenario = scenario
        self._subject = subject
        self._info = info
        self._checker = checker
        self._out = out
        self._bounds = bounds
        self._hints = hints
        self._start_job = start_job
        self._progress = progress
        self._whole = find_plan(scenario, info, scale=scale)
        self._began_s = time.monotonic()
        self._runs = 0
        self._trials = 1
        self._reserve = 0

    def carry_out(self) -> Shrunk:
        """Measure, reduce, measure again, and store the plan and the record. An interrupt is re-raised.

        Raises UsageError if the folder cannot be written, or a step's arguments are not JSON.
        """
        bounds, everything = self._bounds, self._whole.everything
        self._out.mkdir(parents=True, exist_ok=True)
        self._progress.planned(bounds.runs)
        self._reserve = bounds.repeats
        reduction = Reduction(self._whole, self._shows, self._hints)
        hinted = reduction.begin()
        self._reserve = 0
        # The whole plan may take minutes, and the run that was found has shown the finding once.
        before = proportion(1, 1) if hinted else self._measure(everything, "the whole plan")
        told = Shrunk(
            scenario=self._info.scenario,
            pool=self._info.pool,
            seed=self._info.seed,
            checker=self._checker,
            size_before=size_of(everything, self._whole),
            size_after=size_of(everything, self._whole),
            before=before,
            runs=self._runs,
            seconds=time.monotonic() - self._began_s,
        )
        if before.count == 0:
            return self._keep(told)
        if hinted:
            rate = self._measure(reduction.best, "the hint")
            self._trials = trials_for((rate.count + 1) / (rate.total + 1))
        else:
            self._trials = trials_for(before.count / before.total)
        self._reserve = bounds.repeats
        stopped = reduction.carry_out()
        path = self._store(reduction.best, PLAN_FILE)
        self._reserve = 0
        after = self._measure(reduction.best, "the reduced plan")
        return self._keep(
            msgspec.structs.replace(
                told,
                size_after=size_of(reduction.best, self._whole),
                after=after,
                runs=self._runs,
                seconds=time.monotonic() - self._began_s,
                stopped=stopped,
                plan=str(path),
                replay=self._replay(path),
            )
        )

    def _measure(self, selection: Selection, what: str) -> Proportion:
        count = total = 0
        try:
            for _ in range(self._bounds.repeats):
                count += self._try(selection, what)
                total += 1
        except Spent:
            pass  # the rate is then based on fewer runs; its interval shows that
        return proportion(count, total)

    def _shows(self, selection: Selection) -> bool:
        size = size_of(selection, self._whole)
        what = ", ".join(f"{count} {name}" for name, count in size.items())
        shows = any(self._try(selection, what) for _ in range(self._trials))
        if shows:
            self._store(selection, PLAN_FILE)  # an interrupt then loses nothing
        return shows

    def _try(self, selection: Selection, what: str) -> bool:
        bounds = self._bounds
        if self._runs + self._reserve >= bounds.runs:
            raise Spent(f"the limit of {bounds.runs} runs was reached")
        if self._reserve and time.monotonic() - self._began_s > bounds.seconds:
            raise Spent(f"the limit of {bounds.seconds:g} s was reached")
        self._runs += 1
        path = self._store(selection, f"trial-{self._runs}.json")
        name = f"run {self._runs}: {what}"
        self._progress.began(name)
        shows = self._run(path)
        self._progress.ended(name, "fails" if shows else "does not fail")
        path.unlink()
        return shows

    def _run(self, path: Path) -> bool:
        plan = read_plan(path)
        scenario = plan.as_scenario(self._scenario, str(path.resolve()))
        request = Request(
            seed=self._info.seed,
            size=Size(workers=plan.workers, clients=len(plan.plan)),
            profile=self._info.profile,
            worker_command=self._info.worker_command or None,
            face=self._info.face,
            observed=self._info.observed,
            baseline=self._info.baseline or "v1",
        )
        with sharing():
            job = self._start_job(scenario, self._subject, request, self._out / "runs")
            try:
                result = job.result(scenario.budget_s + JOB_EXTRA_S)
            finally:
                job.end()
        return any(f.checker == self._checker and f.verdict is Verdict.FAIL for f in result.findings)

    def _store(self, selection: Selection, name: str) -> Path:
        plan, faults = self._whole.build(selection)
        stored = StoredPlan(
            scenario=self._scenario.name,
            file=self._scenario.file,
            pool=self._info.pool,
            seed=self._info.seed,
            workers=selection.workers,
            checker=self._checker,
            plan=plan,
            faults=faults,
            probed=self._checker in PROBING_CHECKERS,
        )
        write_plan(self._out / name, stored)
        return (self._out / name).resolve()

    def _replay(self, path: Path) -> str:
        words = ["poolproof", "run", str(path), "--pool", self._info.pool, "--seed", str(self._info.seed)]
        if self._info.worker_command:
            words += ["--worker-command", redact_command(self._info.worker_command)]
        words += way_words(self._info)
        if self._scenario.file.endswith(".py"):
            words += ["--import", self._scenario.file]
        return shlex.join(words)

    def _keep(self, told: Shrunk) -> Shrunk:
        write_whole(self._out / RECORD_FILE, msgspec.json.encode(told))
        return told


def trials_for(rate: float) -> int:
    """How many trials to make before a finding is taken to be gone, at this rate of reproduction (above 0)."""
    if rate >= 1:
        return 1
    return min(MOST_TRIALS, math.ceil(math.log(1 - SURELY) / math.log(1 - rate)))
