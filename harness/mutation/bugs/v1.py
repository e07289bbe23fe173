"""Bugs in the parts of V1: the manager, the mailbox and the public API. Entry point."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from poolproof.bridge import CheckoutTimeout, WorkerCrashed
from poolproof.bridge.processes.channel import Channel
from poolproof.harness.mutation.mutant import V1, Registry
from poolproof.harness.mutation.planting import replace
from poolproof.pool_v1 import PoolV1
from poolproof.pool_v1.mailbox import Mailbox, Message
from poolproof.pool_v1.manager import Manager

REGISTRY = Registry()
LONG_S = 60.0
LIVES = "only the pool's events show how many workers live at the same time"


@REGISTRY.bug(V1, breaks=("G3",), scenarios=("two_timeouts",))
def v1_one_timeout_for_all() -> None:
    """A timeout of the wait for an answer raises CheckoutTimeout, the error of the wait for a worker."""
    replace(PoolV1, "execute", _as_checkout_timeout)


def _as_checkout_timeout(execute: Any) -> Any:
    def confused(self: Any, *args: Any, **options: Any) -> Any:
        try:
            return execute(self, *args, **options)
        except TimeoutError as error:
            raise CheckoutTimeout(str(error)) from error

    return confused


@REGISTRY.bug(V1, breaks=("G4",), scenarios=("worker_crash",))
def v1_tries_again() -> None:
    """A call whose worker died is repeated, whatever the call was."""

    def stubborn(execute: Any) -> Any:
        def again(self: PoolV1, *args: Any, **options: Any) -> Any:
            try:
                return execute(self, *args, **options)
            except WorkerCrashed:
                return execute(self, *args, **options)

        return again

    replace(PoolV1, "execute", stubborn)


@REGISTRY.bug(V1, breaks=("G8",), scenarios=("lost_worker",))
def v1_dead_worker_kept() -> None:
    """A worker that crashed stays in the manager's state."""
    replace(
        Manager,
        "_end",
        lambda end: lambda self, worker, reason: end(self, worker, reason) if reason == "close" else None,
    )


@REGISTRY.bug(V1, breaks=("G11",), scenarios=("late_answer",))
def v1_no_deadline() -> None:
    """A caller waits for its answer without a limit."""
    replace(Message, "wait", lambda wait: lambda self, timeout_s: wait(self, LONG_S))


@REGISTRY.bug(V1, breaks=("G2",), scenarios=("one_holder",))
def v1_manager_bypassed() -> None:
    """Callers do the manager's work in their own threads, so two may use one worker."""

    class Direct(Message):
        __slots__ = ()

        def wait(self, timeout_s: float) -> bool:
            if not self.finished:
                try:
                    self.finish(self.work())
                except BaseException as error:
                    self.finish(error=error)
            return True

    def direct(_: Any) -> Any:
        def do_it_here(self: Manager, work: Callable[[], Any]) -> Message:
            self.process_manager.require_owner()
            return Direct(work)

        return do_it_here

    replace(Manager, "ask", direct)


@REGISTRY.bug(V1, breaks=("G14",), scenarios=("few_calls",), observed_because=LIVES)
def v1_one_worker_too_many() -> None:
    """The warm-up starts one worker more than the pool may have."""
    replace(Manager, "warm_up", lambda warm_up: lambda self, n: warm_up(self, n + 1))


@REGISTRY.bug(V1, breaks=("G13",), scenarios=("silent_start",))
def v1_init_timer_endless() -> None:
    """A starting worker that sends frames, but no answer to its init ping, is never ended."""

    def patient(handshake: Any) -> Any:
        def much_later(self: Channel, *, deadline_ns: int) -> None:
            handshake(self, deadline_ns=deadline_ns + int(LONG_S * 1e9))

        return much_later

    replace(Channel, "handshake", patient)


@REGISTRY.bug(V1, breaks=("G17",), scenarios=("session_state",))
def v1_session_roams() -> None:
    """A session's call goes to the next worker in turn, whichever that is."""
    replace(Manager, "_pick", lambda pick: lambda self, session: pick(self, None))


@REGISTRY.bug(V1, breaks=("G19",), scenarios=("session_counters",))
def v1_counters_reset() -> None:
    """A session's counter restarts with each of its calls."""

    def resetting(call: Any) -> Any:
        def forget(self: Manager, number: int, frame: bytearray, session_id: str | None) -> Any:
            if session_id in self._sessions:
                self._sessions[session_id].operations = 0
            return call(self, number, frame, session_id)

        return forget

    replace(Manager, "call", resetting)


@REGISTRY.bug(V1, breaks=("G19",), scenarios=("session_threads",))
def v1_counter_stops() -> None:
    """A session's counter counts its first two calls only."""

    def lazy(call: Any) -> Any:
        def stop(self: Manager, number: int, frame: bytearray, session_id: str | None) -> Any:
            result = call(self, number, frame, session_id)
            if session_id is not None:
                self._sessions[session_id].operations = min(2, self._sessions[session_id].operations)
            return result

        return stop

    replace(Manager, "call", lazy)


@REGISTRY.bug(V1, breaks=("G22",), scenarios=("close_under_load",))
def v1_waiters_not_told() -> None:
    """Callers that wait while the pool is closed are not woken."""

    def silent(close: Any) -> Any:
        def forget(self: Mailbox) -> bool:
            with self._lock:
                self._waiting.clear()
            closed: bool = close(self)
            return closed

        return forget

    replace(Mailbox, "close", silent)


@REGISTRY.bug(V1, breaks=("G22",), scenarios=("close_twice",))
def v1_second_close_raises() -> None:
    """Closing a closed pool raises an error."""
    replace(PoolV1, "close", _once_only)


def _once_only(close: Any) -> Any:
    def once(self: Any, grace_s: float | None = None) -> None:
        if self.status().state == "closed":
            raise RuntimeError("the pool is closed")
        close(self, grace_s)

    return once


@REGISTRY.bug(V1, breaks=("G27",), scenarios=("command_errors",))
def v1_errors_not_counted() -> None:
    """The pool's statistics omit command errors."""
    replace(PoolV1, "status", _without_errors)


def _without_errors(status: Any) -> Any:
    def cleaned(self: Any) -> Any:
        told = status(self)
        outcomes = {name: n for name, n in told.statistics.outcomes.items() if name != "CommandError"}
        return msgspec.structs.replace(told, statistics=msgspec.structs.replace(told.statistics, outcomes=outcomes))

    return cleaned
