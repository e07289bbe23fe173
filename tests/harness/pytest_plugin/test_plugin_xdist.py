"""Under pytest-xdist: one report, every result accounted for, and nothing lost or left when a worker is killed."""

from __future__ import annotations

import psutil
import pytest

from poolproof.harness.run.store import read_comparison

GOOD = """
from poolproof.harness.checkers import CORE, OneOutcome
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.workload import Size, steady

def make(name):
    return Scenario(name=name, summary=name, workload=steady("echo", calls=2), checkers=(OneOutcome(), *CORE),
                    fixed_size=Size(workers=1, clients=1))

ONE, TWO, THREE = make("one"), make("two"), make("three")
"""
VANISHING = """
import pytest

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    if item.name == "two[v2]":
        return True  # nobody runs it, nobody reports it
"""
KILLER = """
import os, signal
from pathlib import Path
import psutil

def test_the_killer(pool_factory):
    pool = pool_factory("v2", workers=2)
    pool.warm_up()
    pids = [worker.pid for worker in pool.status().workers]
    Path("pids").write_text(" ".join(map(str, pids)))
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def session(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder of its own, without what an outer xdist has put into the environment."""
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_TESTRUNUID", "PYTEST_XDIST_WORKER_COUNT"):
        monkeypatch.delenv(name, raising=False)
    return pytester


def _run(session: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return session.runpytest_subprocess(
        "-p",
        "no:cacheprovider",
        "-p",
        "no:hypothesispytest",
        "--assert=plain",
        "--poolproof-out",
        "kept",
        "--poolproof-report",
        "json",
        *arguments,
        timeout=90,
    )


def test_the_controller_writes_one_report_of_all_workers_runs(session: pytest.Pytester) -> None:
    session.makepyfile(scenario_mine=GOOD)
    result = _run(session, "-n", "2")
    result.assert_outcomes(passed=6)
    assert result.ret == 0
    assert [line for line in result.outlines if line.startswith("report: ")] == [
        f"report: {session.path / 'kept' / 'comparison.json'}"
    ]
    comparison = read_comparison(session.path / "kept")
    assert comparison.decision == "SAFE"
    assert {row.name for row in comparison.scenarios} == {"one", "two", "three"}


@pytest.mark.parametrize("processes", ["0", "2"])
def test_a_result_that_never_comes_fails_the_session(processes: str, session: pytest.Pytester) -> None:
    session.makepyfile(scenario_mine=GOOD)
    session.makeconftest(VANISHING)
    arguments = ["-n", processes] if processes != "0" else ["-p", "no:xdist"]
    result = _run(session, *arguments)
    result.assert_outcomes(passed=5)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "missing: *::two[[]v2] was planned, but pytest received no outcome of it; no result is on disk",
            "INCONCLUSIVE*",
        ]
    )


def test_a_killed_worker_loses_no_finished_result_and_leaves_no_process(session: pytest.Pytester) -> None:
    session.makepyfile(scenario_mine=GOOD, test_killer=KILLER)
    result = _run(session, "-n", "1", "--max-worker-restart", "1", "scenario_mine.py", "test_killer.py")
    assert result.ret != 0
    result.assert_outcomes(passed=6, failed=1)
    result.stdout.fnmatch_lines(["*crashed while running*test_the_killer*", "SAFE: v2 replacing v1"])
    pids = [int(word) for word in (session.path / "pids").read_text().split()]
    assert len(pids) == 2
    left = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    _, alive = psutil.wait_procs(left, timeout=2)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []


def test_a_session_that_is_stopped_early_does_not_call_the_rest_missing(session: pytest.Pytester) -> None:
    session.makepyfile(scenario_a="import pytest\ndef test_no(): raise ValueError\n", scenario_mine=GOOD)
    result = _run(session, "-x", "scenario_a.py", "scenario_mine.py")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.no_fnmatch_line("missing: *")


def test_speed_is_measured_by_the_controller_when_it_is_asked_for(session: pytest.Pytester) -> None:
    timed = GOOD.replace("fixed_size=", "timed=True, fixed_size=").replace("ONE, TWO, THREE", "ONE, *_")
    session.makepyfile(scenario_mine=timed)
    result = _run(session, "-n", "2", "--poolproof-speed", "-k", "one")
    assert result.ret == 0
    [speed] = read_comparison(session.path / "kept").speeds
    assert speed.low <= speed.ratio <= speed.high
