"""Encodes a callable for the wire and decodes the worker's response, for PoolExecutor.

No I/O and no threads: this module only writes and reads pickles. The worker's side is
`poolproof.bridge.worker.handlers.callables`.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import context, reduction, resource_sharer
from typing import Any, TypeVar

from poolproof.bridge import CircuitOpen, CommandError, PoolClosed, PoolError, Sent, WorkerCrashed
from poolproof.bridge.wire.buffers import Part
from poolproof.bridge.worker.handlers.pickles import PROTOCOL, Pickled, Setting, dump, outside

T = TypeVar("T")
_CAUSE: Any = BaseException.__dict__["__cause__"]
"""Sets the cause of an exception that refuses `__cause__ =`."""
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


def pack(
    function: Callable[..., Any],
    positional: Iterable[Any],
    named: dict[str, Any],
    *,
    caught: type[BaseException] = Exception,
) -> Pickled:
    """Pickle a call. Raises NotPicklable.

    `caught` is BaseException in a thread that no interrupt can reach: there a SystemExit comes from a `__reduce__`.
    """
    try:
        return dump((function, tuple(map(outside, positional)), named))
    except caught as error:
        raise NotPicklable(f"{name_of(function)}: the call cannot be pickled: {_why(error)}") from error


def despite_interrupts(work: Callable[..., T]) -> tuple[T, BaseException | None]:
    """Do `work`, which pickles or reads, in a thread that may be interrupted. Returns the interrupt, too.

    An interrupt and what a `__reduce__` raises look alike. So `work` is done again, with `caught` as in a thread that
    no interrupt can reach: if the error is that of a `__reduce__`, it comes again, and becomes a NotPicklable.
    """
    try:
        return work(caught=Exception), None
    except Exception:
        raise
    except BaseException as error:
        return work(caught=BaseException), error


def request_of(call: Pickled) -> dict[str, Any]:
    """The arguments of the worker's command CALL."""
    data, buffers = call
    request = {"call": data, "needs_initialize": True}
    return {**request, "buffers": buffers} if buffers else request


class Initialization:
    """What a worker needs before its first call: the program's setting (main module, paths ...), and its initializer.

    The main module's file is read when the executor is made, because the interpreter forgets it at the end of a script.
    The initializer's arguments may be locks and queues of a multiprocessing context other than "fork".
    """

    def __init__(self, initializer: Callable[..., object] | None, initargs: tuple[Any, ...]) -> None:
        """Raises NotPicklable."""
        self._main = Setting.of_this_program()
        self._call: tuple[Any, ...] | None = None if initializer is None else (initializer, tuple(initargs), {})
        self._once = False
        self._packed = None if self._call is None else self._pack(self._call)

    @property
    def has_initializer(self) -> bool:
        """Whether the program has given an initializer."""
        return self._call is not None

    def request(self) -> dict[str, Any]:
        """The arguments of the worker's command INITIALIZE, for one worker. Raises NotPicklable."""
        now = Setting.of_this_program()
        now.main_name, now.main_path = self._main.main_name, self._main.main_path
        setting = {"setting": now.write()}
        if self._call is None:
            return setting
        data, buffers = packed = self._packed or self._pack(self._call)
        self._packed = None if self._once else packed
        return {**setting, "initializer": data, "buffers": buffers}

    def _pack(self, call: tuple[Any, ...]) -> Pickled:
        try:
            return dump(call)
        except Exception:
            self._once = True  # a descriptor, for example, can be handed over only once
        former = context.get_spawning_popen()
        context.set_spawning_popen(_HandOver())  # type: ignore[arg-type]
        try:
            return bytes(reduction.ForkingPickler.dumps(call, PROTOCOL)), []
        except Exception as error:
            raise NotPicklable(f"{name_of(call[0])}: the call cannot be pickled: {_why(error)}") from error
        finally:
            context.set_spawning_popen(former)


class _HandOver:
    """Takes the place of a process that multiprocessing starts, because locks and queues are pickled only for those."""

    DupFd = staticmethod(resource_sharer.DupFd)

    def duplicate_for_child(self, fd: int) -> int:
        """Keep the descriptor open for the worker, as multiprocessing.popen_spawn_posix does."""
        return fd


