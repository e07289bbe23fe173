"""Budgets: what can be read, where a mistake is shown, and what passes, fails and is unknown."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.timing.budget import BudgetError, Unmeasured, judge_budget, parse_budget
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


@pytest.mark.parametrize(
    ("mark", "below", "equal", "above"),
    [
        ("<", Verdict.PASS, Verdict.FAIL, Verdict.FAIL),
        ("<=", Verdict.PASS, Verdict.PASS, Verdict.FAIL),
        (">", Verdict.FAIL, Verdict.FAIL, Verdict.PASS),
        (">=", Verdict.FAIL, Verdict.PASS, Verdict.PASS),
    ],
)
def test_each_comparison_is_its_own(mark: str, below: Verdict, equal: Verdict, above: Verdict) -> None:
    for value, verdict in ((0.009, below), (0.010, equal), (0.011, above)):
        for level in ("", " @95%"):
            found = judge_budget(parse_budget(f"v2.p99 {mark} 10ms{level}"), lambda *_, v=value: (v, np.full(9, v)))
            assert found.verdict is verdict


def test_a_budget_is_one_line_of_a_bounded_length() -> None:
    text = "v2.p99 < 10ms"
    assert parse_budget(text + " " * (400 - len(text)))
    for wrong in (text + " " * (401 - len(text)), "v2.p99 <\n10ms"):
        with pytest.raises(BudgetError, match="one line of at most 400"):
            parse_budget(wrong)


def test_a_pool_that_is_not_in_the_bench_is_told_where_the_bench_is_known() -> None:
    assert parse_budget("v3.p99 < 1ms")
    assert parse_budget("v2.p99 < candidate.p99", ["v1", "v2"])
    with pytest.raises(BudgetError, match="there is no pool 'v3' in this bench; there are v1, v2, baseline, candidate"):
        parse_budget("v3.p99 < 1ms", ["v1", "v2"])


@pytest.mark.parametrize(
    "text", ["v2.p99 < 1ms @v2.p99", "v2.p99 < 1ms @(95%)", "v2.p99 < 1ms @95", "v2.p99 < 1ms @50%"]
)
def test_a_confidence_is_a_percentage_above_a_half(text: str) -> None:
    with pytest.raises(BudgetError, match="a confidence above 50% and below 100% is expected"):
        parse_budget(text)


@pytest.mark.parametrize(("mark", "told"), [("+", "cannot be added to"), ("-", "cannot be taken from")])
def test_what_cannot_be_added_is_told_by_its_own_word(mark: str, told: str) -> None:
    with pytest.raises(BudgetError, match=told):
        parse_budget(f"v2.p99 {mark} v2.rss < 1ms")


def test_a_value_that_is_no_number_is_unknown_on_either_side() -> None:
    def none(pool: str, metric: str) -> tuple[float, Any]:
        value = float("nan") if pool == "v1" else 1.0
        return value, np.full(9, value)

    for text in ("v1.p99 < v2.p99", "v2.p99 < v1.p99"):
        assert judge_budget(parse_budget(text), none).verdict is Verdict.UNKNOWN
