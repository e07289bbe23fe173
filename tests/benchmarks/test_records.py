"""Goals are met by the whole interval or not at all, and a loaded machine says so."""

from __future__ import annotations

import pytest

from benchmarks.records import Figure, Load, Verdict, judge


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.95, 1.0, Verdict.MET),
        (0.90, 0.96, Verdict.INCONCLUSIVE),
        (0.90, 0.94, Verdict.MISSED),
        (0.90, 0.95, Verdict.INCONCLUSIVE),
    ],
)
def test_a_lower_limit_is_met_by_the_whole_interval(low: float, high: float, verdict: Verdict) -> None:
    assert judge("share", Figure((low + high) / 2, low, high), at_least=0.95).verdict is verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1.0, 5.0, Verdict.MET),
        (4.0, 6.0, Verdict.INCONCLUSIVE),
        (5.1, 6.0, Verdict.MISSED),
        (5.0, 6.0, Verdict.INCONCLUSIVE),
    ],
)
def test_an_upper_limit_is_met_by_the_whole_interval(low: float, high: float, verdict: Verdict) -> None:
    assert judge("ms", Figure((low + high) / 2, low, high), at_most=5.0).verdict is verdict


def test_no_figure_is_never_a_pass() -> None:
    goal = judge("ms", None, at_most=5.0)
    assert (goal.verdict, goal.figure) == (Verdict.UNMEASURED, None)


@pytest.mark.parametrize("limits", [{}, {"at_least": 1.0, "at_most": 2.0}])
def test_a_goal_has_exactly_one_limit(limits: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="one of at_least and at_most"):
        judge("ms", Figure(1, 1, 1), **limits)


def test_the_inverse_of_a_figure_keeps_its_ends_in_order() -> None:
    assert Figure(2.0, 1.6, 2.5).inverse() == Figure(0.5, 0.4, 0.625)


def test_a_quiet_machine_needs_no_label() -> None:
    assert Load(loadavg_1m=5.0, busy_before=0.02, busy_after=0.1, steal=0.01).labels() == ()


def test_others_work_and_stolen_time_are_labelled() -> None:
    found = Load(loadavg_1m=2.5, busy_before=0.02, busy_after=0.4, steal=0.05).labels()
    assert found == (
        "loaded: others used 40% of the processors (load average 2.5)",
        "loaded: the host took 5% of the processors' time",
    )
