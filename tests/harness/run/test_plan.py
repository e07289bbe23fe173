"""Stored plans: run like a scenario, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from poolproof.harness.compare.catalogue import find_scenarios
from poolproof.harness.model.errors import RecordError, UsageError
from poolproof.harness.model.fault import Fault, FaultKind
from poolproof.harness.model.workload import Size, Step
from poolproof.harness.run.plan import StoredPlan, read_plan, write_plan

STEP = Step(command="echo", args={"value": [None, 1.5, {"a": True}]}, label="one", after="x:done", at_s=0.5)


def stored(**fields: Any) -> StoredPlan:
    usual: dict[str, Any] = {
        "scenario": "fair_queue",
        "pool": "v2",
        "seed": 3,
        "workers": 2,
        "plan": ((STEP,), (STEP,)),
    }
    return StoredPlan(**{**usual, **fields})


def test_a_plan_comes_back_as_it_was_stored(tmp_path: Path) -> None:
    plan = stored(faults=(Fault(kind=FaultKind.KILL, when="one:sent"),), checker="fifo")
    write_plan(tmp_path / "plan.json", plan)
    assert read_plan(tmp_path / "plan.json") == plan


def test_a_plan_is_the_scenario_with_other_steps(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    write_plan(path, stored())
    (scenario,) = find_scenarios([str(path)])
    (origin,) = find_scenarios(["fair_queue"])
    assert (scenario.name, scenario.file, scenario.checkers) == ("fair_queue", str(path), origin.checkers)
    assert (scenario.faults, scenario.fixed_size) == ((), Size(workers=2, clients=2))
    assert scenario.workload(None, None) == ((STEP,), (STEP,))  # type: ignore[arg-type]
    assert find_scenarios([f"{path}::fair_queue"])[0].file == str(path)


def test_a_plan_of_a_scenario_of_ones_own_finds_it_in_its_file(
    tmp_path: Path, scenario_file: Callable[..., Path]
) -> None:
    file = scenario_file()
    write_plan(tmp_path / "plan.json", stored(scenario="own", file=str(file)))
    (scenario,) = find_scenarios([str(tmp_path / "plan.json")])
    assert scenario.summary == "a user's own"
    assert find_scenarios([f"{file}::own"])[0].name == "own"
    with pytest.raises(UsageError, match=r"own\.py defines no scenario 'won'"):
        find_scenarios([f"{file}::won"])


def test_what_is_no_plan_is_told(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    with pytest.raises(UsageError, match="there is no file"):
        find_scenarios([str(path)])
    path.write_text("{}")
    with pytest.raises(RecordError, match=r"plan\.json is not a plan: "):
        find_scenarios([str(path)])
    write_plan(path, stored(schema_version="2.0"))
    with pytest.raises(RecordError, match=r"a plan of version 2\.0; this poolproof reads 1\.0"):
        find_scenarios([str(path)])
    with pytest.raises(UsageError, match="cannot be stored as JSON"):
        write_plan(path, stored(plan=((Step(command="echo", args={"value": object()}),),)))
