"""The pytest plugin as its users meet it: options, items, fixtures, and what fails a session."""

from __future__ import annotations

import pytest

SCENARIOS = """
from poolproof.bridge import Capability
from poolproof.harness.checkers import CORE, FaultLanded, OneOutcome
from poolproof.harness.model.fault import FaultKind
from poolproof.harness.model.scenario import IntendedDifference, Scenario
from poolproof.harness.model.workload import Size, steady

def make(name, *checkers, **fields):
    return Scenario(name=name, summary=name, workload=steady("echo", calls=1), checkers=(*checkers, *CORE),
                    fixed_size=Size(workers=1, clients=1), **fields)

NEVER = OneOutcome(allowed=frozenset({"CallTimeout"}))
GOOD = make("good", OneOutcome(), failures=("F7",))
"""
DECLARED = (
    SCENARIOS
    + """
DECLARED = make("declared", NEVER, intended_differences=tuple(
    IntendedDifference(pool=pool, checker="one_outcome", reason="it never did") for pool in ("v1", "v2")))
"""
)
BAD = SCENARIOS + 'BAD = make("bad", NEVER)\n'
OPEN = SCENARIOS + 'OPEN = make("open", OneOutcome(), FaultLanded(kinds=(FaultKind.KILL,)))\n'
NEEDY = (
    SCENARIOS
    + """
from poolproof.harness.subjects.shipped import SUBJECTS
NEEDY = make("needy", OneOutcome(), needs=frozenset(Capability) - SUBJECTS["v1"].capabilities)
"""
)


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
        timeout=60,
    )


def test_scenarios_are_items_for_each_pool_and_end_in_one_report(session: pytest.Pytester) -> None:
    session.makepyfile(scenario_mine=DECLARED)
    result = _run(session, "-v", "--poolproof-report", "html")
    result.assert_outcomes(passed=2, xfailed=2)
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        ["*scenario_mine.py::good[[]v1] PASSED*", "*scenario_mine.py::declared[[]v1] XFAIL*", "report: *report.html"]
    )
    assert {path.name for path in (session.path / "kept").iterdir()} == {
        "report.html",
        "comparison.json",
        "ledger",
        "runs",
    }


