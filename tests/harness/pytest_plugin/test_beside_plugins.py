"""The pytest plugin beside the plugins that its users have: each does its work, and poolproof its own."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

PLUGINS = Path(os.environ.get("POOLPROOF_TEST_PLUGINS", Path(sys.prefix) / "pytest-plugins"))
"""Where tools/plugins has installed them: apart from the others, since pytest loads whatever it finds installed."""
pytestmark = pytest.mark.skipif(not PLUGINS.is_dir(), reason="tools/plugins has not installed the other plugins")

SCENARIO = """
from poolproof.harness.checkers import CORE, OneOutcome
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.workload import Size, steady

GOOD = Scenario(name="good", summary="an echo", workload=steady("echo", calls=1), checkers=(OneOutcome(), *CORE),
                fixed_size=Size(workers=1, clients=1))
"""
BAD = SCENARIO + (
    'BAD = Scenario(name="bad", summary="never so", workload=steady("echo", calls=1), '
    'checkers=(OneOutcome(allowed=frozenset({"CallTimeout"})), *CORE), fixed_size=Size(workers=1, clients=1))\n'
)
TEST = """
import pytest

@pytest.mark.pool_options(workers=1)
def test_echo(pool):
    assert pool.execute("echo", {"value": 1}) == 1
"""
BOTH = ("v1", "v2")
Run = Callable[..., pytest.RunResult]


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run pytest in a process of its own with these files and options; the other plugins are loaded."""
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_TESTRUNUID", "PYTEST_XDIST_WORKER_COUNT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(PLUGINS))
    monkeypatch.setenv("PYTHONWARNINGS", "ignore::DeprecationWarning")  # a plugin's own, of an option that is not set

    def start(files: dict[str, str], *options: str, pools: tuple[str, ...] = ("v2",)) -> pytest.RunResult:
        pytester.makepyfile(**files)
        options += tuple(f"--poolproof-pool={pool}" for pool in pools)
        always = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "--poolproof-out", "kept")
        return pytester.runpytest_subprocess(*always, "--poolproof-report", "json", *options, timeout=120)

    return start


def verdicts(pytester: pytest.Pytester) -> dict[str, str]:
    """The verdict on v2 of each scenario in the session's report, which compares both pools."""
    report = json.loads((pytester.path / "kept" / "comparison.json").read_text())
    return {row["name"]: row["candidate"]["verdict"] for row in report["scenarios"]}


def test_all_of_them_are_loaded() -> None:
    found = {PathDistribution(path).metadata["Name"] for path in PLUGINS.glob("*.dist-info")}
    assert found >= {
        "pytest-asyncio",
        "pytest-benchmark",
        "pytest-cov",
        "pytest-html",
        "pytest-randomly",
        "pytest-rerunfailures",
        "pytest-timeout",
    }


def test_a_test_that_failed_is_run_again_with_a_new_pool(run: Run) -> None:
    flaky = """
import pytest

tried = []

@pytest.mark.pool_options(workers=1)
def test_flaky(pool):
    tried.append(pool.status().name)
    assert pool.execute("echo", {"value": 1}) == 1
    assert len(tried) == 2
    assert len(set(tried)) == 2
"""
    result = run({"test_flaky": flaky}, "--reruns", "2")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*1 rerun*"])


def test_a_scenario_that_fails_is_run_again_and_fails(run: Run, pytester: pytest.Pytester) -> None:
    result = run({"scenario_mine": BAD}, "--reruns", "1", "-p", "no:randomly")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*1 rerun*"])
    assert result.ret == 1


def test_coverage_is_measured_in_a_session_with_pools(run: Run) -> None:
    result = run({"test_mine": TEST, "scenario_mine": SCENARIO}, "--cov", ".", "--cov-report", "term")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["test_mine.py * 100%"])


def test_a_test_that_hangs_in_a_call_is_ended_by_its_timeout(run: Run) -> None:
    hangs = TEST.replace(
        'pool.execute("echo", {"value": 1}) == 1', 'pool.execute("sleep", {"seconds": 600}, timeout_s=600)'
    )
    result = run({"test_mine": hangs}, "--timeout", "10", "--timeout-method", "signal")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*Timeout*10.0s*"])


def test_a_shuffled_session_reports_all(run: Run, pytester: pytest.Pytester) -> None:
    result = run({"test_mine": TEST, "scenario_mine": SCENARIO}, "-n", "2", pools=BOTH)
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["*randomly-seed*"])
    assert verdicts(pytester) == {"good": "pass"}


def test_the_html_report_lists_scenarios_and_tests(run: Run, pytester: pytest.Pytester) -> None:
    result = run({"test_mine": TEST, "scenario_mine": SCENARIO}, "--html", "all.html", "--self-contained-html")
    result.assert_outcomes(passed=2)
    page = (pytester.path / "all.html").read_text()
    assert "scenario_mine.py::good[v2]" in page
    assert "test_mine.py::test_echo" in page


def test_a_benchmark_times_calls_of_a_pool(run: Run) -> None:
    timed = """
import pytest

@pytest.mark.pool_options(workers=1)
def test_echo(benchmark, pool):
    assert benchmark.pedantic(pool.execute, ("echo", {"value": 1}), rounds=5) == 1
"""
    result = run({"test_mine": timed})
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*test_echo*"])


def test_a_coroutine_test_uses_an_asyncio_pool(run: Run) -> None:
    coroutine = """
import pytest
from poolproof import AsyncPool, PoolConfig

@pytest.mark.asyncio
async def test_echo(pool_name):
    async with AsyncPool(PoolConfig(name=pool_name, workers=1)) as pool:
        assert await pool.execute("echo", {"value": 1}) == 1
"""
    run({"test_mine": coroutine}).assert_outcomes(passed=1)


@pytest.mark.parametrize("dist", ["load", "worksteal", "loadscope", "loadfile"])
def test_each_way_of_xdist_to_share_the_work(run: Run, pytester: pytest.Pytester, dist: str) -> None:
    result = run({"test_mine": TEST, "scenario_mine": SCENARIO}, "-n", "2", "--dist", dist, pools=BOTH)
    result.assert_outcomes(passed=4)
    assert verdicts(pytester) == {"good": "pass"}
