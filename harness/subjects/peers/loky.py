"""loky's ProcessPoolExecutor as a pool. One dead worker breaks the pool for good; no call can be ended."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import resource_tracker
from typing import Any

from poolproof.bridge import PoolConfig
from poolproof.harness.subjects.peers import service
from poolproof.harness.subjects.peers.engine import initargs
from poolproof.harness.subjects.peers.extra import require
from poolproof.harness.subjects.peers.pool import Peer


class Loky:
    """One loky executor, whose idle workers do not exit."""

    cancels_running = False
    crash_is_own = False

    def __init__(self, config: PoolConfig) -> None:
        module = require("loky")
        shut = importlib.import_module("loky.process_executor").ShutdownExecutorError
        self.crashes: tuple[type[BaseException], ...] = (BrokenProcessPool, shut)
        self.refusals: tuple[type[BaseException], ...] = (RuntimeError,)
        self._executor = module.ProcessPoolExecutor(
            config.workers, timeout=None, initializer=service.begin, initargs=initargs(config)
        )

    def submit(self, function: Callable[[Any], Any], argument: object) -> Future[Any]:
        """Run the function in a worker."""
        future: Future[Any] = self._executor.submit(function, argument)
        return future

    def end(self, *, busy: bool) -> None:
        """End all workers."""
        self._executor.shutdown(wait=True, kill_workers=busy)


def prepare() -> None:
    """Start the resource trackers of loky and of multiprocessing, which outlive every executor."""
    require("loky")
    resource_tracker.ensure_running()
    importlib.import_module("loky.backend.resource_tracker").ensure_running()


POOL = Peer(name="loky", summary="loky's ProcessPoolExecutor", open=Loky, prepare=prepare)
