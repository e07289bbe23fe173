"""Engines make the calls of a user's own pool. Each engine defines how a call is made and what its errors mean."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future
from typing import Any, Protocol

import msgspec

from poolproof.bridge import PoolConfig
from poolproof.harness.model.errors import UsageError

CRASHES: tuple[type[BaseException], ...] = (BrokenExecutor, ConnectionError, EOFError)
"""Errors that mean, in any engine, that the call's worker has died."""


class OwnCall(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a client: command, arguments and session. `nonce` is the operation's number, for journals."""

    command: str
    args: dict[str, Any]
    session: str | None = None
    timeout_s: float
    nonce: str | None = None


class OwnEngine(Protocol):
    """The interface of an engine: one open pool that the user has made."""

    crashes: tuple[type[BaseException], ...]
    refusals: tuple[type[BaseException], ...]
    cancels_running: bool
    crash_is_own: bool

    def submit(self, function: Callable[[Any], Any], argument: Any) -> Future[Any]:  # noqa: ANN401
        """Make the call `argument`, an OwnCall; `function` is what a worker of an executor runs."""
        ...

    def end(self, *, busy: bool) -> None:
        """Close the user's pool."""
        ...

    def restart(self) -> str:
        """Restart the pool's workers, or kill one; return what was done. Raises ProcessLookupError if impossible."""
        ...


def at_once(function: Callable[[], Any]) -> Future[Any]:
    """Run the function now, in the caller's thread, and return its outcome as a future."""
    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()
    try:
        future.set_result(function())
    except Exception as error:
        future.set_exception(error)
    return future


def opened(made_by: object, config: PoolConfig) -> Any:  # noqa: ANN401 - whatever the user has made
    """Return what the user's class or factory makes; it may take the number of workers."""
    if not callable(made_by):
        raise UsageError(f"{made_by!r:.80} makes no pool: a class or a function is needed")
    return made_by(config.workers) if takes(made_by, 1) else made_by()


def takes(function: Callable[..., Any], count: int) -> bool:
    """Return whether the function must be called with at least `count` positional arguments."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    positional = [
        each
        for each in parameters
        if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD) and each.default is each.empty
    ]
    return len(positional) >= count
