"""Makes the configuration of a pool under test, and what its workers need: fault commands, journals, a model server."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from poolproof.bridge import ConfigError, PoolConfig
from poolproof.bridge.redaction import redact_command
from poolproof.bridge.worker.journal import JOURNAL_VARIABLE
from poolproof.harness.fakes.models.loopback import LoopbackModels
from poolproof.harness.faults.commands import fault_environment
from poolproof.harness.faults.faulty_worker import wrap
from poolproof.harness.history.history import RunInfo
from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.fault import START_FAULTS
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.run.request import Request
from poolproof.harness.run.store import RunFolder

START_PATIENCE_S = 30.0
"""How many seconds a worker may take to start on a busy machine, in scenarios that do not test starts."""


def require_startable(scenarios: Iterable[Scenario], pools: Iterable[str], worker_command: str | None) -> None:
    """Raise UsageError if a scenario's options make a pool fork its workers, but the workers run another program."""
    if worker_command is None:
        return
    for scenario in scenarios:
        for pool in pools:
            options = scenario.options_for(pool)
            option = next((name for name in ("preload", "zygote") if options.get(name)), "")
            if option:
                raise UsageError(
                    f"--worker-command {redact_command(worker_command)!r}: the scenario {scenario.name!r} sets "
                    f"{option} {options[option]!r} for {pool}, and only the shipped worker can be forked; name "
                    f"scenarios without {option}"
                )


@contextlib.contextmanager
def serving_models(scenario: Scenario) -> Iterator[LoopbackModels | None]:
    """Run the scenario's model server, if it has one, during the block."""
    if scenario.models is None:
        yield None
        return
    with LoopbackModels(scenario.models) as models:
        yield models


def configure(
    scenario: Scenario, request: Request, info: RunInfo, pool: str, folder: RunFolder, models: LoopbackModels | None
) -> PoolConfig:
    """Return the configuration of the run's pool, or of its baseline. Raises UsageError for a wrong option."""
    options: dict[str, Any] = {
        "start_timeout_s": START_PATIENCE_S,
        **scenario.options_for(pool),
        "name": info.pool_name if pool == info.pool else f"{info.pool_name}-baseline",
        "workers": info.workers,
    }
    if request.worker_command is not None:
        options["worker_command"] = request.worker_command
    options["log_dir"] = str(folder.stderr)
    served = {} if models is None else models.environment()
    options["env"] = {**fault_environment(), **served, **options.get("env", {}), JOURNAL_VARIABLE: str(folder.journal)}
    try:
        config = PoolConfig.from_options(options)
    except ConfigError as error:
        raise UsageError(f"scenario {scenario.name!r} on {pool}: {error}") from error
    starts = tuple(fault for fault in scenario.faults if fault.kind in START_FAULTS)
    if starts:
        command = wrap(config.command_words(), starts, str(folder.starts))
        config = msgspec.structs.replace(config, worker_command=command)
    return config
