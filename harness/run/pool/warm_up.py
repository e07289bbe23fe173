"""Opens, calls and closes a pool once before a run, so that resources which its engine keeps are there beforehand.

A resource tracker, a fork server or a semaphore that the engine keeps until the process ends is no leftover of the run.
A resource that a pool leaves behind at each close is still found: the run leaves one more.
"""

from __future__ import annotations

import contextlib

import msgspec

from poolproof.bridge import PoolConfig
from poolproof.bridge.worker.journal import JOURNAL_VARIABLE
from poolproof.harness.history.history import RunInfo
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.workload import Size
from poolproof.harness.run.request import Subject, choices

GRACE_S = 5.0
PATIENCE_S = 60.0


def learn(scenario: Scenario, subject: Subject, info: RunInfo, config: PoolConfig, size: Size) -> None:
    """Open a pool, make the scenario's first call without journals, and close it. Errors show in the run itself."""
    env = {name: value for name, value in config.env.items() if name != JOURNAL_VARIABLE}
    quiet = msgspec.structs.replace(config, name=f"{config.name}-learn", env=env)
    with contextlib.suppress(Exception):
        steps = [step for steps in scenario.workload(choices(info.scenario, info.seed), size) for step in steps]
        pool = subject.make(quiet, None)
        try:
            step = next(step for step in steps if step.fault is None)
            pool.execute(step.command, step.args, timeout_s=PATIENCE_S)
        finally:
            pool.close(GRACE_S)
