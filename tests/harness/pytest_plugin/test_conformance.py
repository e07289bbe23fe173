"""The conformance kit in a user's own suite: every scenario is a test, and each has an honest outcome."""

from __future__ import annotations

import pytest

from poolproof.harness.model.errors import UsageError
from poolproof.harness.pytest_plugin.conformance import KnownFailure, conformance_tests
from poolproof.scenarios import CATALOGUE

HEAD = """
import pytest
from poolproof.harness.checkers import CORE, FaultLanded, OneOutcome
from poolproof.harness.pytest_plugin.conformance import KnownFailure, conformance_tests
from poolproof.harness.model.fault import FaultKind
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.workload import Size, steady
from poolproof.bridge import Capability
from poolproof.pool_v2 import PoolV2

def make(name, *checkers, **fields):
    return Scenario(name=name, summary=name, workload=steady("echo", calls=1), checkers=(*checkers, *CORE),
                    fixed_size=Size(workers=1, clients=1), **fields)

GOOD = make("good", OneOutcome())
NEVER = make("never", OneOutcome(allowed=frozenset({"CallTimeout"})))
OPEN = make("open", OneOutcome(), FaultLanded(kinds=(FaultKind.KILL,)))
NEEDY = make("needy", OneOutcome(), needs=frozenset({Capability.SESSIONS}))

def mine(config, observer):
    return PoolV2(config, observer=observer)

def blind(config):
    return PoolV2(config)

blind.capabilities = ()

def known(scenario, **fields):
    return KnownFailure(scenario=scenario, checker="one_outcome", reason="it never did", **fields)
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder of its own, without what an outer xdist has put into the environment."""
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_TESTRUNUID", "PYTEST_XDIST_WORKER_COUNT"):
        monkeypatch.delenv(name, raising=False)
    return pytester


def _run(suite: pytest.Pytester, text: str) -> pytest.RunResult:
    suite.makepyfile(test_mine=HEAD + text)
    options = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "--assert=plain", "-rA", "-v")
    return suite.runpytest_subprocess(*options, timeout=60)


def test_a_scenario_is_a_test_with_its_findings(suite: pytest.Pytester) -> None:
    result = _run(suite, "test_mine = conformance_tests(mine, scenarios=[GOOD, NEVER, OPEN, 'any_json'])")
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(
        [
            "*::test_mine[[]good[]] PASSED*",
            "*::test_mine[[]any_json[]] PASSED*",
            "*never on test_mine:mine, seed 1: FAIL",
            "*fail one_outcome: *",
            "*again: poolproof run never --pool test_mine:mine --seed 1 --workers 1 --clients 1 --face execute*",
        ]
    )
    result.stdout.fnmatch_lines(["*unknown fault_landed: these kinds of faults were never in effect: kill"])


def test_known_failures_are_expected_until_their_day_and_told_when_they_are_gone(suite: pytest.Pytester) -> None:
    text = """
test_known = conformance_tests(mine, scenarios=[GOOD, NEVER], known=[known("never"), known("good")])
test_old = conformance_tests(mine, scenarios=[NEVER], known=[known("never", until="2020-01-01")])
"""
    result = _run(suite, text)
    result.assert_outcomes(passed=1, xfailed=1, failed=1, warnings=1)
    result.stdout.fnmatch_lines(
        ["*NotSeen: good: test_mine:mine was declared to fail one_outcome, but did not fail it"]
    )
    result.stdout.fnmatch_lines(["*the declaration of this failure ran out on 2020-01-01: it never did"])


def test_a_pool_without_events_is_skipped_where_nothing_can_be_decided(suite: pytest.Pytester) -> None:
    result = _run(suite, "test_blind = conformance_tests(blind, scenarios=[GOOD, NEVER, OPEN, NEEDY])")
    result.assert_outcomes(passed=1, failed=1, skipped=2, warnings=3)
    result.stdout.fnmatch_lines(
        [
            "*Undecided: good: not asked of this pool: clean_workers (needs events), call_steps (needs events)*",
            "SKIPPED*cannot be decided, because the pool test_mine:blind reports no events: fault_landed*",
            "SKIPPED*test_mine:blind lacks sessions",
        ]
    )


def test_a_peer_is_put_to_the_test_by_one_line(suite: pytest.Pytester) -> None:
    peer = "poolproof.harness.subjects.peers.executor:POOL"
    line = f"test_peer = conformance_tests({peer!r}, scenarios=[GOOD, NEEDY, 'slow_start'])"
    result = _run(suite, line)
    result.assert_outcomes(passed=1, skipped=2, warnings=1)


def test_the_whole_catalogue_is_collected_if_nothing_is_chosen() -> None:
    (mark,) = conformance_tests("v2").pytestmark  # type: ignore[attr-defined]
    assert [param.id for param in mark.args[1]] == [s.name for s in CATALOGUE.values() if s.quick]


def test_what_there_is_not_is_refused_at_once() -> None:
    with pytest.raises(UsageError, match="there is no scenario 'any_jsn'"):
        conformance_tests("v2", scenarios=["any_jsn"])
    with pytest.raises(UsageError, match="profile 'slow': must be one of quick, full"):
        conformance_tests("v2", profile="slow")
    entry = KnownFailure(scenario="gone", checker="fifo", reason="so it is")
    with pytest.raises(UsageError, match="a known failure of v2 names the scenario 'gone'"):
        conformance_tests("v2", known=[entry])
