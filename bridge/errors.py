"""The errors of every pool: one class for each case that a caller handles differently.

Pure, with no process handling; the last lines of a worker's stderr are passed in as text.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from poolproof.bridge.safe_text import printable


class Sent(StrEnum):
    """Whether the request was sent to a worker before the call failed."""

    NO = "no"
    MAYBE = "maybe"
    YES = "yes"


class End(msgspec.Struct, frozen=True):
    """How a worker ended by itself; `told` is a phrase for an error message, such as "exited with status 42"."""

    told: str = ""
    exit_status: int | None = None
    signal: int | None = None
    out_of_memory: bool = False

    def after(self, what: str) -> str:
        """Return the text `what`, followed by how the worker ended if that is known."""
        return f"{what}: it {self.told}" if self.told else what


UNKNOWN_END = End()
"""The end of a worker that is not known, or that the pool has caused."""


class SoftTimeout(TimeoutError):
    """Raised in a handler or callable of the shipped worker `term_grace_s` before its call's deadline."""


class PoolError(Exception):
    """The base class of all errors that a pool raises; `sent` says whether the request may have been executed."""

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
        # A traceback shows this text on a terminal or in a log; `message` and `stderr_tail` have the worker's own text.
        if not self.stderr_tail:
            return printable(self.message)
        return printable(f"{self.message}\nlast lines of the worker's stderr:\n{self.stderr_tail}")


class ConfigError(PoolError, ValueError):
    """An option is unknown, invalid, or not supported by this pool."""


class PoolNameConflict(PoolError):
    """Another living pool owns this name."""


class CommandError(PoolError):
    """The worker executed the command and responded with an error."""

    def __init__(self, message: str, *, worker_id: int | None = None) -> None:
        super().__init__(message, sent=Sent.YES, worker_id=worker_id)


class AnswerError(PoolError):
    """The worker executed the command, but its response is not a valid response to this command."""


class InvalidRequest(PoolError, ValueError):
    """The request cannot be sent: it is not JSON, or it is larger than the limit."""


class CheckoutTimeout(PoolError, TimeoutError):
    """No worker was free in time; the request was never sent. `holders` describes the clients that held workers."""

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
        return "\n".join((super().__str__(), *map(printable, self.holders)))


class CallTimeout(PoolError, TimeoutError):
    """The worker did not respond before the call's deadline."""


class WorkerEnded(PoolError):
    """A worker did not do what it should. The base class of WorkerCrashed and StartFailed.

    If the worker ended by itself, one of these says how: `exit_status`, from 0 to 255, or `signal`, the number of the
    signal that ended it. Both are None if that is unknown, or if the pool has ended the worker. `out_of_memory`: the
    kernel has killed it because memory ran out.
    """

    def __init__(
        self,
        message: str,
        *,
        sent: Sent = Sent.NO,
        worker_id: int | None = None,
        stderr_tail: str = "",
        ended: End = UNKNOWN_END,
    ) -> None:
        super().__init__(message, sent=sent, worker_id=worker_id, stderr_tail=stderr_tail)
        self.ended = ended

    @property
    def exit_status(self) -> int | None:
        """The status with which the worker exited."""
        return self.ended.exit_status

    @property
    def signal(self) -> int | None:
        """The number of the signal that ended the worker."""
        return self.ended.signal

    @property
    def out_of_memory(self) -> bool:
        """Whether the kernel's out-of-memory killer ended the worker."""
        return self.ended.out_of_memory


class WorkerCrashed(WorkerEnded):
    """The worker died, or violated the protocol, before it responded."""


class StartFailed(WorkerEnded):
    """A worker died before it answered its init ping, or did not answer it in time."""


class Cancelled(PoolError):
    """The call was cancelled by its caller."""


class QueueFull(PoolError):
    """The maximum number of calls was already waiting."""


class PoolClosed(PoolError):
    """The pool is closed or closing."""


class CircuitOpen(PoolError):
    """Too many workers failed to start in a row; the pool tries again later."""


class SessionLost(PoolError):
    """The session's state was lost with its worker and cannot be rebuilt."""


class LeaseError(PoolError):
    """A worker was used after its lease had ended."""


class HookError(PoolError):
    """A hook raised, or returned a value that the pool does not accept."""


class ProtocolError(Exception):
    """The received bytes do not follow the wire protocol; a channel maps this error to WorkerCrashed."""
