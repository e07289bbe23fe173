"""The pytest plugin: options, fixtures, scenarios as items, and one report for each session. Entry point.

Only pytest is imported until something of poolproof is used. Under pytest-xdist each worker writes run folders and
ledger lines; the controller compares the planned items with the received results, and builds the report.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from poolproof.bridge.safe_text import one_line
from poolproof.harness.pytest_plugin.state import BACKENDS, PROFILE_SCALES, STATE, State

if TYPE_CHECKING:
    from poolproof.harness.pytest_plugin.collection import ScenarioItem

pytest_plugins = ["poolproof.harness.pytest_plugin.fixtures", "poolproof.harness.pytest_plugin.bench_fixture"]
SCENARIO_FILES = ("scenario_*.py", "scenarios/*.py")
BENCH_FIXTURE = "run_bench"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options. Each begins with --poolproof, so that none conflicts with an option of a user's conftest."""
    group = parser.getgroup("poolproof", "worker pools under test")
    group.addoption(
        "--poolproof-pool",
        action="append",
        metavar="POOL",
        help="a pool to test: v1, v2, another name from `poolproof list pools`, or package.module:factory. May "
        "be repeated; the first pool is the baseline of the comparison.",
    )
    group.addoption(
        "--poolproof-adapter",
        action="append",
        choices=BACKENDS,
        help="the backend of tests with the fixture `adapter` and of scenarios: mock (no process), wire (a "
        "scripted worker "
        "that checks every frame) or real. May be repeated (default: for tests every backend that the test allows, for "
        "scenarios real)",
    )
    group.addoption(
        "--poolproof-seed",
        type=int,
        default=1,
        metavar="N",
        help="the random seed for workloads, faults and orders (default 1)",
    )
    group.addoption(
        "--poolproof-workers", type=int, default=4, metavar="N", help="worker processes of each pool (default 4)"
    )
    group.addoption(
        "--poolproof-clients", type=int, default=8, metavar="N", help="client threads that make the calls (default 8)"
    )
    group.addoption(
        "--poolproof-profile",
        choices=sorted(PROFILE_SCALES),
        default="quick",
        help="how thorough the runs are: quick, or full with three times as many calls (default quick)",
    )
    group.addoption(
        "--poolproof-worker-command",
        metavar="COMMAND",
        help="the command line of a worker program "
        "that speaks the wire protocol (default: the worker that poolproof ships)",
    )
    group.addoption(
        "--poolproof-out", metavar="DIR", help="the folder for runs and reports (default: a new folder in out/)"
    )
    group.addoption(
        "--poolproof-report",
        action="append",
        metavar="FORMAT",
        help="a format of the report: html, md, junit or json. May be repeated (default: all four)",
    )
    group.addoption(
        "--poolproof-speed",
        action="store_true",
        help="after all tests, measure the speed of both pools on the timed scenarios",
    )
    parser.addini(
        "poolproof_scenarios",
        "glob patterns of the Python files that define scenarios",
        type="args",
        default=list(SCENARIO_FILES),
    )


def pytest_configure(config: pytest.Config) -> None:
    """Create the session's state."""
    config.addinivalue_line("markers", "scenario: a poolproof scenario that runs on one pool (set by poolproof itself)")
    config.addinivalue_line(
        "markers", "pool_options(**options): fields of PoolConfig for the pool of the fixtures `pool` and `adapter`"
    )
    config.addinivalue_line(
        "markers",
        "backends(*names, packages=(), script=()): the backends (mock, wire, real) on which a test with the fixture "
        "`adapter` runs, the packages that its real workers need (such as dspy), and the answers of the scripted "
        "worker",
    )
    config.stash[STATE] = state = State(config)
    if state.controls:
        config.pluginmanager.register(state.outcomes, "poolproof-outcomes")
        state.require_possible()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:  # noqa: ANN401 - xdist's WorkerController
    """Tell an xdist worker the session's output folder."""
    node.workerinput["poolproof_out"] = str(node.config.stash[STATE].out)


