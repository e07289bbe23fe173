"""The pytest plugin: options, fixtures, scenarios as items, and one report for each session. Entry point.

Only pytest is imported until something of poolproof is used. Under pytest-xdist each worker writes run folders and
ledger lines; the controller compares the planned items with the received results, and builds the report.
"""

from __future__ import annotations

import fnmatch
import os
import secrets
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from poolproof.bridge import Observer, Pool
    from poolproof.bridge.dspy.adapter import ProgramAdapter
    from poolproof.harness.bench.statistics.figures import Bench
    from poolproof.harness.compare.comparison import RunResult
    from poolproof.harness.model.backend import Backend
    from poolproof.harness.model.scenario import Scenario
    from poolproof.harness.pytest_plugin.collection import ScenarioItem
    from poolproof.harness.pytest_plugin.ledger import Ledger
    from poolproof.harness.run.runner import Request, Subject

DEFAULT_POOLS = ("v1", "v2")
SCENARIO_FILES = ("scenario_*.py", "scenarios/*.py")
DEPTHS = ("mock", "wire", "real")
BENCH_FIXTURE = "run_bench"
PROFILE_SCALES = {"quick": 1.0, "full": 3.0}


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
        choices=DEPTHS,
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
        "depths(*names, packages=(), script=()): the backends (mock, wire, real) on which a test with the fixture "
        "`adapter` runs, the packages that its real workers need (such as dspy), and the answers of the scripted "
        "worker",
    )
    config.stash[STATE] = state = State(config)
    if state.controls:
        config.pluginmanager.register(state.outcomes, "poolproof-outcomes")
        state.require_possible()


class State:
    """The plugin's state of one session, in one process. `controls`: the process is not an xdist worker."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        told: dict[str, Any] = getattr(config, "workerinput", {})
        self.controls = not told
        self.out = Path(told["poolproof_out"]) if "poolproof_out" in told else _out_folder(config)
        self.outcomes = Outcomes()
        self.scenarios: dict[tuple[str, str], Scenario] = {}
        self.summary: list[str] = []
        self.gated = False
        self._ledger: Ledger | None = None
        self._request: Request | None = None

    @property
    def pool_names(self) -> tuple[str, ...]:
        """The names of the pools to test, the baseline first."""
        return tuple(dict.fromkeys(self._config.getoption("poolproof_pool") or DEFAULT_POOLS))

    def subjects(self) -> list[Subject]:
        """The pools to test, the baseline first. Raises pytest.UsageError for an unknown name."""
        from poolproof.harness.model.errors import UsageError
        from poolproof.harness.subjects.pools import find_pool

        try:
            return [find_pool(name) for name in self.pool_names]
        except UsageError as error:
            raise pytest.UsageError(f"--poolproof-pool: {error}") from error

    def stages(self, scenario: Scenario) -> list[tuple[Subject, Request, Backend]]:
        """Pool, request and depth of each run: depth real, or the deepest of the option's depths that is allowed."""
        from poolproof.harness.fakes.backends.making import MOCK, at_wire
        from poolproof.harness.model.backend import Backend

        chosen = [Backend(name) for name in DEPTHS if name in (self._config.getoption("poolproof_adapter") or ["real"])]
        depth = ([found for found in chosen if found in scenario.depths] or chosen)[-1]
        if depth is Backend.MOCK:
            return [(MOCK, self.request, depth)]
        request = at_wire(self.request) if depth is Backend.WIRE else self.request
        return [(subject, request, depth) for subject in self.subjects()]

    def require_possible(self) -> None:
        """Raise pytest.UsageError for a bad option, before anything is collected."""
        option = self._config.getoption
        for name, least, most in (("workers", 1, 1024), ("clients", 1, 1024), ("seed", 0, 2**32 - 1)):
            value = option(f"poolproof_{name}")
            if not least <= value <= most:
                raise pytest.UsageError(f"--poolproof-{name} {value}: must be a whole number from {least} to {most}")
        if option("poolproof_pool"):
            self.subjects()
        if option("poolproof_worker_command"):
            _ = self.request

    @property
    def ledger(self) -> Ledger:
        """The ledger of this process."""
        if self._ledger is None:
            from poolproof.harness.pytest_plugin.ledger import Ledger

            self._ledger = Ledger(self.out, os.environ.get("PYTEST_XDIST_WORKER", "main"))
        return self._ledger

    @property
    def request(self) -> Request:
        """The request made from the options. Raises pytest.UsageError if the worker command starts no worker."""
        if self._request is None:
            from poolproof.harness.model.errors import UsageError
            from poolproof.harness.model.workload import Size
            from poolproof.harness.run.runner import Request
            from poolproof.harness.subjects.probe import known_commands
            from poolproof.scenarios import CATALOGUE

            option = self._config.getoption
            command, known = option("poolproof_worker_command"), None
            if command is not None:
                try:
                    known = known_commands(command, sorted({c for s in CATALOGUE.values() for c in s.commands}))
                except UsageError as error:
                    raise pytest.UsageError(f"--poolproof-worker-command: {error}") from error
            profile = option("poolproof_profile")
            size = Size(
                workers=option("poolproof_workers"), clients=option("poolproof_clients"), scale=PROFILE_SCALES[profile]
            )
            self._request = Request(
                seed=option("poolproof_seed"), size=size, profile=profile, worker_command=command, known_commands=known
            )
        return self._request


