"""A target: its runs are made until one kills, each is held against a new run of the unmutated pool."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from poolproof.harness.compare.comparison import RunResult
from poolproof.harness.compare.jobs.jobs import PlannedRun
from poolproof.harness.model.checker import Finding
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.mutation.generated import killers as killers_module
from poolproof.harness.mutation.generated.hunted import Outcome
from poolproof.harness.mutation.generated.killers import Related, Simulator, Smoke, Whole
from poolproof.harness.mutation.generated.survey import Survey, SurveyedRun, plan_runs
from poolproof.harness.mutation.generated.target import MOST_TIMEOUTS, Slots, Target
from poolproof.harness.mutation.generated.tree import Tree
from poolproof.harness.run.runner import Request

PLANNED: dict[str, PlannedRun] = dict(list(plan_runs(Request(profile="smoke")).items())[:8])


def result(key: str, verdict: Verdict = Verdict.PASS, trouble: str = "") -> RunResult:
    planned = PLANNED[key]
    found = (Finding(checker="fifo", verdict=verdict, claim="as told"),)
    return RunResult(
        scenario=planned.scenario.name,
        pool=planned.subject.name,
        seed=1,
        verdict=verdict,
        findings=() if trouble else found,
        trouble=trouble,
        face=planned.request.face,
    )


SURVEYED = tuple(SurveyedRun(key=key, result=result(key)) for key in PLANNED)
SURVEY = Survey(sources="x", profile="smoke", seed=1, runs=SURVEYED)


class Literal:
    """Runs with given results; the others pass."""

    def __init__(self, **given: RunResult) -> None:
        self.given = given
        self.made: list[str] = []

    def make(self, run: SurveyedRun) -> RunResult:
        self.made.append(run.key)
        return self.given.get(run.key, result(run.key))


def target(runs: Literal, good: Literal | None = None, *, jobs: int = 1) -> Target:
    return Target(
        tree=Tree({}),
        runs=runs,
        good=good or Literal(),
        survey=SURVEY,
        planned=PLANNED,
        executing=SURVEYED,
        slots=Slots(jobs),
    )


KEYS = [run.key for run in SURVEYED]


def test_the_first_run_that_kills_is_the_last() -> None:
    runs = Literal(**{KEYS[1]: result(KEYS[1], Verdict.FAIL), KEYS[2]: result(KEYS[2], Verdict.FAIL)})
    outcome, why, count = target(runs).try_runs(SURVEYED)
    assert (outcome, count) == (Outcome.KILLED, 2)
    assert why.endswith("fifo: as told")
    assert runs.made == KEYS[:2]


def test_an_accusation_that_the_unmutated_pool_shares_now_kills_nobody() -> None:
    failing = {key: result(key, Verdict.FAIL) for key in KEYS}
    good = Literal(**failing)
    assert target(Literal(**failing), good).try_runs(SURVEYED) == (Outcome.SURVIVED, "", len(KEYS))
    assert good.made == KEYS


def test_the_unmutated_pool_is_run_again_only_where_a_mutant_is_accused() -> None:
    good = Literal()
    target(Literal(**{KEYS[3]: result(KEYS[3], Verdict.UNKNOWN)}), good).try_runs(SURVEYED)
    assert good.made == [KEYS[3]]


def test_after_some_runs_that_do_not_end_no_other_is_tried() -> None:
    hanging = Literal(**{key: result(key, trouble="the run took longer than 9 s") for key in KEYS})
    outcome, _, count = target(hanging).try_runs(SURVEYED)
    assert (outcome, count) == (Outcome.TIMEOUT, MOST_TIMEOUTS)


def test_a_run_is_made_once_for_all_killers() -> None:
    runs = Literal()
    whole = target(runs, jobs=3)
    first, second = Related().attack(whole), Whole(most_runs=7).attack(whole)
    assert (first.outcome, first.runs) == (Outcome.SURVIVED, min(6, len(KEYS)))
    assert (second.outcome, second.runs) == (Outcome.SURVIVED, 1)
    assert len(set(runs.made)) == len(runs.made) == 7


def test_a_simulator_that_is_not_there_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(killers_module, "SIMULATION", "poolproof.harness.no_such_module")
    assert Simulator(1).attack(target(Literal())).outcome is Outcome.ABSENT


class Ran:
    """A tree whose programs end as they are told."""

    def __init__(self, done: Any) -> None:
        self._done = done

    def run(self, module: str, *words: str, timeout_s: float) -> Any:
        if isinstance(self._done, Exception):
            raise self._done
        return self._done


@pytest.mark.parametrize(
    ("done", "smoke", "simulator"),
    [
        (subprocess.CompletedProcess([], 0, "", ""), Outcome.SURVIVED, Outcome.SURVIVED),
        (subprocess.CompletedProcess([], 1, "", "a\nImportError: b\n"), Outcome.KILLED, Outcome.KILLED),
        (subprocess.CompletedProcess([], 3, "", ""), Outcome.KILLED, Outcome.UNDECIDED),
        (subprocess.TimeoutExpired("x", 1.0), Outcome.TIMEOUT, Outcome.TIMEOUT),
    ],
)
def test_a_program_kills_by_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, done: Any, smoke: Outcome, simulator: Outcome
) -> None:
    monkeypatch.setattr(killers_module, "SIMULATION", "poolproof.harness")
    one = target(Literal())
    one.tree = Ran(done)  # type: ignore[assignment]
    attack = Smoke().attack(one)
    assert attack.outcome is smoke
    assert attack.why == ("ImportError: b" if "ImportError" in str(done) else attack.why)
    assert Simulator(1).attack(one).outcome is simulator


def test_the_smoke_test_passes_on_the_shipped_pools_and_fails_where_echo_is_wrong() -> None:
    echo = "bridge/worker/handlers/exercise.py"
    text = (Path(__file__).parents[4] / echo).read_text()
    for files, outcome in (
        ({}, Outcome.SURVIVED),
        ({echo: text.replace('return args.get("value", args)', 'return "planted"')}, Outcome.KILLED),
        ({"pool_v2/pool.py": "1 / 0\n"}, Outcome.KILLED),
    ):
        with Tree(files) as tree:
            one = target(Literal())
            one.tree = tree
            assert Smoke().attack(one).outcome is outcome
