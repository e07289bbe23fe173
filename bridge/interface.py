"""The one interface of both pools, and the values that cross it.

Pure: a protocol and frozen records. It refuses to know how a pool does its work.
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
"""Every way a call can end (G3): a result, or the name of the one error that its caller saw."""


class Capability(StrEnum):
    """What a scenario may need from a pool."""

    SESSIONS = "sessions"
    KILL = "kill"
    EVENTS = "events"
    WARM_UP = "warm_up"
    CHECKOUT = "checkout"


class WorkerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One living worker. `state` is one of starting, idle, leased, dying."""

    worker_id: int
    pid: int
    state: str
    served: int


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """Conserved (G27): submitted = in_flight + the sum of outcomes, in every snapshot."""

    submitted: int
    in_flight: int
    outcomes: dict[str, int]


class PoolStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A consistent snapshot of a pool. `state` is one of open, closing, closed."""

    name: str
    version: str
    state: str
    target: int
    workers: tuple[WorkerStatus, ...]
    waiting: int
    sessions: int
    statistics: Statistics


class SessionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One session. `operations` counts its completed calls (G19); `version` its acknowledged state changes."""

    session_id: str
    operations: int
    version: int
    worker_id: int | None


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the pool can serve at its full size now, and if not, why in sentences."""

    healthy: bool
    live: int
    target: int
    reasons: tuple[str, ...] = ()


@runtime_checkable
class Pool(Protocol):
    """A pool of worker processes. All methods may be called from any thread.

    Timeouts are in seconds, counted from the entry of the call; None takes the pool's configured default.
    Whatever goes wrong is one error of `poolproof.bridge.errors` that says whether the request was sent.
    """

    version: str
    capabilities: frozenset[Capability]

    @property
    def name(self) -> str:
        """The pool's name, unique among the living pools of this user's machine."""
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
        """The same, with the state of the session `session_id`, which is begun by its first call."""
        ...

    def execute_anonymous(
        self,
        command: str,
        args: dict[str, Any] | None = None,
        *,
        timeout_s: float | None = None,
        checkout_timeout_s: float | None = None,
    ) -> Any:  # noqa: ANN401
        """The same, outside any session."""
        ...

    def end_session(self, session_id: str) -> bool:
        """Forget the session and its state; False if there was none."""
        ...

    def sessions(self) -> tuple[SessionStatus, ...]:
        """The sessions that have not ended."""
        ...

    def status(self) -> PoolStatus:
        """A consistent snapshot."""
        ...

    def health_check(self) -> Health:
        """Whether the pool can serve at its full size now."""
        ...

    def warm_up(self, n: int | None = None) -> int:
        """Start workers until `n` (the pool's size, unless given) are ready; how many there are."""
        ...

    def close(self, grace_s: float | None = None) -> None:
        """End the pool: waiters get PoolClosed at once, leased workers have `grace_s` to finish. Idempotent."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