STATE = pytest.StashKey[State]()


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
            depth=depth,
        )
        for subject, request, depth in state.stages(obj)
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
    """Run a test with the fixture `pool` once for each pool, a test with `adapter` once for each depth and pool."""
    if "poolproof_subject" in metafunc.fixturenames:
        subjects = metafunc.config.stash[STATE].subjects()
        metafunc.parametrize("poolproof_subject", subjects, ids=[subject.name for subject in subjects], indirect=True)
    if "poolproof_place" in metafunc.fixturenames:
        places = places_of(metafunc.config)
        metafunc.parametrize("poolproof_place", places, ids=["-".join(place) for place in places], indirect=True)


def places_of(config: pytest.Config) -> list[tuple[str, ...]]:
    """The places for tests with `adapter`: ("mock",), and ("wire", pool) and ("real", pool) for each pool."""
    names = config.stash[STATE].pool_names
    chosen = config.getoption("poolproof_adapter") or DEPTHS
    places: list[tuple[str, ...]] = []
    for depth in (depth for depth in DEPTHS if depth in chosen):
        places += [(depth,)] if depth == "mock" else [(depth, name) for name in names]
    return places


# Fixtures.


@pytest.fixture
def poolproof_subject(request: pytest.FixtureRequest) -> Subject:
    """The name of the pool that the test runs on. The test runs once for each --poolproof-pool."""
    subject: Subject = request.param
    return subject


@pytest.fixture
def pool_name(request: pytest.FixtureRequest) -> str:
    """A unique pool name, which no other test, process or run uses."""
    from poolproof.harness.run.names import pool_name

    return pool_name(request.node.name, "test")


@pytest.fixture
def pool_factory(request: pytest.FixtureRequest) -> Iterator[Callable[..., Pool]]:
    """Make pools by `pool_factory(version, observer=None, **options)`.

    Each pool gets a unique name and is closed after the test. `options` are fields of PoolConfig.
    """
    from poolproof.bridge import PoolConfig
    from poolproof.harness.run.names import pool_name
    from poolproof.harness.subjects.pools import find_pool

    made: list[Pool] = []

    def make(version: str = "v2", *, observer: Observer | None = None, **options: Any) -> Pool:  # noqa: ANN401
        options.setdefault("name", pool_name(request.node.name, version))
        pool = find_pool(version).make(PoolConfig.from_options(options), observer)
        made.append(pool)
        return pool

    yield make
    for pool in made:
        pool.close()


@pytest.fixture
def pool(poolproof_subject: Subject, pool_factory: Callable[..., Pool], request: pytest.FixtureRequest) -> Pool:
    """An open pool. The test runs once for each --poolproof-pool.

    `@pytest.mark.pool_options(workers=2)` sets fields of its PoolConfig.
    """
    marker = request.node.get_closest_marker("pool_options")
    return pool_factory(poolproof_subject.name, **({} if marker is None else marker.kwargs))


