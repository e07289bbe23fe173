"""A scenario refuses what could never be run, or never fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.scenario import IntendedDifference


@pytest.mark.parametrize("name", ["", "Big", "1st", "with-dash", "_x", "a" * 61, "a b", "ä"])
def test_a_name_that_is_no_name_is_refused(tiny: Callable[..., Any], name: str) -> None:
    with pytest.raises(UsageError, match="scenario name"):
        tiny(name=name)


def test_a_scenario_without_checkers_is_refused(tiny: Callable[..., Any]) -> None:
    with pytest.raises(UsageError, match="could never fail"):
        tiny(checkers=())


@pytest.mark.parametrize("budget_s", [0, -1, 3601, float("inf"), float("nan")])
def test_a_budget_that_bounds_nothing_is_refused(tiny: Callable[..., Any], budget_s: float) -> None:
    with pytest.raises(UsageError, match="budget_s"):
        tiny(budget_s=budget_s)


def test_an_intended_difference_is_found_by_pool_and_checker(tiny: Callable[..., Any]) -> None:
    declared = IntendedDifference(pool="v1", checker="overlap", reason="serial")
    scenario = tiny(intended_differences=(declared,))
    assert scenario.intended("v1", "overlap") is declared
    assert scenario.intended("v2", "overlap") is None
    assert scenario.intended("v1", "fifo") is None
