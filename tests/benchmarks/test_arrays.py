"""Arrays: each executor at each size, and `map`; what is no copy, or is wrong, is no figure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from benchmarks.blocks import BenchError, MissingPeer
from benchmarks.effort import Effort
from benchmarks.experiments.arrays import MEMCPY, OURS, SYSTEMS, Executor, System, arrays, memcpy
from benchmarks.records import Verdict

CONDITIONS = ("1 kB", "100 kB", "map of 20 small calls")


def made(echo: Callable[[Any], Any], work: Callable[[range], list[Any]] | None = list) -> System:
    @contextmanager
    def system(_: int) -> Iterator[Executor]:
        yield Executor(echo, work)

    return system


def test_each_executor_echoes_each_size_and_maps(tiny: Effort) -> None:
    # The resource trackers of the other two live as long as their program.
    systems = {name: system for name, system in SYSTEMS.items() if name not in ("loky", "joblib")}
    result = arrays(tiny, systems)
    mapped = [name for name in systems if name != MEMCPY]
    expected = [(CONDITIONS[0], name) for name in systems] + [(CONDITIONS[1], name) for name in systems]
    assert [(row.condition, row.system) for row in result.rows] == expected + [(CONDITIONS[2], n) for n in mapped]
    assert all(row.samples == 2 and row.metrics["median_us"] > 0 for row in result.rows)
    assert all((row.v2_ratio is None) == (row.system == OURS) for row in result.rows)
    assert [goal.limit for goal in result.goals] == [0.6, 0.5, 0.33]
    assert all(goal.figure is not None for goal in result.goals)


def test_without_the_standard_executor_a_goal_is_unmeasured(tiny: Effort) -> None:
    result = arrays(tiny, {OURS: made(lambda array: array.copy()), MEMCPY: memcpy})
    assert {goal.verdict for goal in result.goals} == {Verdict.UNMEASURED}


def test_a_system_that_is_not_installed_is_noted(tiny: Effort) -> None:
    @contextmanager
    def missing(_: int) -> Iterator[Executor]:
        raise MissingPeer("not installed")
        yield

    result = arrays(tiny, {"joblib": missing, OURS: made(lambda array: array.copy())})
    assert "joblib: not installed" in result.notes
    assert {row.system for row in result.rows} == {OURS}


@pytest.mark.parametrize("echo", [lambda array: array, lambda array: array + 1], ids=["not copied", "changed"])
def test_an_array_that_is_not_copied_or_changed_is_no_figure(tiny: Effort, echo: Callable[[Any], Any]) -> None:
    with pytest.raises(BenchError, match="PoolExecutor: an array of 1000 bytes"):
        arrays(tiny, {OURS: made(echo)})


def test_a_wrong_result_of_map_is_no_figure(tiny: Effort) -> None:
    with pytest.raises(BenchError, match="PoolExecutor: a wrong result"):
        arrays(tiny, {OURS: made(lambda array: array.copy(), lambda numbers: [*numbers][::-1])})
