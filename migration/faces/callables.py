"""Two callables as one: a function, a method of a client, a request to an HTTP service."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Generic, ParamSpec, Self, TypeVar, cast

from poolproof.bridge import ConfigError
from poolproof.migration.control import Moved
from poolproof.migration.faces.switch import Switch, SwitchReport
from poolproof.migration.plan import Plan, Position, Side
from poolproof.migration.sessions import Ledger

P = ParamSpec("P")
T = TypeVar("T")


class Migrating(Generic[P, T]):
    """Calls `v1` or `v2`, by the current position of the migration; made by `migrating`. Use it as a function and as a
    `with` block.

    An exception of the callable passes through and counts as a failure of its side. No call is ever passed to both
    callables. Shadow mode copies no calls here, because only the application knows what may run twice.
    """

    def __init__(
        self,
        v1: Callable[P, T],
        v2: Callable[P, T],
        plan: Plan | None = None,
        *,
        name: str = "",
        on_change: Callable[[Moved], None] | None = None,
    ) -> None:
        if v1 is v2:
            raise ConfigError("v1 and v2 must be two different callables")
        self._sides = {Side.V1: v1, Side.V2: v2}
        self._name = name or getattr(v1, "__name__", type(v1).__name__)
        self.switch = Switch(self._name, plan or Plan(), Ledger(object), on_change)
        functools.update_wrapper(self, v1, updated=())

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the side that serves this call."""
        turn = self.switch.turns.take(self._name)
        call = self._sides[turn.side]
        if inspect.iscoroutinefunction(call):
            return cast(T, self._wait(turn.end, cast(Awaitable[T], call(*args, **kwargs))))
        outcome = "Cancelled"
        try:
            value = call(*args, **kwargs)
            outcome = "result"
            return value
        except Exception as error:
            outcome = type(error).__name__
            raise
        finally:
            turn.end(outcome)

    async def _wait(self, end: Callable[[str], None], awaitable: Awaitable[T]) -> T:
        outcome = "Cancelled"
        try:
            value = await awaitable
            outcome = "result"
            return value
        except Exception as error:
            outcome = type(error).__name__
            raise
        finally:
            end(outcome)

    @property
    def position(self) -> Position:
        """The position of the migration in this process."""
        return self.switch.position

    def report(self) -> SwitchReport:
        """Return the state of the migration and the figures of the guardrails."""
        return self.switch.report()

    def close(self) -> None:
        """Stop following the migration; calls go where they went last."""
        self.switch.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def migrating(v1: Callable[P, T], v2: Callable[P, T], plan: Plan | None = None, **options: Any) -> Migrating[P, T]:  # noqa: ANN401
    """Return a callable (or coroutine function) that calls `v1` or `v2`, by the current position of the migration.

    `name` is what the register calls it (default: the name of v1), `on_change` is called for each change of position.
    """
    return Migrating(v1, v2, plan, **options)