@pytest.fixture
def poolproof_place(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The backend (mock, wire or real) and the pool of the current test.

    Skips the test, with the reason, on a backend that its marker `depths` does not name.
    """
    from poolproof.harness.fakes.backends.making import why_impossible
    from poolproof.harness.model.backend import Backend

    place: tuple[str, ...] = request.param
    marker = request.node.get_closest_marker("depths")
    told = marker.kwargs if marker else {}
    names = marker.args if marker else ()
    if unknown := [name for name in names if name not in DEPTHS]:
        raise pytest.UsageError(f"the marker depths: {unknown[0]!r} is not one of {', '.join(DEPTHS)}")
    allowed = {Backend(name) for name in names}
    reason = why_impossible(
        Backend(place[0]), allowed=allowed, packages=told.get("packages", ()), scripted=bool(told.get("script"))
    )
    if reason:
        pytest.skip(reason)
    return place


@pytest.fixture
def adapter(
    poolproof_place: tuple[str, ...],
    pool_factory: Callable[..., Pool],
    pool_name: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> Iterator[ProgramAdapter]:
    """A ProgramAdapter (typed calls of DSPy programs) over a new pool. The test runs once for each backend.

    The backends are mock (no process), wire (a scripted worker) and real. The marker `depths` chooses among them, the
    marker `pool_options` sets fields of the pool's PoolConfig.
    """
    from poolproof.bridge.dspy.adapter import ProgramAdapter
    from poolproof.harness.fakes.backends.making import make_mock, options_at
    from poolproof.harness.fakes.backends.script import Script, ScriptLine
    from poolproof.harness.model.backend import Backend

    marker = request.node.get_closest_marker("depths")
    told = marker.kwargs if marker else {}
    script = Script([ScriptLine(**line) for line in told["script"]]) if told.get("script") else None
    depth = Backend(poolproof_place[0])
    if depth is Backend.MOCK:
        with make_mock(pool_name, script) as mock:
            yield ProgramAdapter(mock, pool_name)
        return
    options = options_at(depth, poolproof_place[1], tmp_path, packages=told.get("packages", ()), script=script)
    marked = request.node.get_closest_marker("pool_options")
    options |= {"workers": 2} | ({} if marked is None else marked.kwargs)
    yield ProgramAdapter(pool_factory(poolproof_place[1], **options), pool_name)


@pytest.fixture
def run_scenario(pytestconfig: pytest.Config) -> Callable[..., RunResult]:
    """Run a scenario by `run_scenario(scenario, pool="v2", seed=1, workers=4, clients=8)`.

    Returns the RunResult with all findings, and does not raise if a checker fails.
    """
    import msgspec

    from poolproof.harness.run.lock import sharing
    from poolproof.harness.run.runner import run
    from poolproof.harness.subjects.pools import find_pool

    state = pytestconfig.stash[STATE]

    def run_it(
        scenario: Scenario,
        pool: str = "v2",
        *,
        seed: int | None = None,
        workers: int | None = None,
        clients: int | None = None,
    ) -> RunResult:
        request = state.request
        size = msgspec.structs.replace(
            request.size,
            workers=request.size.workers if workers is None else workers,
            clients=request.size.clients if clients is None else clients,
        )
        request = msgspec.structs.replace(request, size=size, seed=request.seed if seed is None else seed)
        with sharing():
            return run(scenario, find_pool(pool), request, state.ledger.runs)

    return run_it


@pytest.fixture
def run_bench(request: pytest.FixtureRequest) -> Callable[..., Bench]:
    """Time two pools by `run_bench(scenario=None, baseline="v1", candidate="v2", ...)`, and return the Bench.

    Without a scenario the worker command in `call` is timed. `load`, `budgets`, `profile` ("quick" or "full"),
    `rounds`, `block_s`, `margin`, `seed`, `workers` and `clients` are as for `poolproof bench`. Under pytest-xdist no
    other test runs meanwhile. The file bench.json is kept in the session's folder, listed by `poolproof history`, and
    named by the report's property
    `poolproof_bench`.
    """
    from poolproof.harness.bench.bench import BenchPlan
    from poolproof.harness.bench.records.index import Index
    from poolproof.harness.bench.report import assemble, write_report
    from poolproof.harness.bench.running import default_clients
    from poolproof.harness.bench.running import run_bench as measure
    from poolproof.harness.bench.schedules import make_schedule
    from poolproof.harness.bench.workloads.workloads import DEFAULT_CALL, call_scenario
    from poolproof.harness.model.load import parse_load
    from poolproof.harness.model.workload import Size
    from poolproof.harness.run.names import pool_name
    from poolproof.harness.subjects.pools import find_pool

    option = request.config.getoption
    out = request.config.stash[STATE].out

    def bench_it(
        scenario: Scenario | None = None,
        *,
        call: str = DEFAULT_CALL,
        baseline: str = "v1",
        candidate: str = "v2",
        load: str | None = None,
        budgets: Sequence[str] = (),
        profile: str | None = None,
        rounds: int | None = None,
        block_s: float | None = None,
        margin: float | None = None,
        seed: int | None = None,
        workers: int | None = None,
        clients: int | None = None,
    ) -> Bench:
        work = call_scenario(call) if scenario is None else scenario
        arrivals = parse_load(work.load if load is None else load)
        many = option("poolproof_workers") if workers is None else workers
        plan = BenchPlan(
            scenario=work,
            baseline=find_pool(baseline),
            candidate=find_pool(candidate),
            size=work.fixed_size or Size(workers=many, clients=clients or default_clients(arrivals, many)),
            load=arrivals,
            schedule=make_schedule(
                profile or option("poolproof_profile"), rounds=rounds, block_s=block_s, margin=margin
            ),
            seed=option("poolproof_seed") if seed is None else seed,
            budgets=tuple(budgets),
            worker_command=option("poolproof_worker_command"),
        )
        report = assemble([measure(plan)], command="pytest")
        path = write_report(report, out / "benches" / pool_name(request.node.name, "bench"))
        with Index() as index:
            index.add(report, path)
        request.node.user_properties.append(("poolproof_bench", str(path)))
        return report.benches[0]

    return bench_it


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Make each test wait while a benchmark of another xdist worker runs, since other tests would disturb it."""
    if not item.config.stash[STATE].gated or BENCH_FIXTURE in getattr(item, "fixturenames", ()):
        return (yield)
    from poolproof.harness.run.lock import covering

    with covering():
        return (yield)


# The end of the session.


class Outcomes:
    """Records each outcome that reaches the controlling process, by node."""

    def __init__(self) -> None:
        self.seen: dict[str, set[str]] = defaultdict(set)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Record the outcome of one phase of one item."""
        self.seen[report.nodeid].add(report.outcome)


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
            terminalreporter.write_line(line)


def _out_folder(config: pytest.Config) -> Path:
    given = config.getoption("poolproof_out")
    if given:
        return Path(given).resolve()
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return config.rootpath / "out" / f"pytest-{stamp}-{os.getpid()}-{secrets.token_hex(2)}"
