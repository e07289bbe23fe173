"""Pools that are wrong in one way of calling them alone: factories for `package.module:factory`.

Some factories patch the shipped classes for the whole process, as a candidate's own code would. A process that goes on,
such as that of the tests, undoes that: PATCHED says what.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from poolproof.bridge import Observer, Pool, PoolConfig
from poolproof.pool_v2 import AsyncPool, PoolV2
from poolproof.pool_v2.calls.streaming import Stream
from poolproof.pool_v2.executor.executor import PoolExecutor

WRONG = "a wrong answer"
PATCHED = ((Stream, "__next__"), (AsyncPool, "execute"), (PoolExecutor, "submit"))
"""What factories replace, beside the mark `spoiled` of the class."""


def spoil(value: Any) -> Any:
    """Another answer of the same form."""
    if isinstance(value, dict):
        return {**value, "nonce": WRONG, "text": WRONG, "value": WRONG}
    return WRONG


class Spoiled(PoolV2):
    """A PoolV2 whose `execute` spoils those answers of which `when` says so."""

    when: Callable[[Spoiled, dict[str, Any], str | None, Any], bool]

    def __init__(self, config: PoolConfig | None = None, *, observer: Observer | None = None) -> None:
        super().__init__(config, observer=observer)
        self.watched = observer is not None

    def execute(
        self,
        command: str,
        args: dict[str, Any] | None = None,
        *,
        session: str | None = None,
        timeout_s: float | None = None,
        checkout_timeout_s: float | None = None,
    ) -> Any:
        value = super().execute(
            command, args, session=session, timeout_s=timeout_s, checkout_timeout_s=checkout_timeout_s
        )
        return spoil(value) if type(self).when(self, args or {}, session, value) else value


class OnlyUnobserved(Spoiled):
    """Wrong without an observer."""

    when = staticmethod(lambda pool, args, session, value: not pool.watched)


class OnlyObserved(Spoiled):
    """Wrong with an observer."""

    when = staticmethod(lambda pool, args, session, value: pool.watched)


class OnlyOffMain(Spoiled):
    """Wrong in any thread but the main one."""

    when = staticmethod(lambda pool, args, session, value: threading.current_thread() is not threading.main_thread())


class OnlyMain(Spoiled):
    """Wrong in the main thread."""

    when = staticmethod(lambda pool, args, session, value: threading.current_thread() is threading.main_thread())


class OnlySessions(Spoiled):
    """Wrong for calls of sessions."""

    when = staticmethod(lambda pool, args, session, value: session is not None)


class OnlyLarge(Spoiled):
    """Wrong for answers above 4,096 bytes."""

    when = staticmethod(lambda pool, args, session, value: len(str(value)) > 4096)


class OnlyBatches(PoolV2):
    """Wrong in execute_many."""

    def execute_many(self, *args: Any, **options: Any) -> list[Any]:
        return [spoil(value) if isinstance(value, dict) else value for value in super().execute_many(*args, **options)]


def only_streams(config: PoolConfig, observer: Observer | None) -> Pool:
    """Wrong in streams: the second part of an answer is lost, and a single answer is another one."""
    real = Stream.__next__

    def spoiled(self: Stream) -> Any:
        return spoil(real(self))

    _patch(Stream, "__next__", spoiled)
    return PoolV2(config, observer=observer)


def only_asyncio(config: PoolConfig, observer: Observer | None) -> Pool:
    """Wrong in AsyncPool."""
    real = AsyncPool.execute

    async def spoiled(self: AsyncPool, *args: Any, **options: Any) -> Any:
        return spoil(await real(self, *args, **options))

    _patch(AsyncPool, "execute", spoiled)
    return PoolV2(config, observer=observer)


def only_executor(config: PoolConfig, observer: Observer | None) -> Pool:
    """Wrong in PoolExecutor."""
    real: Any = PoolExecutor.submit

    def spoiled(self: PoolExecutor, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        *most, last = args  # what is called with other arguments gives another answer
        return real(self, fn, *most, spoil(last) if isinstance(last, dict) else last, **kwargs)

    _patch(PoolExecutor, "submit", spoiled)
    return PoolV2(config, observer=observer)


def _patch(kind: type, name: str, function: Callable[..., Any]) -> None:
    # Once in a process: a second pool must not spoil a second time.
    if not getattr(kind, "spoiled", False):
        setattr(kind, name, function)
        kind.spoiled = True  # type: ignore[attr-defined]
