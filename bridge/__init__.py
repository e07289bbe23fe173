"""The common base of both pools: the pool interface, the errors, the wire protocol, and the worker process."""

from __future__ import annotations

if __name__ == "bridge":
    raise ImportError("there is no package bridge: import poolproof.bridge")

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
