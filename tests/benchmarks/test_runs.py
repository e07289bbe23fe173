"""Runs are programs of their own; the goal is the factor between the largest and the smallest."""

from __future__ import annotations

import pytest

from benchmarks.blocks import BenchError
from benchmarks.effort import Effort
from benchmarks.experiments import runs as module
from benchmarks.experiments.runs import another_run, runs
from benchmarks.records import Verdict


def test_a_run_in_a_program_of_its_own_has_a_figure(own_lock: None) -> None:
    assert another_run(2, 1, 0.01) > 0


def test_a_run_that_fails_is_told(own_lock: None) -> None:
    with pytest.raises(BenchError, match="a run ended with status 1"):
        another_run(2, 0, 0.01)


@pytest.mark.parametrize(("rates", "verdict"), [([100.0, 140.0], Verdict.MET), ([100.0, 160.0], Verdict.MISSED)])
def test_the_goal_is_the_factor_between_the_runs(
    rates: list[float], verdict: Verdict, tiny: Effort, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = iter(rates)
    monkeypatch.setattr(module, "another_run", lambda *_: next(left))
    result = runs(tiny)
    (row,), (goal,) = result.rows, result.goals
    assert (row.samples, row.metrics["smallest_per_s"], row.metrics["largest_per_s"]) == (2, *rates)
    assert goal.verdict is verdict
