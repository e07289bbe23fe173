"""A run that failed while the machine stood still is made again; what a pool does wrong by itself is not."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from poolproof.harness.compare.comparison import RunResult
from poolproof.harness.compare.jobs import stalls as module
from poolproof.harness.compare.jobs.jobs import PlannedRun, run_jobs
from poolproof.harness.compare.jobs.stalls import Stalls
from poolproof.harness.model.checker import Finding
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.run.runner import Request
from poolproof.harness.subjects.shipped import SUBJECTS


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that the stalls see."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_pause_counts_if_it_is_long_and_came_after_the_begin(clock: list[float]) -> None:
    stalls = Stalls()
    clock[0] = 150.0
    stalls.begin()
    for clock[0] in (150.2, 152.1, 152.3):
        stalls.tick()
    assert stalls.longest_since(0.0) == 0.0
    clock[0] = 162.3
    assert stalls.longest_since(151.0) == pytest.approx(10.0)
    assert stalls.longest_since(160.3) == pytest.approx(2.0), "only what the run met"
    clock[0] = 162.4
    assert stalls.longest_since(162.35) == 0.0


class Still(Stalls):
    """A machine that stands still in the first run."""

    def __init__(self, stall_s: float) -> None:
        super().__init__()
        self._stalls_s = [stall_s]

    def longest_since(self, began_s: float) -> float:
        assert began_s <= time.monotonic()
        return self._stalls_s.pop() if self._stalls_s else 0.0


class Done:
    """A job that has ended."""

    def __init__(self, result: RunResult) -> None:
        self._result = result

    def result(self, timeout_s: float) -> RunResult:
        return self._result

    def end(self) -> str:
        return ""


class Silent:
    """Progress that nobody reads."""

    def planned(self, total: int) -> None: ...

    def began(self, what: str) -> None: ...

    def ended(self, what: str, outcome: str) -> None: ...


@pytest.mark.parametrize(
    ("checkers", "excused"),
    [
        ((), True),
        (("deadlines", "prompt:quick", "one_outcome"), True),
        (("own_answer",), False),
        (("deadlines", "at_most_once"), False),
        (("linearizable",), False),
        (("conserved",), False),
    ],
)
def test_no_stall_excuses_a_wrong_answer_or_a_call_that_ran_twice(checkers: tuple[str, ...], excused: bool) -> None:
    found = tuple(Finding(checker=name, verdict=Verdict.FAIL, claim="") for name in checkers)
    result = RunResult(scenario="tiny", pool="v2", seed=1, verdict=Verdict.FAIL, findings=found)
    assert module.may_be_due_to_a_stall(result) is excused


@pytest.mark.parametrize(
    ("stall_s", "verdicts", "again"),
    [
        (26.0, (Verdict.FAIL, Verdict.PASS), True),
        (26.0, (Verdict.UNKNOWN, Verdict.FAIL), True),
        (26.0, (Verdict.PASS, Verdict.FAIL), False),
        (0.0, (Verdict.FAIL, Verdict.PASS), False),
    ],
)
def test_only_a_run_that_met_a_stall_and_did_not_pass_is_made_again(
    stall_s: float, verdicts: tuple[Verdict, ...], again: bool, tiny: Callable[..., Any], tmp_path: Path
) -> None:
    left, stalls = list(verdicts), Still(stall_s)

    def start(scenario: Any, subject: Any, request: Any, out: Path) -> Done:
        return Done(RunResult(scenario="tiny", pool="v2", seed=1, verdict=left.pop(0), folder="runs/tiny"))

    run = PlannedRun(scenario=tiny(), subject=SUBJECTS["v2"], request=Request(), side=1)
    [result] = run_jobs([run], tmp_path, jobs=1, start_job=start, progress=Silent(), stalls=stalls)
    assert result.verdict is verdicts[again]
    assert len(left) == (0 if again else 1)
    assert len(stalls.told) == again
    if again:
        assert "stood still for 26.0 s in a run that was " + verdicts[0].value + " (runs/tiny)" in stalls.told[0]
