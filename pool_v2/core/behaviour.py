"""The hooks of an application in the life of a worker: start, checkout, checkin, messages, pings and end.

Pure. No hook runs under a lock of the pool.

Rules
1. `init_pool` runs in the constructor's thread, `terminate_pool` in its own thread. The hooks of a call (`enqueue`,
   `checkout`, `checkin`, `update`, `cancelled`) run in the client's thread, for several clients at once; shared data in
   `pool_state` needs its own lock. The other hooks run in threads of the pool: each `init_worker` in its own, the
   `terminate_worker` hooks one after another in a second thread, `message` and `ping` one after another in a third. If
   a client checks a worker out before the pool has delivered a `message` to it, the hook `message` runs in the client's
   thread.
2. A hook returns Ok, Remove, Skip or Stop; each hook's docstring says which of these it may return. `terminate_*` and
   `cancelled` return nothing; exceptions that they raise are logged and dropped.
3. If a hook with a worker (`init_worker`, `checkout`, `checkin`, `message`, `ping`) raises, the worker is ended with
   the exception as its reason. The client is not affected.
4. If a hook returns a value that it may not return, this is a HookError with the expected and the actual value. For
   `enqueue`, `update` and `checkout` the client gets the error; for the others it is the reason of the worker's end.
5. `terminate_worker` gets the first reason of a worker's end. It is called once for every worker that `init_worker`
   accepted, before `terminate_pool`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from poolproof.bridge import ConfigError, HookError

MOST_CHARACTERS = 200


class Ok(msgspec.Struct, frozen=True):
    """Continue with this state (or command, from `enqueue`); `client` is the value of a checkout for its client."""

    state: Any = None
    client: Any = None


class Remove(msgspec.Struct, frozen=True):
    """End this worker for this reason. It is replaced, and a checkout tries another worker."""

    reason: Any


class Skip(msgspec.Struct, frozen=True):
    """Raise `error` in the client; the worker is kept."""

    error: BaseException


class Stop(msgspec.Struct, frozen=True):
    """Close the whole pool for this reason."""

    reason: Any


Answer = Ok | Remove | Skip | Stop


class WorkerBehaviour:
    """The hooks, with defaults that do nothing. `state` belongs to a worker, `pool_state` to the pool.

    A subclass overrides the hooks that it needs. The argument `worker` of `init_worker` and `ping` executes commands
    like a lease; these calls are the pool's own and count in no statistics.
    """

    def init_pool(self) -> Any:  # noqa: ANN401 - the application's own
        """Called once, before the first worker starts. Returns the pool's state; the constructor raises its errors."""
        return None

    def init_worker(self, worker: Any, pool_state: Any) -> Answer:  # noqa: ANN401
        """Called after a worker's init ping succeeded. Returns Ok(state), or Remove, which counts as a failed start.

        The hook has its own `start_timeout_s`: a worker whose hook takes longer is ended and replaced.
        """
        return Ok()

    def enqueue(self, command: Any, pool_state: Any) -> Answer:  # noqa: ANN401
        """Called when a call comes in. Returns Ok(command), the command for the checkout hook, or Skip.

        The request itself is not changed.
        """
        return Ok(command)

    def checkout(self, command: Any, state: Any, pool_state: Any) -> Answer:  # noqa: ANN401
        """Called when a client gets this worker. Returns Ok(state, client), Skip, or Remove (tries another worker)."""
        return Ok(state)

    def checkin(self, client: Any, state: Any, pool_state: Any) -> Answer:  # noqa: ANN401
        """Called when a client has finished with a worker that can serve again. Returns Ok(state) or Remove."""
        return Ok(state)

    def update(self, message: Any, state: Any) -> Answer:  # noqa: ANN401
        """Called when a client publishes a message while it holds the worker. Returns Ok(state)."""
        return Ok(state)

    def message(self, message: Any, state: Any) -> Answer:  # noqa: ANN401
        """Called with a broadcast for an idle worker, before the worker serves again. Returns Ok(state) or Remove."""
        return Ok(state)

    def ping(self, worker: Any, state: Any) -> Answer:  # noqa: ANN401
        """Called when the worker has been idle for the ping interval. Returns Ok(state), Remove, or Stop.

        `ping_timeout_s` bounds all commands of the hook together: a worker that takes longer is ended.
        """
        worker.execute("ping", {})
        return Ok(state)

    def terminate_worker(self, reason: Any, state: Any) -> None:  # noqa: ANN401
        """Called when the worker has ended. `reason` is what a client or a hook raised, a hook's own reason, or a word.

        The words: "down": the client's thread has ended, or the lease was dropped. "exited": the worker ended by itself
        while idle. "retired": the worker reached a limit, or there were too many workers. "close": the pool was closed.
        """

    def terminate_pool(self, reason: Any, pool_state: Any) -> None:  # noqa: ANN401
        """Called when all workers have ended; `reason` is the reason of a Stop, or "close"."""

    def cancelled(self, context: str, pool_state: Any) -> None:  # noqa: ANN401
        """Called when a client gives up: `context` is "queued" (a timeout) or "checked_out" (the client raised)."""


HOOKS = tuple(name for name in vars(WorkerBehaviour) if not name.startswith("_"))


def require_behaviour(behaviour: object) -> None:
    """Raise ConfigError unless `behaviour` has every hook."""
    missing = [name for name in HOOKS if not callable(getattr(behaviour, name, None))]
    if isinstance(behaviour, type) or missing:
        lacks = (
            "the argument is a class, not an object"
            if isinstance(behaviour, type)
            else f"the object lacks {', '.join(missing)}"
        )
        raise ConfigError(f"behaviour {told(behaviour)}: must be a WorkerBehaviour; {lacks}")


def checked(hook: str, answer: object, *allowed: type[Answer]) -> Any:  # noqa: ANN401
    """Return the answer if it is of an allowed type. Raises HookError with the expected and the actual answer."""
    expected = " or ".join(kind.__name__ for kind in allowed)
    if not isinstance(answer, allowed):
        raise HookError(f"the hook {hook!r} must return {expected}; it returned {told(answer)}")
    if isinstance(answer, Skip) and not isinstance(answer.error, BaseException):
        raise HookError(f"the hook {hook!r} must skip with an exception; it returned {told(answer)}")
    return answer


def told(value: object) -> str:
    """Return a repr of at most MOST_CHARACTERS characters, or the type's name if repr fails."""
    try:
        return f"{value!r:.{MOST_CHARACTERS}}"
    except Exception:
        return f"a {type(value).__name__}"
