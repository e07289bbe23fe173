"""The catalogue as a whole: what every scenario promises about itself is true."""

from __future__ import annotations

import importlib
import random
import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from poolproof import scenarios
from poolproof.bridge.worker.handlers import COMMANDS
from poolproof.harness.checkers import ALL, CORE, FaultLanded
from poolproof.harness.explore.generated import generated_name, generated_scenario
from poolproof.harness.faults.commands import COMMANDS as FAULT_COMMANDS
from poolproof.harness.model.fault import COMMAND_FAULTS, START_FAULTS, USED_COMMANDS, FaultKind
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.workload import Plan, Size
from poolproof.harness.mutation.loosened.pairs import broken_rules
from poolproof.harness.oracle import PARTS
from poolproof.harness.subjects.shipped import SUBJECTS
from poolproof.scenarios import CATALOGUE, DEFAULT_SUITE, SUITES

KNOWN = {*COMMANDS, *FAULT_COMMANDS}
SIZES = (Size(), Size(workers=1, clients=1), Size(workers=2, clients=12, scale=0.1), Size(scale=3.0))

EVERYTHING = {name: scenario for suite in SUITES.values() for name, scenario in suite.items()}
every = pytest.mark.parametrize("scenario", EVERYTHING.values(), ids=EVERYTHING.keys())


def plan_of(scenario: Scenario, seed: int = 1, size: Size | None = None) -> Plan:
    return scenario.workload(random.Random(f"{scenario.name}/{seed}"), scenario.fixed_size or size or Size())


def test_every_file_of_the_room_is_a_scenario_of_its_own_name() -> None:
    room = Path(scenarios.__file__).parent
    for suite, found in SUITES.items():
        folders = scenarios.GROUPS if suite == DEFAULT_SUITE else (suite,)
        assert set(found) == {path.stem for folder in folders for path in (room / folder).glob("*.py")} - {"__init__"}
        assert list(found) == sorted(found)
        assert all(scenario.name == name for name, scenario in found.items())
    assert SUITES[DEFAULT_SUITE] is CATALOGUE
    assert {path.parent.name for path in room.glob("*/*.py")} == {*scenarios.GROUPS, *SUITES} - {DEFAULT_SUITE}
    assert len(EVERYTHING) == sum(map(len, SUITES.values())), "a name is there twice"


def test_the_default_suite_needs_no_package_and_no_model_server() -> None:
    assert all(not scenario.packages and scenario.models is None for scenario in CATALOGUE.values())
    assert all(scenario.packages and scenario.models for scenario in SUITES["dspy"].values())


def test_a_file_whose_scenario_has_another_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = SimpleNamespace(SCENARIO=CATALOGUE["any_json"])
    monkeypatch.setattr(importlib, "import_module", lambda name: wrong)
    with pytest.raises(ValueError, match="defines the scenario 'any_json'"):
        scenarios._load("answers")


def test_the_failures_of_the_original_are_covered() -> None:
    covered = {failure for scenario in CATALOGUE.values() for failure in scenario.failures}
    assert covered == {f"F{number}" for number in range(1, 23)}


def test_every_kind_of_fault_is_inflicted_by_some_scenario() -> None:
    planned = {fault.kind for scenario in EVERYTHING.values() for fault in scenario.faults}
    steps = {step.fault for s in EVERYTHING.values() for client in plan_of(s) for step in client} - {None}
    generated = [generated_scenario(generated_name(number)) for number in range(60)]
    drawn = {fault.kind for scenario in generated if scenario is not None for fault in scenario.faults}
    of_roles = {FaultKind.RESTART}  # of the scenarios over a user's own calls
    assert planned | steps | drawn | of_roles == set(FaultKind)
    assert steps <= COMMAND_FAULTS
    assert not planned & COMMAND_FAULTS


def test_some_scenario_measures_speed() -> None:
    assert any(scenario.timed for scenario in CATALOGUE.values())


