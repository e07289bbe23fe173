"""Assembles V2: the pool as a whole, and the entry points that use it."""

from __future__ import annotations

from poolproof.bridge import Observer, PoolConfig
from poolproof.pool_v2.calls.batch import Batch
from poolproof.pool_v2.calls.calls import Calls
from poolproof.pool_v2.calls.handover import Handover
from poolproof.pool_v2.calls.leases import Leases
from poolproof.pool_v2.calls.streaming import Streaming
from poolproof.pool_v2.core.behaviour import WorkerBehaviour
from poolproof.pool_v2.running.housekeeper import Housekeeper
from poolproof.pool_v2.running.lifetime import Lifetime
from poolproof.pool_v2.running.platform import MACHINE, Platform


class Engine(Lifetime):
    """One V2 pool. Its methods may be called from any thread."""

    def __init__(
        self,
        config: PoolConfig,
        observer: Observer | None,
        behaviour: WorkerBehaviour | None,
        platform: Platform = MACHINE,
    ) -> None:
        super().__init__(config, observer, behaviour, platform)
        self.leases = Leases(self)
        self.sessions = Handover(self)
        self.calls = Calls(self, self.leases, self.sessions)
        self.batch = Batch(self, self.leases, self.sessions)
        self.streaming = Streaming(self, self.leases, self.sessions)
        self.housekeeper = Housekeeper(self, self.leases, self.calls, self.streaming)
        self.begin(self.housekeeper)