# Collection.


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Collect the files that the ini option `poolproof_scenarios` names, unless pytest collects them itself."""
    config = parent.config
    if file_path.suffix != ".py" or file_path.name == "__init__.py" or parent.session.isinitpath(file_path):
        return None
    if any(fnmatch.fnmatch(file_path.name, pattern) for pattern in config.getini("python_files")):
        return None
    if not any(file_path.match(pattern) for pattern in config.getini("poolproof_scenarios")):
        return None
    if b"Scenario" not in file_path.read_bytes():
        return None  # a file without scenarios that matches a pattern by chance
    return pytest.Module.from_parent(parent, path=file_path)


def pytest_pycollect_makeitem(
    collector: pytest.Module | pytest.Class, name: str, obj: object
) -> list[ScenarioItem] | None:
    """An item for each pool and each scenario of the file; in a test file, only for names that begin with "test"."""
    if (type(obj).__module__, type(obj).__name__) != ("poolproof.harness.model.scenario", "Scenario"):
        return None
    import msgspec

    from poolproof.harness.compare.catalogue import is_of_catalogue
    from poolproof.harness.model.scenario import Scenario
    from poolproof.harness.pytest_plugin.collection import ScenarioItem

    assert isinstance(obj, Scenario)
    is_test_file = any(fnmatch.fnmatch(collector.path.name, glob) for glob in collector.config.getini("python_files"))
    if is_test_file and not name.startswith("test"):
        return None  # imported for use in a test
    state = collector.config.stash[STATE]
    if not (obj.file or is_of_catalogue(obj)):
        obj = msgspec.structs.replace(obj, file=str(collector.path.resolve()))  # a replay loads it from this file
    state.scenarios[str(collector.path.resolve()), obj.name] = obj
    return [
        ScenarioItem.from_parent(
            collector,
            name=f"{obj.name}[{subject.name}]",
            scenario=obj,
            subject=subject,
            request=request,
            ledger=state.ledger,
            backend=backend,
        )
        for subject, request, backend in state.stages(obj)
    ]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Record the planned items, and whether other tests must wait while a bench runs."""
    if session.config.option.collectonly:
        return
    state = session.config.stash[STATE]
    state.gated = not state.controls and any(
        BENCH_FIXTURE in getattr(item, "fixturenames", ()) for item in session.items
    )
    planned = [
        item.planned for item in session.items if item.get_closest_marker("scenario") and hasattr(item, "planned")
    ]
    if planned:
        session.config.stash[STATE].ledger.plan(planned)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test with the fixture `pool` once for each pool, a test with `adapter` once for each backend and pool."""
    if "poolproof_subject" in metafunc.fixturenames:
        subjects = metafunc.config.stash[STATE].subjects()
        metafunc.parametrize("poolproof_subject", subjects, ids=[subject.name for subject in subjects], indirect=True)
    if "poolproof_place" in metafunc.fixturenames:
        places = places_of(metafunc.config)
        metafunc.parametrize("poolproof_place", places, ids=["-".join(place) for place in places], indirect=True)


def places_of(config: pytest.Config) -> list[tuple[str, ...]]:
    """The places for tests with `adapter`: ("mock",), and ("wire", pool) and ("real", pool) for each pool."""
    names = config.stash[STATE].pool_names
    chosen = config.getoption("poolproof_adapter") or BACKENDS
    places: list[tuple[str, ...]] = []
    for backend in (backend for backend in BACKENDS if backend in chosen):
        places += [(backend,)] if backend == "mock" else [(backend, name) for name in names]
    return places


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Make each test wait while a benchmark of another xdist worker runs, since other tests would disturb it."""
    if not item.config.stash[STATE].gated or BENCH_FIXTURE in getattr(item, "fixturenames", ()):
        return (yield)
    from poolproof.harness.run.lock import covering

    with covering():
        return (yield)


# The end of the session.


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Reconcile, compare and report, in the controlling process and after every xdist worker has ended."""
    state = session.config.stash[STATE]
    if not state.controls or not (state.out / "ledger").is_dir() or session.config.option.collectonly:
        return
    from poolproof.harness.pytest_plugin.session import finish

    stopped = bool(session.shouldstop or session.shouldfail or session.exitstatus == pytest.ExitCode.INTERRUPTED)
    summary, failed = finish(
        state.ledger,
        outcomes={node: frozenset(seen) for node, seen in state.outcomes.seen.items()},
        subjects=state.subjects(),
        request=state.request,
        scenarios=state.scenarios,
        stopped=stopped,
        measure=session.config.getoption("poolproof_speed"),
        formats=session.config.getoption("poolproof_report"),
    )
    state.summary = summary
    if failed and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the decisions and the paths of the reports."""
    lines = config.stash[STATE].summary
    if lines:
        terminalreporter.section("poolproof")
        for line in lines:
            terminalreporter.write_line(one_line(line))