@every
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_workload_follows_from_its_seed_and_size(scenario: Scenario, size: Size) -> None:
    plan = plan_of(scenario, 7, size)
    assert plan == plan_of(scenario, 7, size)
    assert plan
    assert all(client for client in plan)


@every
def test_an_intended_difference_names_a_pool_and_a_checker_that_there_are(scenario: Scenario) -> None:
    names = {checker.name for checker in scenario.checkers}
    for declared in scenario.intended_differences:
        assert declared.pool in {*SUBJECTS, "baseline"}
        assert declared.checker in names | ({"answers"} if scenario.compare_answers else set())
        assert len(declared.reason) > 20
    pairs = Counter(
        (declared.pool, declared.checker, declared.label, declared.kind) for declared in scenario.intended_differences
    )
    assert all(count == 1 for count in pairs.values())


@every
def test_nothing_is_declared_for_the_candidate(scenario: Scenario) -> None:
    assert {declared.pool for declared in scenario.intended_differences} <= {"v1", "baseline"}


@every
def test_the_commands_are_those_of_the_shipped_worker_and_of_the_workload(scenario: Scenario) -> None:
    assert set(scenario.commands) <= KNOWN
    used = {step.command for client in plan_of(scenario) for step in client}
    used |= {USED_COMMANDS[fault.kind] for fault in scenario.faults if fault.kind in USED_COMMANDS}
    assert used & KNOWN == set(scenario.commands)


@every
def test_moments_that_are_waited_for_belong_to_steps(scenario: Scenario) -> None:
    plan = plan_of(scenario)
    labels = {step.label for client in plan for step in client if step.label}
    moments = {step.after for client in plan for step in client} | {fault.when for fault in scenario.faults}
    faults = {fault.kind.value for fault in scenario.faults}
    for moment in moments - {""}:
        label, state = moment.split(":")
        assert (label in labels and state in ("sent", "done")) or (label in faults and state == "landed")


@every
def test_checkers_of_labels_find_their_labels(scenario: Scenario) -> None:
    labels = {step.label for client in plan_of(scenario) for step in client}
    wanted = {checker.label for checker in scenario.checkers if hasattr(checker, "label")}
    assert wanted <= labels


@every
def test_a_scenario_with_faults_is_unknown_unless_they_land(scenario: Scenario) -> None:
    planned = {fault.kind for fault in scenario.faults}
    steps = {step.fault for client in plan_of(scenario) for step in client} - {None}
    checked = {kind for c in scenario.checkers if isinstance(c, FaultLanded) for kind in c.kinds}
    assert checked == planned | steps


@every
def test_every_scenario_checks_what_always_holds_under_names_of_its_own(scenario: Scenario) -> None:
    names = [checker.name for checker in scenario.checkers]
    assert len(set(names)) == len(names)
    assert {checker.name for checker in CORE} <= set(names)
    assert all(type(checker) in (*ALL, *PARTS) for checker in scenario.checkers)


@every
def test_every_checker_that_a_rule_asks_for_is_there(scenario: Scenario) -> None:
    assert broken_rules(scenario, plan_of(scenario)) == ()


@every
def test_what_a_scenario_says_of_itself_is_complete(scenario: Scenario) -> None:
    assert scenario.summary
    assert len(scenario.summary) <= 120
    assert scenario.failures
    assert scenario.guarantees
    assert all(re.fullmatch(r"G([1-9]|1\d|2[0-8])", guarantee) for guarantee in scenario.guarantees)
    assert scenario.file == ""


@every
def test_faults_of_workers_need_a_pool_whose_workers_can_be_hurt(scenario: Scenario) -> None:
    if {fault.kind for fault in scenario.faults} & {FaultKind.KILL, FaultKind.STOP}:
        assert "kill" in scenario.needs
    if any(step.session for client in plan_of(scenario) for step in client):
        assert "sessions" in scenario.needs
    if {fault.kind for fault in scenario.faults} & START_FAULTS:
        assert not scenario.warm
