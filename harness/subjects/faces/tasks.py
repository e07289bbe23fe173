"""The asyncio faces: AsyncPool over the pool, on an event loop in its own thread; each call is a task on the loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from importlib import import_module
from typing import Any, TypeVar, cast

from poolproof.bridge import Cancelled, CommandError, Pool, PoolError, Sent
from poolproof.harness.model.face import Face, Setting, Way, came_too_late
from poolproof.harness.model.workload import Step
from poolproof.harness.subjects.faces.blocking import (
    ONLY_A_CHECKOUT,
    ONLY_ITEM,
    joined,
    refuse_lease,
    void_batch,
    void_lease,
)
from poolproof.pool_v2 import AsyncPool, PoolV2

Value = TypeVar("Value")
CANCEL_WAIT_S = 5.0


class Tasks(Way):
    """An AsyncPool on a loop that `new_loop` makes. A client waits for its task, and cancels it if interrupted."""

    cancels = True
    """Whether calls are cancelled where their step says so. In a lease, a batch or a stream, the pool may have counted
    the call already, or not yet, so that its outcome cannot be compared."""

    def __init__(self, pool: Pool, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        super().__init__(pool)
        self._tasks = AsyncPool.over(cast("PoolV2", pool))
        self._loop = new_loop()
        self._lock = threading.Lock()
        self._left: tuple[str, ...] = ()
        self._waiters: set[asyncio.Task[Any]] = set()
        """Tasks to cancel at the next end of a call."""
        self._thread = threading.Thread(target=self._loop.run_forever, name="event-loop", daemon=True)
        self._thread.start()

    def execute(
        self,
        command: str,
        args: dict[str, Any],
        *,
        session: str | None = None,
        timeout_s: float | None = None,
        checkout_timeout_s: float | None = None,
    ) -> Any:  # noqa: ANN401
        """Make one call as a task."""
        step = Step(command=command, session=session, timeout_s=timeout_s, checkout_timeout_s=checkout_timeout_s)
        return self.execute_step(step, args)

    def execute_step(self, step: Step, args: dict[str, Any]) -> Any:  # noqa: ANN401
        """Make the call of one step; if the step says so, cancel its task after a while."""
        work = self.call(step, args)
        after_s = step.cancel_after_s if self.cancels else None
        return self._run(work if after_s is None else self._cancelled(work, after_s, at_end=step.cancel_at_end))

    async def _cancelled(self, work: Coroutine[Any, Any, Value], after_s: float, *, at_end: bool) -> Value:
        # The task's own end decides between an answer and Cancelled, since an answer may come before the cancellation.
        task = asyncio.ensure_future(work)
        await asyncio.wait([task], timeout=after_s)
        if at_end:
            self._waiters.add(task)
            try:
                await asyncio.wait([task])
            finally:
                self._waiters.discard(task)
        task.cancel()
        try:
            return await task
        except asyncio.CancelledError as error:
            raise Cancelled("the task was cancelled", sent=Sent.MAYBE) from error

    async def call(self, step: Step, args: dict[str, Any]) -> Any:  # noqa: ANN401
        """Make the call, on the loop. Each face has its own way."""
        return await self._tasks.execute(step.command, args, session=step.session, **_limits(step))

    def close(self, grace_s: float) -> None:
        """Close the pool from a task."""
        if not self._loop.is_closed():
            self._run(self._tasks.close(grace_s))

    def release(self) -> None:
        """Stop the loop and its thread."""
        with self._lock:
            if self._loop.is_closed():
                return
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._left = _left_on(self._loop)
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    def complaints(self) -> tuple[str, ...]:
        """Return what the pool has left on the loop: descriptors that the loop still watches, and timers."""
        return self._left

    def _run(self, work: Coroutine[Any, Any, Value]) -> Value:
        begun, over = threading.Event(), threading.Event()
        ended: Future[Value] = Future()

        async def run() -> Value:
            begun.set()  # in the same step of the loop, the pool counts the call
            try:
                value = await work
                ended.set_result(value)
                return value
            except Exception as error:
                ended.set_exception(error)
                raise
            finally:
                over.set()
                for task in self._waiters:  # the pool has just given the worker of this call to one of them
                    task.cancel()

        future = asyncio.run_coroutine_threadsafe(run(), self._loop)
        try:
            return future.result()
        except BaseException as error:
            begun.wait(CANCEL_WAIT_S)  # a task that never begins is a call that the pool has never seen
            if future.cancel():
                over.wait(CANCEL_WAIT_S)  # so that the pool has counted the outcome when its client goes on
            if ended.done():
                came_too_late(error, ended)
            raise


class TaskLeases(Tasks):
    """Each call is a task that checks a worker out, and makes the call on the lease."""

    cancels = False

    async def call(self, step: Step, args: dict[str, Any]) -> Any:  # noqa: ANN401
        """Make one call on a lease of its own; the call's timeout bounds both together."""
        refused: CommandError | None = None
        value: Any = None
        async with self._tasks.checkout(step.command, **_limits(step)) as worker:
            try:
                value = await worker.execute(step.command, args)
            except CommandError as error:
                refused = error  # raising it inside the block would end the worker
        if refused is not None:
            raise refused
        return value


