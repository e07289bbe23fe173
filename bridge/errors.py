"""The error tree of every pool: one class for each thing that a caller would do differently.

Pure. Knows nothing of processes; what a worker last printed comes in as text.
"""

from __future__ import annotations

from enum import StrEnum


class Sent(StrEnum):
    """Whether the request had left for a worker when the call failed."""

    NO = "no"
    MAYBE = "maybe"
    YES = "yes"


class PoolError(Exception):
    """Anything that a pool raises; `sent` says whether the request may have been executed."""

    def __init__(
        self,
        message: str,
        *,
        sent: Sent = Sent.NO,
        worker_id: int | None = None,
        stderr_tail: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.sent = sent
        self.worker_id = worker_id
        self.stderr_tail = stderr_tail

    def __str__(self) -> str:
        if not self.stderr_tail:
            return self.message
        return f"{self.message}\nlast lines of the worker's stderr:\n{self.stderr_tail}"


class ConfigError(PoolError, ValueError):
    """An option is unknown, impossible, or not supported by this pool."""


class PoolNameConflict(PoolError):
    """Another living pool owns this name."""


class CommandError(PoolError):
    """The worker executed the command and answered with an error."""

    def __init__(self, message: str, *, worker_id: int | None = None) -> None:
        super().__init__(message, sent=Sent.YES, worker_id=worker_id)


class AnswerError(PoolError):
    """The worker executed the command, and its answer is not what this command gives."""


class InvalidRequest(PoolError, ValueError):
    """The request cannot be put on the wire: it is not JSON, or larger than the limit."""


class CheckoutTimeout(PoolError, TimeoutError):
    """No worker was free in time; the request was never sent. `holders` tells who had them, and where they were."""

    def __init__(
        self,
        message: str,
        *,
        sent: Sent = Sent.NO,
        worker_id: int | None = None,
        stderr_tail: str = "",
        holders: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, sent=sent, worker_id=worker_id, stderr_tail=stderr_tail)
        self.holders = holders

    def __str__(self) -> str:
        return "\n".join((super().__str__(), *self.holders))


class CallTimeout(PoolError, TimeoutError):
    """The worker did not answer by the call's deadline."""


class WorkerCrashed(PoolError):
    """The worker died, or broke the protocol, before it answered."""


class StartFailed(PoolError):
    """A worker did not answer its init ping in time, or died before it did."""


class Cancelled(PoolError):
    """The call was cancelled by its caller."""


class QueueFull(PoolError):
    """As many calls as allowed were waiting already."""


class PoolClosed(PoolError):
    """The pool is closed or closing."""


class CircuitOpen(PoolError):
    """Too many workers failed to start in a row; the pool tries again later."""


class SessionLost(PoolError):
    """The session's state went with its worker and cannot be rebuilt."""


class LeaseError(PoolError):
    """A worker was used after its lease had ended."""


class HookError(PoolError):
    """A hook raised, or returned what the pool does not accept."""


class ProtocolError(Exception):
    """The bytes that arrived are not the wire's; a channel maps it to WorkerCrashed."""