def test_a_github_job_gets_the_summary_once_and_the_annotations(
    session: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = session.path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    session.makepyfile(scenario_mine=BAD)
    result = _run(session, "scenario_mine.py", "-n", "1")
    assert len([line for line in summary.read_text().splitlines() if line.startswith("#") and "UNSAFE" in line]) == 1
    assert [line for line in result.errlines if line.startswith("::error")], "the annotation of the decision"


def test_pools_are_chosen_by_option_and_items_by_keyword(session: pytest.Pytester) -> None:
    session.makepyfile(scenario_mine=DECLARED)
    listed = _run(session, "--collect-only", "-q", "--poolproof-pool", "v2", "-k", "F7")
    assert [line for line in listed.outlines if "::" in line] == ["scenario_mine.py::good[v2]"]
    assert not (session.path / "kept").exists()
    result = _run(session, "--poolproof-pool", "v2", "-k", "F7")
    result.assert_outcomes(passed=1, deselected=1)
    result.stdout.no_fnmatch_line("*report.html*")


def test_an_undeclared_failure_fails_with_its_evidence(session: pytest.Pytester) -> None:
    session.makepyfile(scenario_mine=BAD)
    result = _run(session, "--poolproof-pool", "v2", "-k", "bad")
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(["bad on v2, seed 1: FAIL", "*fail one_outcome: *", "*poolproof analyze *"])
    result.stdout.fnmatch_lines([f"*again: poolproof run {session.path}/scenario_mine.py::bad --pool v2 --seed 1*"])
    result.stdout.no_fnmatch_line("*Traceback*")


REPEAT = """
import pytest
from _pytest.runner import runtestprotocol

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    # As plugins do that repeat what failed.
    reports = runtestprotocol(item, nextitem=nextitem, log=False)
    if any(report.failed for report in reports):
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    return True
"""


def test_an_item_can_be_repeated(session: pytest.Pytester) -> None:
    session.makeconftest(REPEAT)
    session.makepyfile(scenario_bad=BAD)
    result = _run(session, "scenario_bad.py", "--poolproof-pool", "v2")
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.no_fnmatch_line("*INTERNALERROR*")
    assert len(list((session.path / "kept" / "runs").glob("bad-v2-*"))) == 2


def test_what_cannot_be_decided_fails_too(session: pytest.Pytester) -> None:
    session.makepyfile(scenario_mine=OPEN)
    result = _run(session, "-k", "open")
    result.assert_outcomes(failed=2, deselected=2)
    result.stdout.fnmatch_lines(["open on v1, seed 1: UNKNOWN", "*INCONCLUSIVE: v2 replacing v1*"])


def test_a_pool_that_lacks_a_capability_is_skipped_with_the_reason(session: pytest.Pytester) -> None:
    session.makepyfile(scenario_mine=NEEDY)
    result = _run(session, "--poolproof-pool", "v1", "-k", "needy", "-rs")
    result.assert_outcomes(skipped=1, deselected=1)
    result.stdout.fnmatch_lines(["SKIPPED*: v1 lacks *"])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--poolproof-pool", "v9"], "*--poolproof-pool: there is no pool 'v9'; there are v1, v2*"),
        (["--poolproof-workers", "0"], "*--poolproof-workers 0: must be a whole number from 1 to 1024*"),
        (
            ["--poolproof-worker-command", "true"],
            "*--poolproof-worker-command: the worker command 'true' starts no worker*",
        ),
    ],
)
def test_a_bad_option_is_a_usage_error(arguments: list[str], told: str, session: pytest.Pytester) -> None:
    session.makepyfile(scenario_mine=SCENARIOS)
    result = _run(session, *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([told])


def test_the_fixture_pool_runs_a_test_once_for_each_pool(session: pytest.Pytester) -> None:
    session.makepyfile(
        """
        import pytest

        @pytest.mark.pool_options(workers=2)
        def test_echo(pool):
            assert pool.execute("echo", {"value": [1, None]}) == [1, None]
            assert pool.status().target == 2
        """
    )
    result = _run(session, "-v")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*::test_echo[[]v1] PASSED*", "*::test_echo[[]v2] PASSED*"])


def test_the_other_fixtures_make_names_pools_and_runs(session: pytest.Pytester) -> None:
    session.makepyfile(
        test_it="""
        import pytest
        from poolproof.bridge import PoolClosed, PoolNameConflict
        from scenario_mine import BAD, GOOD

        kept = []

        def test_names(pool_name, pool_factory):
            first = pool_factory("v1", name=pool_name, workers=1)
            with pytest.raises(PoolNameConflict):
                pool_factory("v2", name=pool_name, workers=1)
            kept.append(pool_factory(workers=1))
            assert kept[0].version == "v2"
            assert kept[0].name != first.name

        def test_pools_are_closed_after_their_test():
            with pytest.raises(PoolClosed):
                kept[0].execute("ping")

        def test_runs(run_scenario):
            assert run_scenario(GOOD, "v1", seed=5, workers=1, clients=1).verdict == "pass"
            assert run_scenario(BAD).verdict == "fail"
        """,
        scenario_mine=BAD,
    )
    session.syspathinsert()
    _run(session, "test_it.py").assert_outcomes(passed=3)


def test_a_project_may_have_a_fixture_pool_of_its_own(session: pytest.Pytester) -> None:
    session.makepyfile(
        """
        import pytest

        @pytest.fixture
        def pool():
            return "mine"

        def test_it(pool):
            assert pool == "mine"
        """
    )
    _run(session).assert_outcomes(passed=1)


def test_a_scenario_that_a_test_file_imports_is_no_item_and_one_named_test_is(session: pytest.Pytester) -> None:
    session.makepyfile(test_it=SCENARIOS + "test_mine = GOOD\n")
    result = _run(session, "--collect-only", "-q", "--poolproof-pool", "v1")
    assert [line for line in result.outlines if "::" in line] == ["test_it.py::good[v1]"]


def test_a_file_that_looks_like_scenarios_by_name_alone_is_left_alone(session: pytest.Pytester) -> None:
    session.mkdir("scenarios")
    (session.path / "scenarios" / "other.py").write_text("raise RuntimeError('imported')\n")
    session.makepyfile("def test_it(): pass")
    _run(session).assert_outcomes(passed=1)


def test_answers_that_differ_fail_a_session_whose_items_all_pass(session: pytest.Pytester) -> None:
    session.makepyfile(
        scenario_mine="""
        from poolproof.harness.checkers import NothingLeft, OneOutcome
        from poolproof.harness.model.scenario import Scenario
        from poolproof.harness.model.workload import Size, steady

        DIFFERENT = Scenario(name="different", summary="who am I", workload=steady("get_name", calls=1),
                             checkers=(OneOutcome(allowed=frozenset({"result", "CommandError"})), NothingLeft()),
                             fixed_size=Size(workers=1, clients=1))
        """
    )
    session.makeconftest(
        """
        from poolproof.pool_v2 import PoolV2

        original = PoolV2.execute

        def execute(self, command, args=None, **options):
            return original(self, "echo" if command == "get_name" else command, args, **options)

        PoolV2.execute = execute
        """
    )
    result = _run(session)
    result.assert_outcomes(passed=2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["UNSAFE: v2 replacing v1", "*the answers differ, and the scenario does not declare it*"]
    )


def test_what_was_declared_and_not_seen_is_told_at_the_end(session: pytest.Pytester) -> None:
    session.makepyfile(scenario_mine=DECLARED.replace('"declared", NEVER', '"declared", OneOutcome()'))
    for pools in (("v2",), ("v1", "v2")):
        result = _run(session, *(word for pool in pools for word in ("--poolproof-pool", pool)))
        assert result.ret == 0
        result.stdout.fnmatch_lines(["*warning: declared: v2 was declared to fail one_outcome, but did not fail it"])


def test_a_declaration_that_has_run_out_excuses_no_item(session: pytest.Pytester) -> None:
    session.makepyfile(scenario_mine=DECLARED.replace("reason=", "until='2020-01-01', reason="))
    result = _run(session, "--poolproof-pool", "v2")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*the declaration of this failure ran out on 2020-01-01: it never did"])


ADAPTED = """
    import pytest

    def test_anywhere(adapter):
        adapter.create_program("p", "question -> answer")
        assert adapter.list_programs().programs == ("p",)

    @pytest.mark.backends("real")
    def test_only_real(adapter):
        assert adapter.pool.status().target == 2

    @pytest.mark.backends("real", packages=("no_such_package",))
    def test_needs_a_package(adapter):
        raise AssertionError

    @pytest.mark.backends("mock", script=({"command": "list_programs", "error": "as scripted"},))
    def test_scripted(adapter):
        with pytest.raises(Exception, match="as scripted"):
            adapter.list_programs()
"""


def test_the_fixture_adapter_runs_a_test_at_each_depth_or_says_why_not(session: pytest.Pytester) -> None:
    session.makepyfile(ADAPTED)
    result = _run(session, "-v", "-rs", "--poolproof-pool", "v2")
    result.assert_outcomes(passed=5, skipped=7)
    result.stdout.fnmatch_lines(
        [
            "*::test_anywhere[[]mock] PASSED*",
            "*::test_anywhere[[]wire-v2] PASSED*",
            "*::test_anywhere[[]real-v2] PASSED*",
            "*SKIPPED*the test needs the backend real; the current backend is mock: no process*",
            "*SKIPPED*no_such_package is not installed: pip install 'poolproof[[]no_such_package[]]'*",
        ]
    )


def test_the_option_adapter_chooses_the_depths(session: pytest.Pytester) -> None:
    session.makepyfile(ADAPTED)
    result = _run(session, "-v", "--poolproof-adapter", "mock")
    result.assert_outcomes(passed=2, skipped=2)
    result.stdout.no_fnmatch_line("*wire*PASSED*")
    wrong = _run(session, "--poolproof-adapter", "deep")
    assert wrong.ret == pytest.ExitCode.USAGE_ERROR


def test_a_marker_with_a_depth_that_there_is_not_is_named(session: pytest.Pytester) -> None:
    session.makepyfile("import pytest\n@pytest.mark.backends('deep')\ndef test_it(adapter): pass")
    result = _run(session, "--poolproof-adapter", "mock")
    assert result.ret != pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*the marker backends: 'deep' is not one of mock, wire, real*"])


@pytest.mark.parametrize(("backend", "item"), [("wire", "any_backend[[]v2]"), ("mock", "any_backend[[]mock]")])
def test_a_scenario_is_run_at_the_depth_that_was_chosen_or_skipped(
    session: pytest.Pytester, backend: str, item: str
) -> None:
    session.makepyfile(
        scenario_mine=SCENARIOS
        + """
from poolproof.harness.model.backend import Backend
ANY = make("any_backend", OneOutcome(), backends=frozenset(Backend))
"""
    )
    result = _run(session, "-v", "-rs", "--poolproof-pool", "v2", "--poolproof-adapter", backend)
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(
        [f"*{item} PASSED*", f"*the test needs the backend real; the current backend is {backend}*"]
    )