class TaskBatches(Tasks):
    """Calls `execute_many` of AsyncPool: equal steps that follow each other in a client are sent together."""

    cancels = False

    async def call(self, step: Step, args: dict[str, Any]) -> Any:  # noqa: ANN401
        """Make one call as a batch of one, whose error is raised."""
        try:
            (value,) = await self._tasks.execute_many(
                step.command, [args], session=step.session, return_errors=False, **_limits(step)
            )
        except PoolError as error:
            error.message = error.message.removeprefix(ONLY_ITEM)
            raise
        return value

    def execute_batch(self, steps: Sequence[Step], args: Sequence[dict[str, Any]]) -> list[Any]:
        """Send all steps in one batch."""
        return self._run(self._call_many(steps[0], args))

    async def _call_many(self, step: Step, args: Sequence[dict[str, Any]]) -> list[Any]:
        return await self._tasks.execute_many(
            step.command, list(args), session=step.session, return_errors=True, **_limits(step)
        )


class TaskStreams(Tasks):
    """Calls `execute_stream` of AsyncPool; returns the parts as a list, or the answer of a command without parts."""

    cancels = False

    async def call(self, step: Step, args: dict[str, Any]) -> Any:  # noqa: ANN401
        """Make one call as a stream, read to its end."""
        async with self._tasks.execute_stream(step.command, args, session=step.session, **_limits(step)) as stream:
            return joined(step.command, [part async for part in stream])


def _limits(step: Step) -> dict[str, float | None]:
    return {"timeout_s": step.timeout_s, "checkout_timeout_s": step.checkout_timeout_s}


def _left_on(loop: asyncio.AbstractEventLoop) -> tuple[str, ...]:
    # Only loops of asyncio itself can be asked, by attributes that no release of CPython has changed so far.
    selector, own = getattr(loop, "_selector", None), getattr(loop, "_ssock", None)
    if selector is None or own is None:
        return ()
    watched = [key.fd for key in selector.get_map().values() if key.fd != own.fileno()]
    timers = [handle for handle in getattr(loop, "_scheduled", ()) if not handle.cancelled()]
    told = [f"its loop still watches {len(watched)} descriptors after the close"] if watched else []
    told += [f"its loop still has {len(timers)} timers after the close: {timers[0]!r:.120}"] if timers else []
    return tuple(told)


def _uvloop() -> asyncio.AbstractEventLoop:
    loop: asyncio.AbstractEventLoop = import_module("uvloop").new_event_loop()
    return loop


def _on_asyncio(pool: Pool, setting: Setting) -> Way:
    return Tasks(pool, asyncio.new_event_loop)


def _on_uvloop(pool: Pool, setting: Setting) -> Way:
    return Tasks(pool, _uvloop)


def _over(kind: type[Tasks]) -> Callable[[Pool, Setting], Way]:
    return lambda pool, _: kind(pool, asyncio.new_event_loop)


ASYNCIO = Face(name="asyncio", summary="AsyncPool: each call is a task on one asyncio event loop", over=_on_asyncio)
UVLOOP = Face(
    name="uvloop",
    summary="AsyncPool: each call is a task on one uvloop event loop",
    over=_on_uvloop,
    package="uvloop",
    prepare=lambda: _uvloop().close(),  # the first libuv loop opens a pipe for signals that stays open
)
ASYNCIO_LEASE = Face(
    name="asyncio_lease",
    summary="AsyncPool: each call a task that checks a worker out, and makes the call on the lease",
    over=_over(TaskLeases),
    refuses=refuse_lease,
    void=void_lease,
    uncounted=ONLY_A_CHECKOUT,
)
ASYNCIO_MANY = Face(
    name="asyncio_many",
    summary="AsyncPool.execute_many: equal calls that follow each other in one client go out together",
    over=_over(TaskBatches),
    batches=True,
    void=void_batch,
)
ASYNCIO_STREAM = Face(
    name="asyncio_stream",
    summary="AsyncPool.execute_stream, read to its end in place of execute",
    over=_over(TaskStreams),
)
