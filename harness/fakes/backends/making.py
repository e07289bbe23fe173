"""Makes a pool for a backend: its worker command, its environment, and whether the test can run on the backend at all.

Knows nothing of pytest. The pool is given by name.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from poolproof.bridge import PoolConfig
from poolproof.bridge.dspy.adapter import DSPY_ENVIRONMENT, DSPY_PRELOAD
from poolproof.bridge.worker.handlers import COMMANDS, streams
from poolproof.harness.fakes.backends.mock import MockPool
from poolproof.harness.fakes.backends.script import Script
from poolproof.harness.fakes.backends.scripted_worker import command
from poolproof.harness.model.backend import Backend, why_not
from poolproof.harness.run.runner import Request, Subject

DSPY = "dspy"
DSPY_START_TIMEOUT_S = 60.0
"""Importing DSPy is part of a worker's start."""
WITH_ZYGOTE = frozenset({"v2"})
NOT_SCRIPTED = frozenset(streams.COMMANDS)
"""Commands that the scripted worker answers differently from the shipped worker."""


def why_impossible(
    backend: Backend, *, allowed: Collection[Backend] = (), packages: Collection[str] = (), scripted: bool = False
) -> str:
    """Return why a test cannot be run on this backend; empty if it can. No `allowed` means all backends."""
    reason = why_not(frozenset(allowed or Backend), backend)
    if reason:
        return reason
    if packages and backend is not Backend.REAL:
        return f"it needs {', '.join(sorted(packages))}; on the backend {backend} the stand-in answers"
    if scripted and backend is Backend.REAL:
        return "it has a script; on the backend real the shipped worker answers"
    missing = [package for package in packages if find_spec(package) is None]
    return f"{missing[0]} is not installed: pip install 'poolproof[{missing[0]}]'" if missing else ""


MOCK = Subject(
    name="mock",
    summary="no process: the commands are answered where they are called",
    make=lambda config, _: MockPool(config),
    capabilities=MockPool.capabilities,
    call_timeout_s=DSPY_START_TIMEOUT_S,
    checkout_timeout_s=DSPY_START_TIMEOUT_S,
    commands=MockPool.commands,
)


def at_wire(request: Request) -> Request:
    """Return the same request, to be run with scripted workers."""
    return msgspec.structs.replace(
        request, worker_command=shlex.join(command()), known_commands=frozenset(COMMANDS) - NOT_SCRIPTED
    )


def make_mock(name: str, script: Script | None = None) -> MockPool:
    """Make a pool of the mock backend."""
    return MockPool(PoolConfig(name=name), script=script)


def options_at(
    backend: Backend, pool: str, folder: Path, *, packages: Collection[str] = (), script: Script | None = None
) -> dict[str, Any]:
    """Return the options of the pool `pool` for a backend with processes; a script is written into `folder`."""
    if backend is Backend.WIRE:
        path = None
        if script is not None:
            path = folder / "script.json"
            path.write_bytes(script.to_json())
        return {"worker_command": command(path)}
    if DSPY not in packages:
        return {}
    options: dict[str, Any] = {"env": dict(DSPY_ENVIRONMENT)}
    options |= dict.fromkeys(("start_timeout_s", "call_timeout_s", "checkout_timeout_s"), DSPY_START_TIMEOUT_S)
    return options | ({"preload": DSPY_PRELOAD} if pool in WITH_ZYGOTE else {})
