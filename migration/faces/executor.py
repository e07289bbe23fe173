"""Two executors of concurrent.futures as one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from typing import ParamSpec, TypeVar

from poolproof.bridge import ConfigError, PoolError, Sent
from poolproof.migration.control import Moved
from poolproof.migration.faces.switch import Switch, SwitchReport
from poolproof.migration.plan import Plan, Position, Side
from poolproof.migration.sessions import Ledger
from poolproof.migration.turns import Turn

P = ParamSpec("P")
T = TypeVar("T")


class MigratingExecutor(Executor):
    """v1 and v2 as one executor. Takes ownership of both: `shutdown` shuts both down.

    An exception of the function counts as a failure of its side; a limit is breached only if v2 fails more than v1. If
    v2 refuses a call in `submit`, v1 gets it. Shadow mode copies no calls here. Raises ConfigError, StateError.
    """

    def __init__(
        self,
        v1: Executor,
        v2: Executor,
        plan: Plan | None = None,
        *,
        name: str = "executor",
        on_change: Callable[[Moved], None] | None = None,
    ) -> None:
        if v1 is v2:
            raise ConfigError("v1 and v2 must be two different executors")
        self._sides = {Side.V1: v1, Side.V2: v2}
        self.switch = Switch(name, plan or Plan(), Ledger(object), on_change)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Submit the call to the executor that serves it. Raises what that executor raises."""
        switch = self.switch
        turn = switch.turns.take(getattr(fn, "__qualname__", type(fn).__name__))
        try:
            future = self._sides[turn.side].submit(fn, *args, **kwargs)
        except (RuntimeError, PoolError) as error:
            turn.end(type(error).__name__)
            unsent = not isinstance(error, PoolError) or error.sent is Sent.NO
            if turn.side is Side.V1 or not switch.plan.fall_back or not unsent:
                raise
            turn = switch.turns.fall_back(turn)
            future = self._sides[Side.V1].submit(fn, *args, **kwargs)
        future.add_done_callback(lambda ended: _end(turn, ended))
        return future

    @property
    def position(self) -> Position:
        """The position of the migration in this process."""
        return self.switch.position

    def report(self) -> SwitchReport:
        """Return the state of the migration and the figures of the guardrails."""
        return self.switch.report()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Shut both executors down, as Executor.shutdown does."""
        self.switch.close()
        try:
            self._sides[Side.V1].shutdown(wait=wait, cancel_futures=cancel_futures)
        finally:
            self._sides[Side.V2].shutdown(wait=wait, cancel_futures=cancel_futures)


def _end(turn: Turn, future: Future[T]) -> None:
    if future.cancelled():
        turn.end("Cancelled")
        return
    error = future.exception()
    if isinstance(error, BrokenExecutor):
        turn.end("WorkerCrashed")
    elif isinstance(error, CancelledError):
        turn.end("Cancelled")
    else:
        turn.end("result" if error is None else type(error).__name__)
