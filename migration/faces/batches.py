"""Batches of a migrating pool: many calls of one command, all on the pool that serves the batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from poolproof.bridge import PoolError
from poolproof.bridge.clock import now_ns, remaining_s
from poolproof.bridge.config import duration
from poolproof.migration.plan import Side
from poolproof.migration.turns import Turn, Turns

LEAST_S = 0.001


def run_batch(
    pools: Mapping[Side, Any],
    turns: Turns,
    execute: Callable[..., Any],
    command: str,
    items: list[dict[str, Any]],
    session: str | None,
    return_errors: bool,
    limits: dict[str, float | None],
) -> list[Any]:
    """Run the batch; `execute` runs one call of a session. Raises the first error, unless `return_errors` is set."""
    if session is not None:
        return _one_by_one(execute, command, items, session, return_errors, limits)
    turn = turns.take(command)
    pool, side = pools[turn.side], turn.side
    turn.drop()
    if not hasattr(pool, "execute_many"):
        return _one_by_one(_reported(pool.execute, turns, side), command, items, None, return_errors, limits)
    calls = [turns.on(side) for _ in items]
    try:
        found: list[Any] = pool.execute_many(command, items, return_errors=True, **limits)
    except BaseException as error:
        end_all(calls, type(error).__name__ if isinstance(error, Exception) else "Cancelled")
        raise
    return settle(calls, found, return_errors)


def settle(calls: list[Turn], found: list[Any], return_errors: bool) -> list[Any]:
    """Report what each call of a batch ended with. Raises the first error, unless `return_errors` is set."""
    for call, value in zip(calls, found, strict=True):
        call.end(type(value).__name__ if isinstance(value, PoolError) else "result")
    if not return_errors:
        for number, value in enumerate(found):
            if isinstance(value, PoolError):
                value.add_note(f"this was item {number} of {len(found)}")
                raise value
    return found


def end_all(calls: list[Turn], outcome: str) -> None:
    """End every call of a batch with this outcome."""
    for call in calls:
        call.end(outcome)


def _reported(execute: Callable[..., Any], turns: Turns, side: Side) -> Callable[..., Any]:
    def run(command: str, item: dict[str, Any], **limits: Any) -> Any:  # noqa: ANN401
        call, outcome = turns.on(side), "Cancelled"
        try:
            value = execute(command, item, **limits)
            outcome = "result"
            return value
        except Exception as error:
            outcome = type(error).__name__
            raise
        finally:
            call.end(outcome)

    return run


def _one_by_one(
    execute: Callable[..., Any],
    command: str,
    items: list[dict[str, Any]],
    session: str | None,
    return_errors: bool,
    limits: dict[str, float | None],
) -> list[Any]:
    timeout_s = limits["timeout_s"]
    until_ns = None if timeout_s is None else now_ns() + int(duration("timeout_s", timeout_s) * 1e9)
    found: list[Any] = []
    first: PoolError | None = None
    for number, item in enumerate(items):
        rest_s = None if until_ns is None else max(remaining_s(until_ns), LEAST_S)
        try:
            found.append(execute(command, item, session=session, **{**limits, "timeout_s": rest_s}))
        except PoolError as error:
            found.append(error)
            if first is None:
                error.add_note(f"this was item {number} of {len(items)}")
                first = error
    if first is not None and not return_errors:
        raise first
    return found
