"""The killers: tests that try to find a planted mutant, the cheapest first. Each says whether it did, and why.

A killer is added by a line in `all_killers`. It gets a Target and returns an Attack; it never raises for a mutant that
behaves badly.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Protocol

from poolproof.harness.compare.assembling import compare_results, sort_results
from poolproof.harness.compare.comparison import ScenarioComparison
from poolproof.harness.mutation.generated.hunted import Attack, Outcome
from poolproof.harness.mutation.generated.survey import SurveyedRun
from poolproof.harness.mutation.generated.target import Target
from poolproof.harness.mutation.generated.verdicts import judge_answers

SMOKE_LIMIT_S = 60.0
SIMULATION = "poolproof.harness.simulation"
SIMULATED_S = 20
SIMULATOR_EXTRA_S = 60.0
RELATED_RUNS = 6


class Killer(Protocol):
    """Tries to kill one mutant."""

    @property
    def name(self) -> str:
        """The name in reports."""
        ...

    def attack(self, target: Target) -> Attack:
        """Say whether the mutant is killed, and why."""
        ...


class Smoke:
    """Imports every module of the pools and makes a few calls."""

    name = "smoke"

    def attack(self, target: Target) -> Attack:
        """Run poolproof.harness.mutation.generated.smoke on the mutant."""
        began = time.monotonic()
        with target.slots.taken():
            try:
                done = target.tree.run("poolproof.harness.mutation.generated.smoke", timeout_s=SMOKE_LIMIT_S)
            except subprocess.TimeoutExpired:
                outcome, why = Outcome.TIMEOUT, f"it did not end within {SMOKE_LIMIT_S:g} s"
            else:
                outcome = Outcome.KILLED if done.returncode else Outcome.SURVIVED
                why = _last_line(done) if done.returncode else ""
        return Attack(killer=self.name, outcome=outcome, why=why, runs=1, duration_s=time.monotonic() - began)


class Simulator:
    """Runs `poolproof simulate` on the mutant, which explores V2's decisions under a seeded scheduler."""

    name = "simulator"

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def attack(self, target: Target) -> Attack:
        """Run the simulator for a fixed time. Its exit code 0 means survived, 1 killed; other codes decide nothing."""
        if find_spec(SIMULATION) is None:
            return Attack(killer=self.name, outcome=Outcome.ABSENT, why="this installation has no simulator")
        began = time.monotonic()
        words = ("simulate", "--for", f"{SIMULATED_S}s", "--seed", str(self._seed))
        with target.slots.taken():
            try:
                done = target.tree.run("poolproof", *words, timeout_s=SIMULATED_S + SIMULATOR_EXTRA_S)
            except subprocess.TimeoutExpired:
                outcome, why = Outcome.TIMEOUT, "the simulator did not end"
            else:
                known = {0: Outcome.SURVIVED, 1: Outcome.KILLED}
                outcome = known.get(done.returncode, Outcome.UNDECIDED)
                why = "" if outcome is Outcome.SURVIVED else _last_line(done)
        return Attack(killer=self.name, outcome=outcome, why=why, runs=1, duration_s=time.monotonic() - began)


class Related:
    """Makes the few runs of the comparison that execute most of the mutant's file, of different scenarios at first."""

    name = "related runs"

    def attack(self, target: Target) -> Attack:
        """Make the most related runs, at most RELATED_RUNS of them."""
        began = time.monotonic()
        outcome, why, runs = target.try_runs(choose_related(target.executing, RELATED_RUNS))
        return Attack(killer=self.name, outcome=outcome, why=why, runs=runs, duration_s=time.monotonic() - began)


class Whole:
    """Makes the other runs of the comparison that execute the place, then compares the pools' answers.

    Runs that do not execute the place are those of the unmutated pools, so their results are taken from the survey.
    At most `most_runs` runs are made (None: all), so that each scenario and each face is among them.
    """

    name = "comparison"

    def __init__(self, most_runs: int | None = None) -> None:
        self._most_runs = most_runs

    def attack(self, target: Target) -> Attack:
        """Make the runs and compare the answers, scenario by scenario."""
        began = time.monotonic()
        chosen = choose_related(target.executing, len(target.executing) if self._most_runs is None else self._most_runs)
        outcome, why, runs = target.try_runs(chosen)
        if outcome not in (Outcome.KILLED, Outcome.TIMEOUT):
            told, reason = self._compare(target)
            if told is Outcome.KILLED:
                outcome, why = told, reason
        return Attack(killer=self.name, outcome=outcome, why=why, runs=runs, duration_s=time.monotonic() - began)

    def _compare(self, target: Target) -> tuple[Outcome, str]:
        surveyed = {run.key: run.result for run in target.survey.runs}
        changed = {target.planned[key].scenario.name for key in target.results}
        for name in sorted(changed):
            plan = [(key, run) for key, run in target.planned.items() if run.scenario.name == name and key in surveyed]
            scenario = plan[0][1].scenario
            rows: list[ScenarioComparison] = []
            for results in ({**surveyed, **target.results}, surveyed):
                main, more = sort_results([run for _, run in plan], [results[key] for key, _ in plan])
                if len(main) == 2:
                    rows += compare_results([scenario], main, more)
            if len(rows) == 2:
                outcome, why = judge_answers(*rows)
                if outcome is Outcome.KILLED:
                    return outcome, why
        return Outcome.SURVIVED, ""


def choose_related(executing: Sequence[SurveyedRun], most: int) -> list[SurveyedRun]:
    """Choose the most related runs: the first of each scenario, then of each further face, then the others."""
    ordered: list[SurveyedRun] = []
    for kind in ("scenario", "face"):
        seen = {getattr(run.result, kind) for run in ordered}
        for run in executing:
            if getattr(run.result, kind) not in seen and run not in ordered:
                seen.add(getattr(run.result, kind))
                ordered.append(run)
    keys = {run.key for run in ordered}
    return [*ordered, *(run for run in executing if run.key not in keys)][:most]


def all_killers(seed: int, most_runs: int | None = None) -> tuple[Killer, ...]:
    """Every killer, the cheapest first; the comparison makes at most `most_runs` runs (None: all)."""
    return Smoke(), Simulator(seed), Related(), Whole(most_runs)


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stderr or done.stdout or "").strip().splitlines()
    return (lines[-1] if lines else f"exit code {done.returncode}")[:300]
