"""The plugin's state of one pytest session: the options, the pools, the output folder and the outcomes."""

from __future__ import annotations

import os
import secrets
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from poolproof.harness.model.backend import Backend
    from poolproof.harness.model.scenario import Scenario
    from poolproof.harness.pytest_plugin.ledger import Ledger
    from poolproof.harness.run.runner import Request, Subject

DEFAULT_POOLS = ("v1", "v2")
BACKENDS = ("mock", "wire", "real")
PROFILE_SCALES = {"quick": 1.0, "full": 3.0}


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
        """Return pool, request and backend of each run: real, or the last chosen backend that the scenario fits."""
        from poolproof.harness.fakes.backends.making import MOCK, at_wire
        from poolproof.harness.model.backend import Backend

        chosen = [
            Backend(name) for name in BACKENDS if name in (self._config.getoption("poolproof_adapter") or ["real"])
        ]
        backend = ([found for found in chosen if found in scenario.backends] or chosen)[-1]
        if backend is Backend.MOCK:
            return [(MOCK, self.request, backend)]
        request = at_wire(self.request) if backend is Backend.WIRE else self.request
        return [(subject, request, backend) for subject in self.subjects()]

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


class Outcomes:
    """Records each outcome that reaches the controlling process, by node."""

    def __init__(self) -> None:
        self.seen: dict[str, set[str]] = defaultdict(set)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Record the outcome of one phase of one item."""
        self.seen[report.nodeid].add(report.outcome)


def _out_folder(config: pytest.Config) -> Path:
    given = config.getoption("poolproof_out")
    if given:
        return Path(given).resolve()
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return config.rootpath / "out" / f"pytest-{stamp}-{os.getpid()}-{secrets.token_hex(2)}"


STATE = pytest.StashKey[State]()
