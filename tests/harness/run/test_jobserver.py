"""The job server: jobs that are forked do what jobs do that are started, and end with their parent's interest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from poolproof.harness.compare.catalogue import find_scenarios
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.run.jobserver import JobServer
from poolproof.harness.run.runner import Request
from poolproof.harness.subjects.pools import find_pool

LIMIT_S = 60.0
V2 = find_pool("v2")


@pytest.fixture(scope="module")
def server() -> Iterator[JobServer]:
    """One server for all tests."""
    with JobServer() as server:
        yield server


@pytest.fixture
def scenario(scenario_file: Callable[..., Path]) -> Scenario:
    """A scenario of a user's own file."""
    (found,) = find_scenarios([str(scenario_file())])
    return found


def test_a_forked_job_runs_its_scenario_and_is_gone(server: JobServer, scenario: Scenario, tmp_path: Path) -> None:
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    job = server.start_job(scenario, V2, Request(observed=False), tmp_path)
    result = job.result(LIMIT_S)
    assert (result.verdict, result.trouble, result.observed) == (Verdict.PASS, "", False)
    left = [child for child in psutil.Process().children(recursive=True) if child.pid not in before]
    # A pidfd is readable a moment before the kernel takes the process out of its table.
    assert psutil.wait_procs(left, LIMIT_S)[1] == []
    assert job.end() == ""


def test_a_job_that_cannot_be_carried_out_says_why(server: JobServer, scenario: Scenario, tmp_path: Path) -> None:
    gone = tmp_path / "out"
    gone.write_text("a file in the way")
    result = server.start_job(scenario, V2, Request(), gone).result(LIMIT_S)
    assert "the run's process failed" in result.trouble
    assert "out" in result.trouble
    assert result.verdict is Verdict.UNKNOWN


def test_a_job_that_is_ended_ends_at_once(server: JobServer, scenario: Scenario, tmp_path: Path) -> None:
    job = server.start_job(scenario, V2, Request(), tmp_path)
    job.end()
    assert job.result(LIMIT_S).trouble == "the run was ended"


def test_a_server_ends_with_its_block_and_starts_nothing_after(scenario: Scenario, tmp_path: Path) -> None:
    with JobServer() as server:
        assert psutil.pid_exists(server.pid)
    assert not psutil.pid_exists(server.pid)
    with pytest.raises(OSError, match=r"."):
        server.start_job(scenario, V2, Request(), tmp_path)
