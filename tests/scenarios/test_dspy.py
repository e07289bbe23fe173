"""The suite of real DSPy programs: found by its name, refused without the extra, and run on the pools with it."""

from __future__ import annotations

import importlib.util
from importlib.util import find_spec
from pathlib import Path

import msgspec
import pytest

from poolproof.harness.compare.catalogue import all_scenarios, find_scenarios
from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.model.workload import Size
from poolproof.harness.run.runner import Request, run, why_skipped
from poolproof.harness.subjects.pools import find_pool
from poolproof.scenarios import SUITES

needs_dspy = pytest.mark.skipif(not find_spec("dspy"), reason="dspy is not installed: pip install 'poolproof[dspy]'")
SUITE = SUITES["dspy"]


@needs_dspy
def test_the_suite_is_found_by_its_name_and_its_scenarios_by_theirs() -> None:
    assert [scenario.name for scenario in find_scenarios([], suite="dspy")] == list(SUITE)
    assert find_scenarios(["dspy_kills"]) == [SUITE["dspy_kills"]]
    assert not set(SUITE) & {scenario.name for scenario in find_scenarios([])}


def test_a_suite_that_there_is_not_is_named() -> None:
    with pytest.raises(UsageError, match="there is no suite 'dspi'; there are default, dspy"):
        all_scenarios("dspi")


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        UsageError, match=r"the suite 'dspy' needs the package dspy; install it by pip install 'poolproof\[dspy\]'"
    ):
        find_scenarios([], suite="dspy")


def test_a_scenario_whose_package_is_not_there_is_skipped_with_the_reason() -> None:
    scenario = msgspec.structs.replace(SUITE["dspy_kills"], packages=("no_such_package",))
    told = why_skipped(scenario, find_pool("v2"), Request())
    assert told == "no_such_package is not installed: pip install 'poolproof[no_such_package]'"


def test_options_of_one_pool_are_joined_with_those_of_all() -> None:
    scenario = SUITE["dspy_kills"]
    one, other = scenario.options_for("v1"), scenario.options_for("v2")
    assert ("preload" in one, "preload" in other) == (False, True)
    assert one["env"] == other["env"] == {"POOLPROOF_PROGRAMS": "dspy"}
    assert one["start_timeout_s"] == other["start_timeout_s"]


@needs_dspy
@pytest.mark.parametrize("name", ["dspy_errors", "dspy_kills", "dspy_outage", "dspy_thought"])
def test_v2_passes(name: str, tmp_path: Path) -> None:
    usual = SUITE[name].fixed_size
    assert usual is not None
    small = Size(workers=2, clients=min(3, usual.clients)) if name != "dspy_kills" else Size(workers=4)
    scenario = msgspec.structs.replace(SUITE[name], fixed_size=small)
    result = run(scenario, find_pool("v2"), Request(size=Size(scale=0.3)), tmp_path)
    wrong = [(f.checker, f.claim, f.examples) for f in result.findings if f.verdict is not Verdict.PASS]
    assert wrong == []
    assert (result.verdict, result.trouble) == (Verdict.PASS, "")
