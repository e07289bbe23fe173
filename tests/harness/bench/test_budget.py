"""Budgets: what can be read, where a mistake is shown, and what passes, fails and is unknown."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from poolproof.harness.model.budget import BudgetError, Unmeasured, judge_budget, parse_budget
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.verdict import Verdict

VALUES = {
    ("v1", "p99"): 0.020,
    ("v2", "p99"): 0.010,
    ("v1", "errors"): 0.0,
    ("v2", "errors"): 0.0,
    ("v2", "throughput"): 400.0,
    ("v1", "throughput"): 100.0,
    ("v2", "rss_slope"): 1e4,
    ("v2", "rss"): 80e6,
}


def look(pool: str, metric: str) -> tuple[float, Any]:
    if (pool, metric) not in VALUES:
        raise Unmeasured(f"{metric} of {pool} was not measured")
    value = VALUES[pool, metric]
    return value, np.full(100, value)


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("v2.p99 / v1.p99 < 1.10 @95%", Verdict.PASS),
        ("v2.p99 / v1.p99 < 0.4 @95%", Verdict.FAIL),
        ("v2.errors <= v1.errors", Verdict.PASS),
        ("v2.errors < v1.errors", Verdict.FAIL),
        ("v2.rss_slope < 1MB/min", Verdict.PASS),
        ("v2.rss_slope < 0.5MB/min", Verdict.FAIL),
        ("v2.rss < 100MB", Verdict.PASS),
        ("v2.p99 <= 10ms", Verdict.PASS),
        ("v2.p99<9999us", Verdict.FAIL),
        ("v2.p99 < 1.10 * v1.p99", Verdict.PASS),
        ("(v2.throughput - v1.throughput) / v1.throughput >= 300%", Verdict.PASS),
        ("v2.throughput > 500/s", Verdict.FAIL),
        ("v2.p50 < 1ms", Verdict.UNKNOWN),
        ("v3.p99 < 1ms @99%", Verdict.UNKNOWN),
        ("v2.p99 / v1.errors < 1ms", Verdict.UNKNOWN),
    ],
)
def test_a_budget_is_held_against_what_was_measured(text: str, verdict: Verdict) -> None:
    assert judge_budget(parse_budget(text), look).verdict is verdict


def test_without_data_it_is_unknown_and_says_what_is_missing() -> None:
    found = judge_budget(parse_budget("v2.p50 < 1ms"), look)
    assert (found.verdict, found.why) == (Verdict.UNKNOWN, "p50 of v2 was not measured")


def test_between_the_two_confidences_it_is_unknown() -> None:
    def half(pool: str, metric: str) -> tuple[float, Any]:
        return 0.010, np.array([0.009] * 70 + [0.011] * 30)

    found = judge_budget(parse_budget("v2.p99 < 10ms @95%"), half)
    assert found.verdict is Verdict.UNKNOWN
    assert found.share == pytest.approx(0.7)
    assert judge_budget(parse_budget("v2.p99 < 10ms @60%"), half).verdict is Verdict.PASS
    assert judge_budget(parse_budget("v2.p99 > 10.5ms @65%"), half).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("text", "column", "what"),
    [
        ("v2.p98 < 1ms", 4, "there is no metric 'p98'"),
        ("v2.p99 < 5", 8, "s cannot be compared with a number"),
        ("v2.p99 < 5parsec", 11, "there is no unit 'parsec'"),
        ("v2.p99 1ms", 8, "one of < <= > >= is expected"),
        ("v2 < 1ms", 1, "'v2' lacks its metric"),
        ("v2.p99 < ", 9, "a number, a metric such as v2.p99, or '(' is expected"),
        ("(v2.p99 < 1ms", 9, "')' is expected"),
        ("v2.p99 < 1ms @95", 15, "a confidence above 50% and below 100%"),
        ("v2.p99 < 1ms @5%", 15, "a confidence above 50% and below 100%"),
        ("v2.p99 < 1ms 2ms", 14, "expected the end of the budget, not '2'"),
        ("v2.p99 + v2.rss < 1ms", 8, "B cannot be added to s"),
        ("v2.p99 $ 1", 8, "'$' is not expected"),
        ("1 < 2", 1, "a budget needs a metric"),
        ("", 1, "a number, a metric"),
    ],
)
def test_a_mistake_is_shown_at_its_column(text: str, column: int, what: str) -> None:
    with pytest.raises(BudgetError) as caught:
        parse_budget(text)
    said, shown, mark = str(caught.value).splitlines()
    assert f"column {column}: " in said
    assert what in said
    assert shown == f"  {text}"
    assert mark == f"  {' ' * (column - 1)}^"


def test_a_metric_with_a_point_in_its_name_is_one() -> None:
    assert parse_budget("v2.p99.9 < 1s").left.metric == "p99.9"  # type: ignore[union-attr]


def test_a_scenario_with_a_budget_that_cannot_be_read_is_none(tiny: Any) -> None:
    scenario: Scenario = tiny(budgets=("v2.p99 < 1s",), load="poisson:10")
    assert scenario.budgets == ("v2.p99 < 1s",)
    with pytest.raises(BudgetError, match="column 1"):
        tiny(budgets=("?",))
