"""The common interface of both pools, and the values that cross it.

Pure: a protocol and frozen records, independent of how a pool is implemented.
"""

from __future__ import annotations

from enum import StrEnum
from types import TracebackType
from typing import Any, Protocol, Self, runtime_checkable

import msgspec

OUTCOMES = (
    "result",
    "CommandError",
    "CheckoutTimeout",
    "CallTimeout",
    "WorkerCrashed",
    "Cancelled",
    "QueueFull",
    "PoolClosed",
    "CircuitOpen",
    "SessionLost",
    "InvalidRequest",
    "HookError",
)
"""Every outcome of a call (G3): a result, or the name of the one error that the caller got."""


class Capability(StrEnum):
    """A feature of a pool that a scenario may need.

    REQUEST_IDS is a promise about the events: the id of a request on the wire to a worker, and so in the worker's
    journal, is the `call` of the request's events. Without it journals are matched with calls by the nonce alone.
    RESTART: the pool has a method `restart()`, and its sessions outlive a restart.
    """

    SESSIONS = "sessions"
    KILL = "kill"
    EVENTS = "events"
    WARM_UP = "warm_up"
    CHECKOUT = "checkout"
    OPTIONS = "options"
    RESIZE = "resize"
    DRAIN = "drain"
    REQUEST_IDS = "request_ids"
    RESTART = "restart"


class WorkerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One living worker. `state` is one of starting, idle, leased, dying."""

    worker_id: int
    pid: int
    state: str
    served: int


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """Call counts. Invariant (G27): in every snapshot, submitted = in_flight + the sum of outcomes."""

    submitted: int
    in_flight: int
    outcomes: dict[str, int]


class PoolStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A consistent snapshot of a pool. `state` is one of open, draining, closing, closed.

    `shared_memory_bytes` is the memory that the pool shares with its workers for large buffers.
    """

    name: str
    version: str
    state: str
    target: int
    workers: tuple[WorkerStatus, ...]
    waiting: int
    sessions: int
    statistics: Statistics
    shared_memory_bytes: int = 0


class PoolFigures(msgspec.Struct, frozen=True, kw_only=True):
    """A pool's figures at `at_ns` (CLOCK_MONOTONIC of its machine, in nanoseconds).

    `workers` has the number of workers by state, `ended` the number of ended calls by outcome. `response_s` has the
    last response times in seconds, from the call's request for a worker until it gave the worker back, in the order of
    their size: at most 100 quantiles of the last 1,024.
    """

    at_ns: int
    name: str
    version: str
    state: str
    target: int
    workers: dict[str, int]
    waiting: int
    in_flight: int
    sessions: int
    ended: dict[str, int]
    response_s: tuple[float, ...] = ()

    def response_at(self, share: float) -> float | None:
        """Return the response time in seconds below which this share (0 to 1) of the last calls was; None if none."""
        if not self.response_s:
            return None
        return self.response_s[min(int(share * len(self.response_s)), len(self.response_s) - 1)]


class SessionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One session. `operations` counts its completed calls (G19); `version` its acknowledged state changes."""

    session_id: str
    operations: int
    version: int
    worker_id: int | None


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the pool can serve at its full size now; if not, `reasons` has one sentence per reason."""

    healthy: bool
    live: int
    target: int
    reasons: tuple[str, ...] = ()


@runtime_checkable
class Pool(Protocol):
    """A pool of worker processes. All methods may be called from any thread.

    Timeouts are in seconds from the entry of the call; None means the pool's configured default. Every failure raises
    one error of `poolproof.bridge.errors`, which says whether the request was sent.
    """

    version: str
    capabilities: frozenset[Capability]

    @property
    def name(self) -> str:
        """The pool's name, unique among this user's living pools on this machine."""
        ...

    def execute(
        self,
        command: str,
        args: dict[str, Any] | None = None,
        *,
        session: str | None = None,
        timeout_s: float | None = None,
        checkout_timeout_s: float | None = None,
    ) -> Any:  # noqa: ANN401 - any JSON value
        """Run one command on a worker and return the content of `result`, any JSON value, verbatim."""
        ...

    def execute_in_session(
        self,
        session_id: str,
        command: str,
        args: dict[str, Any] | None = None,
        *,
        timeout_s: float | None = None,
        checkout_timeout_s: float | None = None,
    ) -> Any:  # noqa: ANN401
        """`execute` with the state of the session `session_id`. The first call of a session begins it."""
        ...

    def execute_anonymous(
        self,
        command: str,
        args: dict[str, Any] | None = None,
        *,
        timeout_s: float | None = None,
        checkout_timeout_s: float | None = None,
    ) -> Any:  # noqa: ANN401
        """`execute` outside any session."""
        ...

    def end_session(self, session_id: str) -> bool:
        """Forget the session and its state. Returns False if the session did not exist."""
        ...

    def sessions(self) -> tuple[SessionStatus, ...]:
        """Return the sessions that have not ended."""
        ...

    def status(self) -> PoolStatus:
        """Return a consistent snapshot of the pool."""
        ...

    def health_check(self) -> Health:
        """Return whether the pool can serve at its full size now."""
        ...

    def warm_up(self, n: int | None = None) -> int:
        """Start workers until `n` are ready (default: the pool's size). Returns the number of ready workers."""
        ...

    def close(self, grace_s: float | None = None) -> None:
        """Close the pool: waiting calls get PoolClosed at once, leased workers get `grace_s` seconds. Idempotent."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
