"""Any coroutine function as a subject: each call is a task on an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any

from poolproof.bridge import Capability, PoolConfig
from poolproof.harness.subjects.own.engine import CRASHES, OwnCall, opened
from poolproof.harness.subjects.own.executor import Restart
from poolproof.harness.subjects.own.function import arguments_of, method_of, require_callable
from poolproof.harness.subjects.own.pool import OwnPools
from poolproof.harness.subjects.own.processes import descendants, kill_one


def async_pool(call: Callable[..., Any], *, sessions: bool = False, restart: Restart = False) -> OwnPools:
    """Make a factory of pools from `async def call(request)`, or from a class or factory of such clients.

    A coroutine function is called itself: with the arguments of the call, or with (command, args) or (command, args,
    session) if it takes two or three parameters. A class or factory is called in the loop for each pool; it may take
    the number of workers, and what it makes has a coroutine method `call`. It is entered if it is an async context
    manager, and closed by `aclose` or `close` if it has one. `sessions` and `restart` are as for `callable_pool`; a
    restart function may be a coroutine function.
    """
    require_callable(call)
    capabilities = {Capability.SESSIONS} if sessions else set()
    return OwnPools(
        name="async",
        summary=f"the coroutine function {getattr(call, '__name__', type(call).__name__)}",
        open=lambda config: CoroutineEngine(call, config, restart),
        capabilities=frozenset(capabilities | ({Capability.RESTART} if restart else set())),
    )


class CoroutineEngine:
    """One event loop with the user's client."""

    crashes: tuple[type[BaseException], ...] = CRASHES
    refusals: tuple[type[BaseException], ...] = ()
    cancels_running = False
    crash_is_own = True

    def __init__(self, call: Callable[..., Any], config: PoolConfig, restart: Restart) -> None:
        self._before = descendants()
        self._restart = restart
        self._kills = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="own-event-loop", daemon=True)
        self._thread.start()
        try:
            self._client = call if inspect.iscoroutinefunction(call) else self._run(_enter(call, config))
            self._method = method_of(self._client)
            self._arguments = arguments_of(self._method)
        except BaseException:
            self._stop()
            raise

    def submit(self, function: Callable[[Any], Any], argument: OwnCall) -> Future[Any]:
        """Make the call as a task."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()

        async def run() -> None:
            try:
                future.set_result(await self._method(*self._arguments(argument)))
            except BaseException as error:
                future.set_exception(error)

        asyncio.run_coroutine_threadsafe(run(), self._loop)
        return future

    def end(self, *, busy: bool) -> None:
        """Close the client and the loop; tasks that still run are cancelled."""
        try:
            self._run(_leave(self._client))
        finally:
            self._stop()

    def restart(self) -> str:
        """Kill one process below this one, or let the user's function restart the workers."""
        if callable(self._restart):
            done = self._restart(self._client)
            if inspect.isawaitable(done):
                done = self._run(_awaited(done))
            return f"restarted by {getattr(self._restart, '__name__', 'a function')}: {done}"
        self._kills += 1
        return f"SIGKILL to process {kill_one(self._before, self._kills)}"

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _stop(self) -> None:
        if self._loop.is_closed():
            return
        self._run(_cancel_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


async def _enter(call: Callable[..., Any], config: PoolConfig) -> Any:  # noqa: ANN401
    client = opened(call, config)
    if inspect.isawaitable(client):
        client = await client
    return await client.__aenter__() if hasattr(client, "__aenter__") else client


async def _leave(client: Any) -> None:  # noqa: ANN401
    if hasattr(client, "__aexit__"):
        await client.__aexit__(None, None, None)
        return
    close = getattr(client, "aclose", None) or getattr(client, "close", None)
    if callable(close):
        done = close()
        if inspect.isawaitable(done):
            await done


async def _awaited(work: Any) -> Any:  # noqa: ANN401
    return await work


async def _cancel_all() -> None:
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
