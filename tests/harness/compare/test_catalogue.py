"""Finding scenarios: by name, in a file, and not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from poolproof.harness.compare.catalogue import all_scenarios, find_scenarios, load_file
from poolproof.harness.model.errors import UsageError


def test_without_a_wish_all_of_the_profile_are_meant() -> None:
    everything = find_scenarios([])
    quick = find_scenarios([], profile="quick")
    assert [scenario.name for scenario in everything] == list(all_scenarios())
    assert quick == [scenario for scenario in everything if scenario.quick]


def test_scenarios_come_in_the_wished_order_and_once() -> None:
    found = find_scenarios(["fair_queue", "any_json", "fair_queue"])
    assert [scenario.name for scenario in found] == ["fair_queue", "any_json"]


def test_a_named_scenario_is_found_in_any_profile() -> None:
    assert find_scenarios(["long_operation"], profile="quick")[0].name == "long_operation"


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match="there is no scenario 'dirty_wroker'; did you mean 'dirty_worker'"):
        find_scenarios(["any_json", "dirty_wroker"])


def test_a_name_that_is_like_no_other_points_to_the_list() -> None:
    with pytest.raises(UsageError, match="see `poolproof list scenarios`"):
        find_scenarios(["zzzzzz"])


def test_a_users_file_is_loaded_and_remembered(scenario_file: Callable[..., Path]) -> None:
    path = scenario_file()
    (scenario,) = find_scenarios([str(path)])
    assert scenario.name == "own"
    assert scenario.file == str(path)


def test_a_file_may_define_several_scenarios_in_their_order(scenario_file: Callable[..., Path]) -> None:
    path = scenario_file()
    again = "import msgspec\nFIRST = msgspec.structs.replace(SCENARIO, name='b')\n"
    path.write_text(path.read_text() + again + "SECOND = msgspec.structs.replace(SCENARIO, name='a')\n")
    assert [scenario.name for scenario in find_scenarios([str(path)])] == ["own", "b", "a"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def broken(:", "cannot be loaded: SyntaxError"),
        ("raise LookupError('not today')", "cannot be loaded: LookupError: not today"),
        ("import no_such_module_here", "cannot be loaded: ModuleNotFoundError"),
        ("from poolproof.harness.model.scenario import Scenario\nScenario(name='Bad')", "cannot be loaded: TypeError"),
        ("NOTHING = 1", "defines no Scenario"),
        ("\x00", "cannot be loaded"),
    ],
)
def test_a_broken_file_is_one_clear_usage_error(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "broken.py"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        find_scenarios([str(path)])
    assert told in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no file"):
        find_scenarios([str(tmp_path / "absent.py")])
    with pytest.raises(UsageError, match="there is no file"):
        load_file(tmp_path)


def test_a_file_that_is_no_python_is_a_usage_error(tmp_path: Path) -> None:
    path = tmp_path / "scenario.txt"
    path.touch()
    with pytest.raises(UsageError, match="is not a Python file"):
        load_file(path)


def test_the_catalogue_that_is_given_out_is_a_copy() -> None:
    all_scenarios().clear()
    assert all_scenarios()
