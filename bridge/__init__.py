"""The common base of both pools: the pool interface, the errors, the wire protocol, and the worker process.

The public names are imported when the first of them is asked for. A worker needs none of them, and importing them takes
longer than all else that its start imports of this package.
"""

from __future__ import annotations

if __name__ == "bridge":
    raise ImportError("there is no package bridge: import poolproof.bridge")

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from poolproof.bridge.config import PoolConfig
    from poolproof.bridge.errors import (
        AnswerError,
        CallTimeout,
        Cancelled,
        CheckoutTimeout,
        CircuitOpen,
        CommandError,
        ConfigError,
        HookError,
        InvalidRequest,
        LeaseError,
        PoolClosed,
        PoolError,
        PoolNameConflict,
        ProtocolError,
        QueueFull,
        Sent,
        SessionLost,
        SoftTimeout,
        StartFailed,
        WorkerCrashed,
        WorkerEnded,
    )
    from poolproof.bridge.events import Event, EventKind, Observer, ServiceInterval
    from poolproof.bridge.interface import (
        OUTCOMES,
        Capability,
        Health,
        Pool,
        PoolStatus,
        SessionStatus,
        Statistics,
        WorkerStatus,
    )

_MODULES = ("config", "errors", "events", "interface")
"""The modules that have the public names."""
__all__ = [
    "OUTCOMES",
    "AnswerError",
    "CallTimeout",
    "Cancelled",
    "Capability",
    "CheckoutTimeout",
    "CircuitOpen",
    "CommandError",
    "ConfigError",
    "Event",
    "EventKind",
    "Health",
    "HookError",
    "InvalidRequest",
    "LeaseError",
    "Observer",
    "Pool",
    "PoolClosed",
    "PoolConfig",
    "PoolError",
    "PoolNameConflict",
    "PoolStatus",
    "ProtocolError",
    "QueueFull",
    "Sent",
    "ServiceInterval",
    "SessionLost",
    "SessionStatus",
    "SoftTimeout",
    "StartFailed",
    "Statistics",
    "WorkerCrashed",
    "WorkerEnded",
    "WorkerStatus",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    for module in _MODULES:
        found = vars(import_module(f"{__name__}.{module}"))
        globals().update({public: found[public] for public in __all__ if public in found})
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
