"""A lifecycle test does to a pool what a workload cannot express: fork, interrupt a client, abandon a lease.

It uses pools as an application does, without an observer. Each claim is decided from what callers, the workers'
journals and the operating system show. It knows nothing of mutants.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import psutil

from poolproof.bridge import Pool, PoolConfig
from poolproof.bridge.worker.intervals import read_journals
from poolproof.bridge.worker.journal import JOURNAL_VARIABLE
from poolproof.harness.faults.commands import fault_environment
from poolproof.harness.model.checker import Finding
from poolproof.harness.model.docstring import summary_of
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.run.names import pool_name
from poolproof.harness.run.runner import Subject

LOOK_EVERY_S = 0.01


class Bench:
    """The environment of a lifecycle test: makes pools of one subject, whose workers write journals."""

    def __init__(self, subject: Subject, name: str, folder: Path, worker_command: tuple[str, ...] | None) -> None:
        self.subject = subject
        self._name = name
        self.folder = folder
        self._journal = folder / "journal"
        self._journal.mkdir()
        self._worker_command = worker_command

    def make(self, **options: Any) -> Pool:  # noqa: ANN401 - options of PoolConfig
        """Make a pool. Its workers have the mutant's bug, unless the lifecycle test gives a worker command."""
        if self._worker_command is not None:
            options.setdefault("worker_command", self._worker_command)
        name = pool_name(self._name, self.subject.name)
        env = {**fault_environment(), JOURNAL_VARIABLE: str(self._journal)}
        config = PoolConfig.from_options({**options, "name": name, "log_dir": str(self.folder), "env": env})
        return self.subject.make(config, None)

    def served(self, command: str) -> int:
        """The number of requests of this command that workers have started to serve."""
        return sum(interval.command == command for interval in read_journals(self._journal))


class LifecycleTest(msgspec.Struct, frozen=True, kw_only=True):
    """One lifecycle test. `act` performs it and returns the findings; `pools` are the pools that it applies to."""

    name: str
    summary: str
    guarantees: tuple[str, ...]
    pools: tuple[str, ...]
    act: Callable[[Bench], list[Finding]]
    budget_s: float = 20.0


def lifecycle_test(
    act: Callable[[Bench], list[Finding]], guarantees: tuple[str, ...], pools: tuple[str, ...]
) -> LifecycleTest:
    """The lifecycle test of the function `act`, with its name and the first line of its docstring."""
    summary = summary_of(act)
    return LifecycleTest(name=act.__name__, summary=summary, guarantees=guarantees, pools=pools, act=act)


def claim(name: str, guarantees: tuple[str, ...], holds: bool | None, told: str) -> Finding:
    """A finding: PASS if it `holds`, FAIL if not, UNKNOWN if None."""
    verdict = Verdict.UNKNOWN if holds is None else Verdict.PASS if holds else Verdict.FAIL
    return Finding(checker=name, verdict=verdict, claim=told, guarantees=guarantees)


def wait_until(true: Callable[[], bool], limit_s: float) -> bool:
    """Poll `true` for at most `limit_s` seconds, and return whether it became true."""
    deadline = time.monotonic() + limit_s
    while not true():
        if time.monotonic() >= deadline:
            return False
        time.sleep(LOOK_EVERY_S)
    return True


def lives(pid: int) -> bool:
    """Whether this process exists and is no zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
