"""Round trips and contention: a row a system, ratios of V2 to each, goals only from what was measured."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import systems
from benchmarks.blocks import MissingPeer
from benchmarks.effort import Effort
from benchmarks.experiments.calls import contention, round_trip
from benchmarks.records import Verdict


def _missing(_: int) -> Any:
    raise MissingPeer("not installed")


def test_a_round_trip_is_compared_with_each_system_in_a_thread_and_in_the_main_one(tiny: Effort, instant: Any) -> None:
    log: list[str] = []
    names = ["ProcessPoolExecutor", "loky", "V2", "V2, observed", "raw pipe"]
    result = round_trip(tiny, {name: instant(log) for name in names} | {"pebble": _missing})
    assert [row.system for row in result.rows if row.condition == "1 client"] == names
    in_main = [row for row in result.rows if row.condition == "1 client, main thread"]
    assert {row.system for row in in_main} == set(names) - {"loky"}
    assert all(row.samples == 2 and row.metrics["calls_per_s"] > 0 for row in result.rows)
    assert all((row.v2_ratio is None) is (row.system == "V2") for row in result.rows)
    assert "pebble: not installed" in result.notes
    assert log == ["open 2"] * 5 + ["close"] * 5
    assert [(goal.limit, goal.name) for goal in result.goals] == [
        goal
        for where in ("", ", main thread")
        for goal in (
            (1.35, f"round trip, V2 / raw pipe{where}"),
            (3.5, f"calls/s at 1 client{where}, V2 / ProcessPoolExecutor"),
            (1.35, f"round trip, V2, observed / raw pipe{where}"),
            (3.5, f"calls/s at 1 client{where}, V2, observed / ProcessPoolExecutor"),
            (0.95, f"calls/s at 1 client{where}, V2, observed / V2"),
        )
    ]
    ratios = {row.system: row.v2_ratio for row in result.rows if row.condition == "1 client"}
    over_pipe = ratios["raw pipe"]
    assert over_pipe is not None
    assert result.goals[0].figure == over_pipe.inverse(), "a time, where the ratio is of rates"
    assert result.goals[1].figure == ratios["ProcessPoolExecutor"]
    assert all(goal.figure is not None for goal in result.goals)


def test_a_goal_whose_peer_is_missing_is_unmeasured(tiny: Effort, instant: Any) -> None:
    result = round_trip(tiny, {"V2": instant([])})
    assert {goal.verdict for goal in result.goals} == {Verdict.UNMEASURED}


def test_contention_has_rows_for_each_number_of_clients(tiny: Effort, instant: Any) -> None:
    names = ("ProcessPoolExecutor", "V2", "V2, observed")
    result = contention(tiny, {name: instant([]) for name in names})
    conditions = ("2 clients", "8 clients", "8 clients on one processor")
    assert [(row.condition, row.system) for row in result.rows] == [
        (clients, name) for clients in conditions for name in names
    ]
    assert all(0 <= row.metrics["fairness"] <= 1 for row in result.rows)
    ratio, fairness, observed_ratio, observed_fairness, observer, *placed = result.goals
    assert (ratio.limit, fairness.limit, observer.limit) == (4.0, 0.9, 0.88)
    assert ratio.figure == result.rows[3].v2_ratio, "the goals are those of 8 clients"
    assert placed[0].figure == result.rows[6].v2_ratio
    over_observed = result.rows[5].v2_ratio
    assert over_observed is not None
    assert observer.figure is not None
    assert observer.figure.value == pytest.approx(1 / over_observed.value)
    assert "V2, observed" in observed_ratio.name
    assert fairness.figure is not None
    assert observed_fairness.figure is not None


def test_the_pools_of_this_house_are_measured_against_the_pipe(tiny: Effort) -> None:
    result = round_trip(tiny, {"V1": systems.v1, "V2": systems.v2, "raw pipe": systems.raw})
    assert [row.system for row in result.rows] == ["V1", "V2", "raw pipe", "V2", "raw pipe"]
    assert result.goals[0].figure is not None