def request_of_each(function: Callable[..., Any], calls: list[tuple[Any, ...]], limit_s: float) -> dict[str, Any]:
    """The arguments of CALL for several calls of one function, in one process, for about `limit_s` seconds.

    Raises NotPicklable.
    """
    try:
        data, buffers = dump((function, calls))
    except BaseException as error:
        raise NotPicklable(f"{name_of(function)}: the calls cannot be pickled: {_why(error)}") from error
    return {"call": data, "buffers": buffers, "needs_initialize": True, "each_s": limit_s}


def unpack_each(answer: Any, function: object) -> list[tuple[Any, BaseException | None]] | None:  # noqa: ANN401
    """Decode a worker's answers to the first of several calls, as `unpack` does; None if no call was run."""
    match answer:
        case {"values": bytes(data), "sizes": list(sizes)}:
            found, at = [], 0
            with memoryview(data) as view:
                for size in sizes:
                    found.append(_read(view[at : at + size], (), function, None))
                    at += size
            return found
        case {"each": list(answers)}:
            return [unpack(one, function) for one in answers]
        case {"unpicklable": _, "ran": False}:
            return None
    return [unpack(answer, function)]


def is_uninitialized(answer: object) -> bool:
    """Return whether the worker asks to be initialized first; then it has not run the call."""
    return isinstance(answer, dict) and "uninitialized" in answer


def unpack(
    answer: Any,  # noqa: ANN401 - any JSON
    function: object,
    *,
    caught: type[BaseException] = BaseException,
) -> tuple[Any, BaseException | None]:
    """Decode a worker's response: a result and None, or None and the exception for the call's future.

    `caught` is as in `pack`: whatever else a `__setstate__` raises is raised.
    """
    match answer:
        case {"value": bytes(data)}:
            return _read(data, answer.get("buffers", ()), function, None, caught)
        case {"raised": bytes(data), "traceback": str(trace)}:
            raised, problem = _read(data, answer.get("buffers", ()), function, trace, caught)
            if problem is None and not isinstance(raised, BaseException):  # a __reduce__ that returns something else
                problem = NotPicklable(f"{name_of(function)}: its exception was read as {raised!r:.100}", sent=Sent.YES)
            return None, _caused_by(problem or raised, trace)
        case {"unpicklable": str(what), "reason": str(reason), "traceback": str(trace), "ran": ran}:
            sent = Sent.YES if ran else Sent.MAYBE
            return None, _caused_by(NotPicklable(f"{name_of(function)}: {what}: {reason}", sent=sent), trace)
    return None, CommandError(f"the worker's answer to {CALL!r} is invalid: {answer!r:.100}")


def as_broken(error: BaseException, ended_by: str = "") -> BaseException:
    """Convert a pool error to the error that callers of a process pool expect: a subclass of BrokenProcessPool.

    `ended_by` says what has ended all workers.
    """
    told: CallCrashed | WorkersUnavailable
    match error:
        case PoolClosed() | WorkerCrashed() if ended_by:
            told = CallCrashed(ended_by, sent=error.sent, worker_id=error.worker_id)
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


def _read(
    data: bytes | memoryview,
    buffers: Iterable[Part],
    function: object,
    trace: str | None,
    caught: type[BaseException] = BaseException,
) -> tuple[Any, BaseException | None]:
    # A result, or the exception with this traceback.
    try:
        return pickle.loads(data, buffers=buffers), None
    except caught as error:
        what = f"{name_of(function)}: {'the result' if trace is None else 'its exception'}"
        told = NotPicklable(f"{what} cannot be read: {_summary(error)}", sent=Sent.YES)
        if trace is None:
            told.__cause__ = error
        return None, told


def _caused_by(error: BaseException, trace: str) -> BaseException:
    _CAUSE.__set__(error, RemoteTraceback(trace))
    return error


def _why(error: BaseException) -> str:
    text = _summary(error)
    if "through inheritance" in text or "fork context" in text:  # a lock or queue of multiprocessing
        text += (
            "; pass a manager's proxy, or make it with multiprocessing.get_context('spawn') and pass it in `initargs`"
        )
    return text


def _summary(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except BaseException:  # its `__str__` can raise anything
        return type(error).__name__
