"""Leases and streams of a migrating pool: each is on one pool from its begin to its end, and each call is reported."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from types import TracebackType
from typing import Any, Self

from poolproof.bridge import ConfigError
from poolproof.migration.plan import Side
from poolproof.migration.turns import Turn, Turns


def require(pool: object, side: Side, method: str) -> Callable[..., Any]:
    """Return the method of the pool. Raises ConfigError if it has none: a migration offers what both pools offer."""
    found = getattr(pool, method, None)
    if found is None:
        raise ConfigError(f"{method} needs two pools that have it, and {side} ({type(pool).__name__}) has none")
    return found  # type: ignore[no-any-return]


class _Held:
    # A lease with the reports of its calls. Everything else is the lease's own.

    def __init__(self, lease: Any, begin: Callable[[], Turn]) -> None:  # noqa: ANN401 - the pool's own lease
        self._lease = lease
        self._begin = begin

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._lease, name)


class MigratingLease(_Held):
    """A worker of the pool that served the checkout. The lease stays there, whatever position the migration takes."""

    def execute(self, command: str, args: dict[str, Any] | None = None, *, timeout_s: float | None = None) -> Any:  # noqa: ANN401
        """Run one command on this worker; see the lease of the pool."""
        turn, outcome = self._begin(), "Cancelled"
        try:
            value = self._lease.execute(command, args, timeout_s=timeout_s)
            outcome = "result"
            return value
        except Exception as error:
            outcome = type(error).__name__
            raise
        finally:
            turn.end(outcome)

    def __enter__(self) -> Self:
        self._lease.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lease.__exit__(kind, error, trace)


class AsyncMigratingLease:
    """A MigratingLease for asyncio tasks. The pool is chosen, and the worker leased, when the block is entered."""

    def __init__(self, take: Callable[[], tuple[AbstractAsyncContextManager[Any], Callable[[], Turn]]]) -> None:
        self._take = take
        self._block: AbstractAsyncContextManager[Any] | None = None
        self._lease: Any = None
        self._begin: Callable[[], Turn] | None = None

    async def execute(self, command: str, args: dict[str, Any] | None = None, *, timeout_s: float | None = None) -> Any:  # noqa: ANN401
        """Run one command on this worker; see the lease of the pool."""
        if self._begin is None:
            raise ConfigError("this lease was not entered; use `async with`")
        turn, outcome = self._begin(), "Cancelled"
        try:
            value = await self._lease.execute(command, args, timeout_s=timeout_s)
            outcome = "result"
            return value
        except Exception as error:
            outcome = type(error).__name__
            raise
        finally:
            turn.end(outcome)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._lease, name)

    async def __aenter__(self) -> Self:
        self._block, begin = self._take()
        try:
            self._lease = await self._block.__aenter__()
        except BaseException as error:
            begin().end(type(error).__name__ if isinstance(error, Exception) else "Cancelled")
            raise
        self._begin = begin
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._block is not None, "the block was entered"
        await self._block.__aexit__(kind, error, trace)


class MigratingStream:
    """A response in parts, from the pool that served the call; see the stream of the pool."""

    def __init__(self, stream: Any, turn: Turn) -> None:  # noqa: ANN401
        self._stream = stream
        self._parts: Iterator[Any] = iter(stream)
        self._turn = turn

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:  # noqa: ANN401
        try:
            return next(self._parts)
        except StopIteration:
            self._turn.end("result")
            raise
        except BaseException as error:
            self._turn.end(type(error).__name__ if isinstance(error, Exception) else "Cancelled")
            raise

    def close(self) -> None:
        """Leave the stream."""
        self._turn.end("Cancelled")
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncMigratingStream:
    """A MigratingStream for asyncio: `async with pool.execute_stream(...) as parts: async for part in parts`."""

    def __init__(self, take: Callable[[], tuple[Any, Turn]]) -> None:
        self._take = take
        self._stream: Any = None
        self._parts: AsyncIterator[Any] | None = None
        self._turn: Turn | None = None

    async def __aenter__(self) -> Self:
        self._stream, self._turn = self._take()
        try:
            self._parts = aiter(await self._stream.__aenter__())
        except BaseException as error:
            self._end(error)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._turn is not None:
            self._turn.end("Cancelled")  # unless it has ended
        await self._stream.__aexit__(kind, error, trace)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:  # noqa: ANN401
        if self._parts is None:  # a loop without a block
            self._stream, self._turn = self._take()
            self._parts = aiter(self._stream)
        try:
            return await anext(self._parts)
        except BaseException as error:
            self._end(error)
            raise

    def _end(self, error: BaseException) -> None:
        assert self._turn is not None, "the block was entered"
        if isinstance(error, StopAsyncIteration):
            self._turn.end("result")
        else:
            self._turn.end(type(error).__name__ if isinstance(error, Exception) else "Cancelled")


def open_lease(
    pools: dict[Side, Any], turns: Turns, refusals: tuple[type[Exception], ...], command: object, limits: dict[str, Any]
) -> MigratingLease:
    """Lease a worker of the pool that serves the next call. If v2 refuses with one of `refusals`, lease one of v1."""
    turn = turns.take("checkout")
    try:
        lease: AbstractContextManager[Any] = require(pools[turn.side], turn.side, "checkout")(command, **limits)
    except ConfigError:
        turn.drop()
        raise
    except BaseException as error:
        turn.end(type(error).__name__ if isinstance(error, Exception) else "Cancelled")
        if turn.side is Side.V1 or not isinstance(error, refusals):
            raise
        turn = turns.fall_back(turn)
        lease = require(pools[Side.V1], Side.V1, "checkout")(command, **limits)
    turn.drop()  # a checkout is no call
    side = turn.side
    return MigratingLease(lease, lambda: turns.on(side))
