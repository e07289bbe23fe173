"""Any callable as a subject: a client that takes a command with its arguments, and blocks until the answer."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

from poolproof.bridge import Capability, PoolConfig
from poolproof.harness.model.errors import UsageError
from poolproof.harness.subjects.own.engine import CRASHES, OwnCall, at_once, opened, takes
from poolproof.harness.subjects.own.executor import Restart
from poolproof.harness.subjects.own.pool import OwnPools
from poolproof.harness.subjects.own.processes import descendants, kill_one


def callable_pool(call: Callable[..., Any], *, sessions: bool = False, restart: Restart = False) -> OwnPools:
    """Make a factory of pools from `call(command, args, session=None)`, or from a class or factory of such clients.

    A class, or a function without required arguments, is called for each pool; it may take the number of workers, and
    what it makes has a method `call` or is called itself. It is closed by its method `close`, if it has one. `sessions`
    says that calls of one session share its state. `restart` is as for `executor_pool`. Many threads call at the same
    time. No timeout is put on a call: a call that never returns ends the run by its budget.
    """
    require_callable(call)
    capabilities = {Capability.SESSIONS} if sessions else set()
    return OwnPools(
        name="callable",
        summary=f"the callable {getattr(call, '__name__', type(call).__name__)}",
        open=lambda config: CallableEngine(client_of(call, config), restart),
        capabilities=frozenset(capabilities | ({Capability.RESTART} if restart else set())),
    )


def require_callable(call: object) -> None:
    """Raise UsageError if the object cannot be called."""
    if not callable(call):
        raise UsageError(f"{call!r:.80} cannot be called: a function, a class or a factory of clients is needed")


def client_of(call: Callable[..., Any], config: PoolConfig) -> Any:  # noqa: ANN401 - the user's client
    """Return the user's function itself, or the client that the user's class or factory makes."""
    if isinstance(call, type) or not takes(call, 1):
        return opened(call, config)
    return call


def method_of(client: Any) -> Callable[..., Any]:  # noqa: ANN401
    """Return the method `call` of a client, or the client itself. Raises UsageError if it can do neither."""
    method = getattr(client, "call", None) or client
    if not callable(method):
        raise UsageError(f"{client!r:.80} has no method `call`, and cannot be called itself")
    found: Callable[..., Any] = method
    return found


def arguments_of(method: Callable[..., Any]) -> Callable[[OwnCall], tuple[Any, ...]]:
    """Return a function from a call to the arguments for this method: (request), (command, args) or with a session."""
    with contextlib.suppress(TypeError, ValueError):
        signature = inspect.signature(method)
        if _fits(signature, 3) or "session" in signature.parameters:
            return lambda call: (call.command, call.args, call.session)
        if _fits(signature, 2):
            return lambda call: (call.command, call.args)
        if _fits(signature, 1):
            return lambda call: (call.args,)
    return lambda call: (call.command, call.args, call.session)


def _fits(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


class CallableEngine:
    """One client that the user has made. Each call runs in the thread that requests it."""

    crashes: tuple[type[BaseException], ...] = CRASHES
    refusals: tuple[type[BaseException], ...] = ()
    cancels_running = False
    crash_is_own = True

    def __init__(self, client: Any, restart: Restart) -> None:  # noqa: ANN401
        self._client = client
        self._restart = restart
        self._method = method_of(client)
        self._arguments = arguments_of(self._method)
        self._before = descendants()
        self._kills = 0

    def submit(self, function: Callable[[Any], Any], argument: OwnCall) -> Future[Any]:
        """Make the call in this thread."""
        return at_once(partial(self._method, *self._arguments(argument)))

    def end(self, *, busy: bool) -> None:
        """Close the client."""
        close = getattr(self._client, "close", None)
        if callable(close):
            close()

    def restart(self) -> str:
        """Kill one process below this one, or let the user's function restart the workers."""
        if callable(self._restart):
            return f"restarted by {getattr(self._restart, '__name__', 'a function')}: {self._restart(self._client)}"
        self._kills += 1
        return f"SIGKILL to process {kill_one(self._before, self._kills)}"
