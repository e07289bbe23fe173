"""The quick scenarios on the real pools: V2 passes each, and V1 fails what it is declared to fail and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from poolproof.harness.model.verdict import Verdict
from poolproof.harness.model.workload import Size
from poolproof.harness.run.runner import Request, run
from poolproof.harness.subjects.pools import find_pool
from poolproof.scenarios import CATALOGUE

BRIEF = (
    "any_json",
    "blocked_manager",
    "broken_stream",
    "close_under_load",
    "command_errors",
    "dirty_worker",
    "drain_under_load",
    "exit_in_call",
    "resize_under_load",
    "session_handover",
    "session_state",
    "short_threads",
)
"""Those that take about a second. The whole catalogue is what `poolproof compare` runs."""
REQUEST = Request(size=Size(workers=2, clients=3, scale=0.5))


@pytest.mark.parametrize("name", BRIEF)
def test_v2_passes(name: str, tmp_path: Path) -> None:
    result = run(CATALOGUE[name], find_pool("v2"), REQUEST, tmp_path)
    wrong = [(f.checker, f.claim, f.examples) for f in result.findings if f.verdict is not Verdict.PASS]
    assert wrong == []
    assert (result.verdict, result.trouble) == (Verdict.PASS, "")


@pytest.mark.parametrize("name", ["any_json", "blocked_manager", "dirty_worker", "session_handover"])
def test_v1_fails_exactly_what_was_declared(name: str, tmp_path: Path) -> None:
    scenario = CATALOGUE[name]
    result = run(scenario, find_pool("v1"), REQUEST, tmp_path)
    failed = {found.checker for found in result.findings if found.verdict is Verdict.FAIL}
    declared = {declared.checker for declared in scenario.intended_differences} - {"answers"}
    assert failed == declared
    assert result.trouble == ""
