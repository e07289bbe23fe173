"""pebble.ProcessPool as a pool. A call past its deadline is cancelled, which ends its worker and no other."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import Future
from multiprocessing import resource_tracker
from typing import Any

from poolproof.bridge import PoolConfig
from poolproof.harness.subjects.peers import service
from poolproof.harness.subjects.peers.engine import initargs
from poolproof.harness.subjects.peers.extra import require
from poolproof.harness.subjects.peers.pool import Peer


class Pebble:
    """One pebble.ProcessPool, whose workers are spawned."""

    refusals: tuple[type[BaseException], ...] = (RuntimeError,)
    cancels_running = True
    crash_is_own = True

    def __init__(self, config: PoolConfig) -> None:
        module = require("pebble")
        self.crashes: tuple[type[BaseException], ...] = (module.ProcessExpired,)
        self._pool = module.ProcessPool(
            max_workers=config.workers,
            context=multiprocessing.get_context("spawn"),
            initializer=service.begin,
            initargs=initargs(config),
        )

    def submit(self, function: Callable[[Any], Any], argument: object) -> Future[Any]:
        """Run the function in a worker."""
        future: Future[Any] = self._pool.schedule(function, args=(argument,))
        return future

    def end(self, *, busy: bool) -> None:
        """End all workers."""
        if busy:
            self._pool.stop()
        else:
            self._pool.close()
        self._pool.join()


POOL = Peer(
    name="pebble",
    summary="pebble.ProcessPool with spawned workers",
    open=Pebble,
    prepare=resource_tracker.ensure_running,
)
