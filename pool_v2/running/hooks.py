"""Calls the behaviour's hooks, each in the right thread, and converts their results for the pool.

No hook runs under the pool's lock. If a hook raises, its worker is ended with that reason; the client is not affected.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from poolproof.bridge import HookError, LeaseError
from poolproof.pool_v2.core.behaviour import Ok, Remove, Skip, Stop, WorkerBehaviour, checked, require_behaviour, told
from poolproof.pool_v2.core.ticket import Ticket
from poolproof.pool_v2.core.worker_table import Worker

LAST_HOOK_TIMEOUT_S = 5.0
"""How long `close` waits for `terminate_pool`, in seconds."""
logger = logging.getLogger(__name__)


class Removed(Exception):
    """A hook wants its worker ended; the only argument is the reason."""


class Spoilt(Removed):
    """A hook returned an invalid value: the worker is ended, and the client gets the HookError in the only argument."""


class Stopped(Exception):
    """A hook wants the whole pool closed; the only argument is the reason."""


class Hooks:
    """The hooks of one pool. `active` is false if there is no behaviour: then callers can skip the hooks.

    Raises ConfigError for an object that is no behaviour.
    """

    def __init__(self, behaviour: WorkerBehaviour | None) -> None:
        if behaviour is not None:
            require_behaviour(behaviour)
        self.active = behaviour is not None
        self._behaviour = WorkerBehaviour() if behaviour is None else behaviour
        self.pool_state: Any = None
        self.stop_reason: Any = "close"

    def overrides(self, hook: str) -> bool:
        """Return whether the behaviour overrides this hook."""
        return getattr(getattr(self._behaviour, hook), "__func__", None) is not getattr(WorkerBehaviour, hook)

    def init_pool(self) -> None:
        """Run `init_pool` once, in the constructor's thread. Raises what the hook raises."""
        self.pool_state = self._behaviour.init_pool()

    def init_worker(self, lease: Any, worker: Worker) -> None:  # noqa: ANN401 - a Lease
        """Run `init_worker` and set the worker's state. Raises Removed if the hook rejects the worker."""
        worker.state = self._ask("init_worker", (Ok, Remove), lease, self.pool_state).state

    def enqueue(self, command: Any) -> Any:  # noqa: ANN401
        """Run `enqueue` and return the command to continue with. Raises the error of a Skip, or HookError."""
        answer = self._ask_for_client("enqueue", (Ok, Skip), command, self.pool_state)
        if isinstance(answer, Skip):
            raise answer.error
        return answer.state

    def checkout(self, command: Any, ticket: Ticket) -> Any:  # noqa: ANN401
        """Run `checkout` and return the client's value. Raises Removed, or the error of a Skip."""
        worker = _worker_of(ticket)
        answer = self._ask("checkout", (Ok, Remove, Skip), command, worker.state, self.pool_state)
        if isinstance(answer, Skip):
            raise answer.error
        worker.state = answer.state
        return answer.client

    def checkin(self, client: Any, ticket: Ticket) -> None:  # noqa: ANN401
        """Run `checkin` and set the worker's state. Raises Removed."""
        worker = _worker_of(ticket)
        worker.state = self._ask("checkin", (Ok, Remove), client, worker.state, self.pool_state).state

    def update(self, ticket: Ticket, message: Any) -> None:  # noqa: ANN401
        """Run `update` and set the worker's state. Raises HookError, or LeaseError if the worker is gone."""
        worker = ticket.worker
        if worker is None:
            raise LeaseError("this lease has lost its worker")
        worker.state = self._ask_for_client("update", (Ok,), message, worker.state).state

    def message(self, message: Any, ticket: Ticket) -> None:  # noqa: ANN401
        """Run `message` and set the worker's state. Raises Removed."""
        worker = _worker_of(ticket)
        worker.state = self._ask("message", (Ok, Remove), message, worker.state).state

    def ping(self, lease: Any, ticket: Ticket) -> None:  # noqa: ANN401
        """Run `ping` and set the worker's state. Raises Removed or Stopped."""
        worker = _worker_of(ticket)
        answer = self._ask("ping", (Ok, Remove, Stop), lease, worker.state)
        if isinstance(answer, Stop):
            raise Stopped(answer.reason)
        worker.state = answer.state

    def terminate_worker(self, reason: Any, state: Any) -> None:  # noqa: ANN401
        """Run `terminate_worker` after the worker has ended."""
        self._tell("terminate_worker", reason, state)

    def terminate_pool(self) -> None:
        """Run `terminate_pool` after the pool has ended. Waits at most LAST_HOOK_TIMEOUT_S seconds for it."""
        if self.overrides("terminate_pool"):
            args = ("terminate_pool", self.stop_reason, self.pool_state)
            last = threading.Thread(target=self._tell, args=args, name="pool-v2-terminate", daemon=True)
            last.start()
            last.join(LAST_HOOK_TIMEOUT_S)

    def cancelled(self, context: str) -> None:
        """Run `cancelled` after a client has given up."""
        if self.active:
            self._tell("cancelled", context, self.pool_state)

    def _ask(self, hook: str, allowed: tuple[Any, ...], *args: Any) -> Any:  # noqa: ANN401
        try:
            answer = getattr(self._behaviour, hook)(*args)
        except Exception as error:
            raise Removed(error) from error
        try:
            checked(hook, answer, *allowed)
        except HookError as error:
            raise Spoilt(error) from error
        if isinstance(answer, Remove):
            raise Removed(answer.reason)
        return answer

    def _ask_for_client(self, hook: str, allowed: tuple[Any, ...], *args: Any) -> Any:  # noqa: ANN401
        try:
            answer = getattr(self._behaviour, hook)(*args)
        except Exception as error:
            raise HookError(f"the hook {hook!r} raised {describe(error)}") from error
        return checked(hook, answer, *allowed)

    def _tell(self, hook: str, *args: Any) -> None:  # noqa: ANN401
        try:
            getattr(self._behaviour, hook)(*args)
        except Exception:
            logger.exception("the hook %r failed", hook)


def _worker_of(ticket: Ticket) -> Worker:
    if ticket.worker is None:
        raise Removed("down")  # the worker has died, and was taken back
    return ticket.worker


def describe(reason: object) -> str:
    """Return a reason as text, for events and logs."""
    try:
        words = str(reason)
    except Exception:
        return told(reason)
    return f"{type(reason).__name__}: {words}" if isinstance(reason, BaseException) else words
