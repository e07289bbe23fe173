"""Round trips and contention: a row a system, ratios of V2 to each, goals only from what was measured."""

from __future__ import annotations

from typing import Any

from benchmarks import systems
from benchmarks.blocks import MissingPeer
from benchmarks.calls import contention, round_trip
from benchmarks.effort import Effort
from benchmarks.records import Verdict


def _missing(_: int) -> Any:
    raise MissingPeer("not installed")


def test_a_round_trip_is_compared_with_each_system(tiny: Effort, instant: Any) -> None:
    log: list[str] = []
    names = ["ProcessPoolExecutor", "V2", "raw pipe"]
    result = round_trip(tiny, {name: instant(log) for name in names} | {"pebble": _missing})
    assert [row.system for row in result.rows] == names
    assert all(row.samples == 2 and row.metrics["calls_per_s"] > 0 for row in result.rows)
    assert [row.v2_ratio is None for row in result.rows] == [False, True, False]
    assert result.notes == ("pebble: not installed",)
    assert log == ["open 2"] * 3 + ["close"] * 3
    round_trip_goal, rate_goal = result.goals
    ratio = result.rows[2].v2_ratio
    assert ratio is not None
    assert round_trip_goal.figure == ratio.inverse(), "a time, where the ratio is of rates"
    assert rate_goal.figure == result.rows[0].v2_ratio


def test_a_goal_whose_peer_is_missing_is_unmeasured(tiny: Effort, instant: Any) -> None:
    result = round_trip(tiny, {"V2": instant([])})
    assert [goal.verdict for goal in result.goals] == [Verdict.UNMEASURED, Verdict.UNMEASURED]


def test_contention_has_rows_for_each_number_of_clients(tiny: Effort, instant: Any) -> None:
    result = contention(tiny, {name: instant([]) for name in ("ProcessPoolExecutor", "V2")})
    assert [(row.condition, row.system) for row in result.rows] == [
        (clients, name)
        for clients in ("2 clients", "8 clients", "8 clients on one processor")
        for name in ("ProcessPoolExecutor", "V2")
    ]
    assert all(0 <= row.metrics["fairness"] <= 1 for row in result.rows)
    ratio_goal, fairness_goal, *placed_goals = result.goals
    assert ratio_goal.figure == result.rows[2].v2_ratio, "the goals are those of 8 clients"
    assert placed_goals[0].figure == result.rows[4].v2_ratio
    assert fairness_goal.figure is not None
    assert fairness_goal.figure.value <= 1


def test_the_pools_of_this_house_are_measured_against_the_pipe(tiny: Effort) -> None:
    result = round_trip(tiny, {"V1": systems.v1, "V2": systems.v2, "raw pipe": systems.raw})
    assert [row.system for row in result.rows] == ["V1", "V2", "raw pipe"]
    assert result.goals[0].figure is not None
