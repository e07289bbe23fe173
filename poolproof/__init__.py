"""poolproof proves that a new worker pool may replace an old one, and switches an application over.

The public names are here, each loaded when it is first asked for. All other names are in the subpackages: `bridge`, the
common base of all pools; `pool_v1` and `pool_v2`; `migration`; `harness`, the test tool; `scenarios`; `reports`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from poolproof.bridge import (
        CallTimeout,
        Cancelled,
        Capability,
        CheckoutTimeout,
        CommandError,
        ConfigError,
        Event,
        EventKind,
        Pool,
        PoolClosed,
        PoolConfig,
        PoolError,
        QueueFull,
        Sent,
        WorkerCrashed,
    )
    from poolproof.bridge.dspy.adapter import ProgramAdapter
    from poolproof.harness.model.scenario import Scenario
    from poolproof.harness.pytest_plugin.conformance import conformance_tests
    from poolproof.harness.roles.calls import Call, Calls, call
    from poolproof.harness.subjects.own.coroutine import async_pool
    from poolproof.harness.subjects.own.executor import executor_pool
    from poolproof.harness.subjects.own.function import callable_pool
    from poolproof.harness.subjects.own.http import http_pool
    from poolproof.migration import MigratingPool
    from poolproof.pool_v1 import PoolV1
    from poolproof.pool_v2 import AsyncPool, Lease, PoolExecutor, PoolV2, WorkerBehaviour

_BRIDGE = (
    "CallTimeout",
    "Cancelled",
    "Capability",
    "CheckoutTimeout",
    "CommandError",
    "ConfigError",
    "Event",
    "EventKind",
    "Pool",
    "PoolClosed",
    "PoolConfig",
    "PoolError",
    "QueueFull",
    "Sent",
    "WorkerCrashed",
)
_V2 = ("AsyncPool", "Lease", "PoolExecutor", "PoolV2", "WorkerBehaviour")
_WHERE = {
    **dict.fromkeys(_BRIDGE, "poolproof.bridge"),
    **dict.fromkeys(_V2, "poolproof.pool_v2"),
    **dict.fromkeys(("Call", "Calls", "call"), "poolproof.harness.roles.calls"),
    "MigratingPool": "poolproof.migration",
    "PoolV1": "poolproof.pool_v1",
    "ProgramAdapter": "poolproof.bridge.dspy.adapter",
    "Scenario": "poolproof.harness.model.scenario",
    "async_pool": "poolproof.harness.subjects.own.coroutine",
    "callable_pool": "poolproof.harness.subjects.own.function",
    "conformance_tests": "poolproof.harness.pytest_plugin.conformance",
    "executor_pool": "poolproof.harness.subjects.own.executor",
    "http_pool": "poolproof.harness.subjects.own.http",
}

__all__ = [
    "AsyncPool",
    "Call",
    "CallTimeout",
    "Calls",
    "Cancelled",
    "Capability",
    "CheckoutTimeout",
    "CommandError",
    "ConfigError",
    "Event",
    "EventKind",
    "Lease",
    "MigratingPool",
    "Pool",
    "PoolClosed",
    "PoolConfig",
    "PoolError",
    "PoolExecutor",
    "PoolV1",
    "PoolV2",
    "ProgramAdapter",
    "QueueFull",
    "Scenario",
    "Sent",
    "WorkerBehaviour",
    "WorkerCrashed",
    "async_pool",
    "call",
    "callable_pool",
    "conformance_tests",
    "executor_pool",
    "http_pool",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("poolproof")
    if name in _WHERE:
        try:
            found: object = getattr(import_module(_WHERE[name]), name)
        except ModuleNotFoundError as error:
            if not _WHERE[name].startswith("poolproof.harness") or (error.name or "").startswith("poolproof"):
                raise
            told = f"poolproof.{name} needs {error.name}: pip install 'poolproof[harness]'"
            raise ModuleNotFoundError(told, name=error.name) from error
        globals()[name] = found
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE, "__version__"})
