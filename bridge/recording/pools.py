"""Pools and executors that record their calls. Each wraps another pool or executor, which does everything else."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from poolproof.bridge.clock import now_ns
from poolproof.bridge.interface import Health, Pool, PoolStatus, SessionStatus
from poolproof.bridge.recording.writer import Recorder
from poolproof.bridge.session_calls import AsyncSessionCalls, SessionCalls

P = ParamSpec("P")
T = TypeVar("T")


class RecordingPool(SessionCalls):
    """A pool that records its calls in `file`. Takes ownership of the pool: `close` closes it, and then the recording.

    Options are those of Recorder: `sample`, `commands`, `scrub`, `max_bytes`. Leases, batches and streams are the
    pool's own, and are not recorded.
    """

    def __init__(self, pool: Pool, file: str | os.PathLike[str], **options: Any) -> None:  # noqa: ANN401
        self._pool = pool
        self.version = pool.version
        self.capabilities = pool.capabilities
        self.recorder = Recorder(file, pool=pool.name, **options)
        self._note = self.recorder.note
        self._execute = pool.execute

    @property
    def name(self) -> str:
        """The name of the pool."""
        return self._pool.name

    def execute(
        self,
        command: str,
        args: dict[str, Any] | None = None,
        *,
        session: str | None = None,
        timeout_s: float | None = None,
        checkout_timeout_s: float | None = None,
    ) -> Any:  # noqa: ANN401 - any JSON value
        """Run one command on the pool, and record it."""
        start = now_ns()
        try:
            value = self._execute(
                command, args, session=session, timeout_s=timeout_s, checkout_timeout_s=checkout_timeout_s
            )
        except BaseException as error:
            self._note(start, session, command, args, None, error)
            raise
        self._note(start, session, command, args, value)
        return value

    def end_session(self, session_id: str) -> bool:
        """Forget the session and its state; not recorded."""
        return self._pool.end_session(session_id)

    def sessions(self) -> tuple[SessionStatus, ...]:
        """Return the pool's sessions."""
        return self._pool.sessions()

    def status(self) -> PoolStatus:
        """Return the pool's status."""
        return self._pool.status()

    def health_check(self) -> Health:
        """Return the pool's health."""
        return self._pool.health_check()

    def warm_up(self, n: int | None = None) -> int:
        """Start workers until `n` are ready."""
        return self._pool.warm_up(n)

    def close(self, grace_s: float | None = None) -> None:
        """Close the pool, and then the recording."""
        try:
            self._pool.close(grace_s)
        finally:
            self.recorder.close()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the pool's own
        return getattr(self._pool, name)

    def __enter__(self) -> Self:
        self._pool.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._pool.__exit__(kind, error, trace)
        finally:
            self.recorder.close()


class AsyncRecordingPool(AsyncSessionCalls):
    """An AsyncPool that records its calls; see RecordingPool."""

    def __init__(self, pool: Any, file: str | os.PathLike[str], **options: Any) -> None:  # noqa: ANN401
        self._pool = pool
        self.recorder = Recorder(file, pool=str(pool.name), **options)

    async def execute(
        self, command: str, args: dict[str, Any] | None = None, *, session: str | None = None, **limits: float | None
    ) -> Any:  # noqa: ANN401
        """Run one command on the pool, and record it."""
        start = now_ns()
        try:
            value = await self._pool.execute(command, args, session=session, **limits)
        except BaseException as error:
            self.recorder.note(start, session, command, args, None, error)
            raise
        self.recorder.note(start, session, command, args, value)
        return value

    async def close(self, grace_s: float | None = None) -> None:
        """Close the pool, and then the recording."""
        try:
            await self._pool.close(grace_s)
        finally:
            self.recorder.close()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the pool's own
        return getattr(self._pool, name)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class RecordingExecutor(Executor):
    """An executor that records its calls. The command is the function's qualified name, and cannot be replayed."""

    def __init__(self, executor: Executor, file: str | os.PathLike[str], **options: Any) -> None:  # noqa: ANN401
        self._executor = executor
        self.recorder = Recorder(file, pool=type(executor).__name__, **options)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Submit the call, and record it when it has ended."""
        start = now_ns()
        command = f"{getattr(fn, '__module__', '')}:{getattr(fn, '__qualname__', type(fn).__name__)}"
        given = {"args": args, "kwargs": kwargs}
        future = self._executor.submit(fn, *args, **kwargs)

        def ended(future: Future[T]) -> None:
            error = CancelledError() if future.cancelled() else future.exception()
            value = None if error is not None else future.result()
            self.recorder.note(start, None, command, given, value, error)

        future.add_done_callback(ended)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Shut the executor down, and close the recording; what ends later is not recorded."""
        self._executor.shutdown(wait=wait, cancel_futures=cancel_futures)
        self.recorder.close()
