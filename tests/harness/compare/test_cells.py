"""Cells of fault × workload × configuration, and the minimum below which nothing is SAFE."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from poolproof.harness.compare.cells import (
    count_cells,
    describe_configuration,
    describe_workload,
    shortfalls,
    untried_faults,
)
from poolproof.harness.compare.comparison import Cover, FileCover, Minimum, RunResult, ScenarioComparison
from poolproof.harness.history.chart_data import ChartData, Struck
from poolproof.harness.model.fault import FaultKind
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.model.workload import Size


def _row(
    name: str, verdict: Verdict = Verdict.PASS, *kinds: str, landed: bool = True, **fields: Any
) -> ScenarioComparison:
    struck = tuple(Struck(kind=kind, at_s=0.0, landed=landed) for kind in kinds)
    result = RunResult(scenario=name, pool="v2", seed=1, verdict=verdict, picture=ChartData(struck=struck), **fields)
    return ScenarioComparison(
        name=name,
        summary="",
        failures=(),
        guarantees=(),
        baseline=result,
        candidate=result,
        workload="echo",
        configuration="usual",
    )


def test_a_cell_counts_the_scenarios_that_tried_it() -> None:
    rows = [_row("a"), _row("b", Verdict.FAIL), _row("c", Verdict.PASS, "kill", "kill"), _row("d", trouble="broke")]
    cells = {cell.fault: (cell.scenarios, cell.tried, cell.passed, cell.unknown) for cell in count_cells(rows)}
    assert cells == {"no fault": (("a", "b", "d"), 3, 1, 1), "kill": (("c",), 1, 1, 0)}


def test_a_fault_that_never_landed_and_a_run_that_was_skipped_have_tried_nothing() -> None:
    missed = _row("a", Verdict.PASS, "kill", landed=False)
    assert [cell.fault for cell in count_cells([missed, _row("b", skipped="lacks x")])] == ["no fault"]
    assert FaultKind.KILL.value in untried_faults([missed])
    assert FaultKind.KILL.value not in untried_faults([_row("a", Verdict.PASS, "kill")])


def test_less_than_the_minimum_is_told() -> None:
    cover = Cover(sources=("p",), files=(FileCover(path="p.py", statements=10, executed=4),), scenarios=())
    rows = [_row("a"), _row("b", Verdict.UNKNOWN, "kill")]
    assert shortfalls(rows, None, Minimum()) == ()
    assert shortfalls(rows, cover, Minimum(cells=1, lines=40.0)) == ()
    assert "1 cells (combinations of fault" in shortfalls(rows, None, Minimum(cells=2))[0]
    assert "no coverage was measured" in shortfalls(rows, None, Minimum(lines=1.0))[0]
    assert "40.0 % of the candidate's lines" in shortfalls(rows, cover, Minimum(lines=41.0))[0]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, "usual"),
        ({"warm": False, "config": {"max_calls": 3}}, "max_calls=3, cold"),
        ({"fixed_size": Size(workers=1, clients=2)}, "1 workers, 2 clients"),
    ],
)
def test_a_configuration_is_what_differs_from_the_usual(
    fields: dict[str, Any], told: str, tiny: Callable[..., Scenario]
) -> None:
    scenario = msgspec.structs.replace(tiny(), **{"fixed_size": None, "warm": True, "config": {}, **fields})
    assert describe_configuration(scenario) == told
    assert describe_workload(scenario) == " + ".join(scenario.commands)
