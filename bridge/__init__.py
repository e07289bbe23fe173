"""What both pools stand on: the one interface, the errors, the wire, and the worker process."""

from __future__ import annotations

from bridge.config import PoolConfig
from bridge.errors import (
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
    StartFailed,
    WorkerCrashed,
)
from bridge.events import Event, EventKind, Observer
from bridge.interface import (
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
    "SessionLost",
    "SessionStatus",
    "StartFailed",
    "Statistics",
    "WorkerCrashed",
    "WorkerStatus",
]
