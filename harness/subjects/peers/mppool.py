"""multiprocessing.Pool as a pool. A worker that dies is replaced, but its call is never answered."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import Future
from multiprocessing import resource_tracker
from typing import Any

from poolproof.bridge import PoolConfig
from poolproof.harness.subjects.peers import service
from poolproof.harness.subjects.peers.engine import initargs
from poolproof.harness.subjects.peers.pool import Peer


class MultiprocessingPool:
    """One multiprocessing.Pool, whose workers are spawned. Its results have no state: every call counts as running."""

    crashes: tuple[type[BaseException], ...] = ()
    refusals: tuple[type[BaseException], ...] = (ValueError,)
    cancels_running = False
    crash_is_own = False

    def __init__(self, config: PoolConfig) -> None:
        context = multiprocessing.get_context("spawn")
        self._pool = context.Pool(config.workers, initializer=service.begin, initargs=initargs(config))

    def submit(self, function: Callable[[Any], Any], argument: object) -> Future[Any]:
        """Run the function in a worker."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        self._pool.apply_async(
            function,
            (argument,),
            # The method is looked up at the call, because the owner of the future may have replaced `set_result`.
            callback=lambda value: future.set_result(value),
            error_callback=lambda error: future.set_exception(error),
        )
        return future

    def end(self, *, busy: bool) -> None:
        """End all workers."""
        if busy:
            self._pool.terminate()
        else:
            self._pool.close()
        self._pool.join()
        del self._pool  # the pool closes its pipes when the last reference to it is gone


POOL = Peer(
    name="multiprocessing",
    summary="multiprocessing.Pool with spawned workers",
    open=MultiprocessingPool,
    prepare=resource_tracker.ensure_running,
)
