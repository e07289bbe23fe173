"""What an application may add to the life of a worker: hooks around start, checkout, checkin, messages, pings and end.

Pure. No hook runs under a lock of the pool.

Rules
1. `init_pool` runs in the constructor's thread, `terminate_pool` in a thread of its own. The hooks of a call
   (`enqueue`, `checkout`, `checkin`, `update`, `cancelled`) run in its client's thread, several clients at once; what
   `pool_state` holds needs a lock of its own. The others run in threads of the pool, one after another, but for
   `init_worker`, which has a thread for each worker; a `message` that a client outruns is told in its thread.
2. A hook answers with Ok, Remove, Skip or Stop; each says which of them it may. `terminate_*` and `cancelled` answer
   nothing; what they raise is logged and dropped.
3. A hook with a worker (`init_worker`, `checkout`, `checkin`, `message`, `ping`) that raises costs that worker, which
   is ended with the exception as its reason, and never its client.
4. An answer that a hook may not give is a HookError that says what was expected and what came. The client gets it from
   `enqueue`, `update` and `checkout`; from the others it is the reason of the worker's end.
5. The first reason of a worker's end is the one that `terminate_worker` hears. It hears of every worker that
   `init_worker` took, once, before `terminate_pool`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from poolproof.bridge import ConfigError, HookError

MOST_CHARACTERS = 200


class Ok(msgspec.Struct, frozen=True):
    """Go on, with this state (or command, from `enqueue`); `client` is what a checkout gives its client."""

    state: Any = None
    client: Any = None


class Remove(msgspec.Struct, frozen=True):
    """End this worker for this reason; it is replaced, and a checkout tries another one."""

    reason: Any


class Skip(msgspec.Struct, frozen=True):
    """Raise this in the client; the worker is kept."""

    error: BaseException


class Stop(msgspec.Struct, frozen=True):
    """End the whole pool for this reason."""

    reason: Any


Answer = Ok | Remove | Skip | Stop


class WorkerBehaviour:
    """The hooks, which do nothing here. `state` is a worker's own, `pool_state` the pool's.

    A subclass overrides what it needs. `worker` in `init_worker` and `ping` executes commands as a lease does; these
    are the pool's own and count in no statistics.
    """

    def init_pool(self) -> Any:  # noqa: ANN401 - the application's own
        """Once, before the first worker; gives the pool's state. What it raises is raised by the constructor."""
        return None

    def init_worker(self, worker: Any, pool_state: Any) -> Answer:  # noqa: ANN401
        """A worker has answered its init ping. Ok(state); Remove counts as a failed start, which is tried again.

        `start_timeout_s` holds for it anew: a worker whose hook takes longer is ended and replaced.
        """
        return Ok()

    def enqueue(self, command: Any, pool_state: Any) -> Answer:  # noqa: ANN401
        """A call comes in. Ok(command), which is what the checkout hook gets; or Skip. The request stays as it is."""
        return Ok(command)

    def checkout(self, command: Any, state: Any, pool_state: Any) -> Answer:  # noqa: ANN401
        """A client gets this worker. Ok(state, client); Remove, and another worker is tried; or Skip."""
        return Ok(state)

    def checkin(self, client: Any, state: Any, pool_state: Any) -> Answer:  # noqa: ANN401
        """A client is done with it, and it can serve another. Ok(state) or Remove."""
        return Ok(state)

    def update(self, message: Any, state: Any) -> Answer:  # noqa: ANN401
        """A client publishes something while it holds the worker. Ok(state)."""
        return Ok(state)

    def message(self, message: Any, state: Any) -> Answer:  # noqa: ANN401
        """A broadcast reaches a worker that was idle, before it serves anybody. Ok(state) or Remove."""
        return Ok(state)

    def ping(self, worker: Any, state: Any) -> Answer:  # noqa: ANN401
        """The worker has been idle for the ping interval. Ok(state), Remove, or Stop.

        `ping_timeout_s` holds for all that it executes: a worker that takes longer is ended.
        """
        worker.execute("ping", {})
        return Ok(state)

    def terminate_worker(self, reason: Any, state: Any) -> None:  # noqa: ANN401
        """The worker has ended. `reason` is what a client or a hook raised, a hook's own reason, or one of these words.

        "down": its client's thread has ended, or the lease was dropped. "exited": it ended by itself while idle.
        "retired": it has served enough, or is too many. "close": the pool was closed.
        """

    def terminate_pool(self, reason: Any, pool_state: Any) -> None:  # noqa: ANN401
        """All workers have ended; `reason` is Stop's, or "close"."""

    def cancelled(self, context: str, pool_state: Any) -> None:  # noqa: ANN401
        """A client went away: `context` is "queued" (a timeout) or "checked_out" (it raised)."""


HOOKS = tuple(name for name in vars(WorkerBehaviour) if not name.startswith("_"))


def require_behaviour(behaviour: object) -> None:
    """Raise ConfigError unless this object has every hook."""
    missing = [name for name in HOOKS if not callable(getattr(behaviour, name, None))]
    if isinstance(behaviour, type) or missing:
        lacks = "it is a class, not an object" if isinstance(behaviour, type) else f"it lacks {', '.join(missing)}"
        raise ConfigError(f"behaviour {told(behaviour)}: a WorkerBehaviour; {lacks}")


def checked(hook: str, answer: object, *allowed: type[Answer]) -> Any:  # noqa: ANN401
    """The answer, if it is one of the allowed. Raises HookError that says what was expected and what came."""
    expected = " or ".join(kind.__name__ for kind in allowed)
    if not isinstance(answer, allowed):
        raise HookError(f"the hook {hook!r} must answer {expected}; it answered {told(answer)}")
    if isinstance(answer, Skip) and not isinstance(answer.error, BaseException):
        raise HookError(f"the hook {hook!r} must skip with an exception; it answered {told(answer)}")
    return answer


def told(value: object) -> str:
    """What came, in so many characters at most; also if it cannot tell itself."""
    try:
        return f"{value!r:.{MOST_CHARACTERS}}"
    except Exception:
        return f"a {type(value).__name__}"
