"""concurrent.futures.ProcessPoolExecutor as a pool. One dead worker breaks the pool for good; no call can be ended."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import resource_tracker
from typing import Any

from poolproof.bridge import PoolConfig
from poolproof.harness.subjects.peers import service
from poolproof.harness.subjects.peers.engine import initargs
from poolproof.harness.subjects.peers.pool import Peer

JOIN_S = 2.0


class Executor:
    """One ProcessPoolExecutor. Its workers are spawned, because a fork beside the threads of a harness is not safe."""

    crashes: tuple[type[BaseException], ...] = (BrokenProcessPool,)
    refusals: tuple[type[BaseException], ...] = (RuntimeError,)
    cancels_running = False
    crash_is_own = False

    def __init__(self, config: PoolConfig) -> None:
        self._executor = ProcessPoolExecutor(
            config.workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=service.begin,
            initargs=initargs(config),
        )

    def submit(self, function: Callable[[Any], Any], argument: object) -> Future[Any]:
        """Run the function in a worker."""
        return self._executor.submit(function, argument)

    def end(self, *, busy: bool) -> None:
        """End all workers. Busy workers are killed here, because before Python 3.14 the executor cannot kill them."""
        processes = list((getattr(self._executor, "_processes", None) or {}).values())
        manager = getattr(self._executor, "_executor_manager_thread", None)
        self._executor.shutdown(wait=not busy, cancel_futures=True)
        if busy:
            for process in processes:
                process.kill()
            for process in processes:
                process.join(JOIN_S)
            if manager is not None:  # a second shutdown would not wait for the manager thread
                manager.join(JOIN_S)


POOL = Peer(
    name="executor",
    summary="concurrent.futures.ProcessPoolExecutor with spawned workers",
    open=Executor,
    prepare=resource_tracker.ensure_running,
)
