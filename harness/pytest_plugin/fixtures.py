"""The plugin's fixtures for pools and scenarios. Nothing of poolproof is imported before a fixture is used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from poolproof.harness.pytest_plugin.state import BACKENDS, STATE

if TYPE_CHECKING:
    from poolproof.bridge import Observer, Pool
    from poolproof.bridge.dspy.adapter import ProgramAdapter
    from poolproof.harness.compare.comparison import RunResult
    from poolproof.harness.model.scenario import Scenario
    from poolproof.harness.run.runner import Subject


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

    Skips the test, with the reason, on a backend that its marker `backends` does not name.
    """
    from poolproof.harness.fakes.backends.making import why_impossible
    from poolproof.harness.model.backend import Backend

    place: tuple[str, ...] = request.param
    marker = request.node.get_closest_marker("backends")
    told = marker.kwargs if marker else {}
    names = marker.args if marker else ()
    if unknown := [name for name in names if name not in BACKENDS]:
        raise pytest.UsageError(f"the marker backends: {unknown[0]!r} is not one of {', '.join(BACKENDS)}")
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

    The backends are mock (no process), wire (a scripted worker) and real. The marker `backends` chooses among them, the
    marker `pool_options` sets fields of the pool's PoolConfig.
    """
    from poolproof.bridge.dspy.adapter import ProgramAdapter
    from poolproof.harness.fakes.backends.making import make_mock, options_at
    from poolproof.harness.fakes.backends.script import Script, ScriptLine
    from poolproof.harness.model.backend import Backend

    marker = request.node.get_closest_marker("backends")
    told = marker.kwargs if marker else {}
    script = Script([ScriptLine(**line) for line in told["script"]]) if told.get("script") else None
    backend = Backend(poolproof_place[0])
    if backend is Backend.MOCK:
        with make_mock(pool_name, script) as mock:
            yield ProgramAdapter(mock, pool_name)
        return
    options = options_at(backend, poolproof_place[1], tmp_path, packages=told.get("packages", ()), script=script)
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
