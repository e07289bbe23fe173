"""Encodes a callable for the wire and decodes the worker's response, for PoolExecutor.

No I/O and no threads: this module only writes and reads pickles. The worker's side is
`poolproof.bridge.worker.handlers.callables`.
"""

from __future__ import annotations

import binascii
import pickle
from collections.abc import Callable, Iterable
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from poolproof.bridge import CircuitOpen, CommandError, PoolClosed, PoolError, Sent, WorkerCrashed
from poolproof.bridge.worker.handlers.pickles import PROTOCOL, Setting

CALL = "call"
INITIALIZE = "initialize"


class NotPicklable(PoolError, pickle.PicklingError):
    """A callable, its arguments, its result or its exception cannot be pickled, or not unpickled at the other end.

    `sent` says whether the callable ran: NO (never sent), MAYBE (the worker could not read it), YES (it has returned).
    """


class CallCrashed(WorkerCrashed, BrokenProcessPool):
    """The worker died while it ran this call. Other calls are unaffected, and the executor stays usable."""


class WorkersUnavailable(CircuitOpen, BrokenProcessPool):
    """Too many workers in a row failed to start. The executor tries again with later calls."""


class InitializerFailed(PoolError, BrokenProcessPool):
    """The initializer raised in the worker that was to run the call; the call was not run."""


class ExecutorShutdown(PoolClosed, RuntimeError):
    """The executor was shut down, the program is ending, or the executor belongs to another process."""


class RemoteTraceback(Exception):
    """The cause of an exception that a callable raised in a worker: the worker's traceback as text."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


def name_of(function: object) -> str:
    """The name of a callable for messages."""
    return str(getattr(function, "__qualname__", None) or repr(function))


def pack(function: Callable[..., Any], positional: Iterable[Any], named: dict[str, Any]) -> bytes:
    """Pickle a call. Raises NotPicklable."""
    try:
        return pickle.dumps((function, tuple(positional), named), PROTOCOL)
    except Exception as error:
        raise NotPicklable(f"{name_of(function)}: the call cannot be pickled: {_summary(error)}") from error


def request_of(call: bytes) -> dict[str, Any]:
    """The arguments of the worker's command CALL."""
    return {"call": call, "needs_initialize": True}  # bytes are sent as base64


def initialization(initializer: bytes | None) -> dict[str, Any]:
    """The arguments of the worker's command INITIALIZE: this program's current setting, and a packed initializer."""
    setting = {"setting": Setting.of_this_program().write()}
    return setting if initializer is None else {**setting, "initializer": initializer}


def is_uninitialized(answer: object) -> bool:
    """Return whether the worker asks to be initialized first; then it has not run the call."""
    return isinstance(answer, dict) and "uninitialized" in answer


def unpack(answer: object, function: object) -> tuple[Any, BaseException | None]:
    """Decode a worker's response: a result and None, or None and the exception for the call's future."""
    match answer:
        case {"value": str(text)}:
            return _read(text, f"{name_of(function)}: the result", None)
        case {"raised": str(text), "traceback": str(trace)}:
            raised, problem = _read(text, f"{name_of(function)}: its exception", trace)
            if problem is None and not isinstance(raised, BaseException):  # a __reduce__ that returns something else
                problem = NotPicklable(f"{name_of(function)}: its exception was read as {raised!r:.100}", sent=Sent.YES)
            return None, _caused_by(problem or raised, trace)
        case {"unpicklable": str(what), "reason": str(reason), "traceback": str(trace), "ran": ran}:
            sent = Sent.YES if ran else Sent.MAYBE
            return None, _caused_by(NotPicklable(f"{name_of(function)}: {what}: {reason}", sent=sent), trace)
    return None, CommandError(f"the worker's answer to {CALL!r} is invalid: {answer!r:.100}")


def as_broken(error: BaseException) -> BaseException:
    """Convert a pool error to the error that callers of a process pool expect: a subclass of BrokenProcessPool."""
    told: CallCrashed | WorkersUnavailable
    match error:
        case WorkerCrashed():
            told = CallCrashed(
                error.message,
                sent=error.sent,
                worker_id=error.worker_id,
                stderr_tail=error.stderr_tail,
                ended=error.ended,
            )
        case CircuitOpen():
            told = WorkersUnavailable(
                error.message, sent=error.sent, worker_id=error.worker_id, stderr_tail=error.stderr_tail
            )
        case _:
            return error
    told.__cause__ = error
    return told


def _read(text: str, what: str, trace: str | None) -> tuple[Any, BaseException | None]:
    try:
        return pickle.loads(binascii.a2b_base64(text)), None
    except Exception as error:
        told = NotPicklable(f"{what} cannot be read: {_summary(error)}", sent=Sent.YES)
        if trace is None:
            told.__cause__ = error
        return None, told


def _caused_by(error: BaseException, trace: str) -> BaseException:
    error.__cause__ = RemoteTraceback(trace)
    return error


def _summary(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
