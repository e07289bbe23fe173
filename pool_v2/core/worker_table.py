"""What the pool knows of its workers, and which of them should come, stay and go.

Pure: time comes in as nanoseconds, and nothing is started or ended here.

Rules
1. Whether a worker is leased or idle is said in one place, the coordinator's `held` and `idle`; here is only its phase.
2. A worker is replaced when it has served `max_requests`, is older than `max_age_s`, or is too large; only between two
   leases, and by age or size one at a time, so that the pool never loses its capacity at once.
3. What is above `size` leaves as soon as nobody waits; what is above `floor` leaves after `idle_timeout_s`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from poolproof.bridge.lifecycle import WorkerState
from poolproof.bridge.wire.transport import Transport

NEVER_NS = 2**63
AGE_SPREAD = 0.1
"""A worker's age limit is up to this fraction below `max_age_s`, so that those of one birth do not end at once."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The sizes of a pool and the limits of its workers; durations in nanoseconds. None: no limit.

    `hot`: of the idle workers the one that served last is taken, in place of the one that has been idle longest.
    """

    size: int
    floor: int
    most: int
    max_requests: int | None = None
    max_age_ns: int | None = None
    max_memory_bytes: int | None = None
    idle_timeout_ns: int | None = None
    ping_interval_ns: int | None = None
    max_idle_pings: int = 1
    hot: bool = False


class Worker:
    """What the pool knows of one worker.

    `phase` is STARTING, READY or DYING. A dying worker is asked to leave, or killed if `reason` is not empty;
    `told_ns` is when that was ordered. `transport` is how a client
    reaches it, once it is `reachable`. `pid` is its process, once it is ready. `state` is the behaviour's own.
    """

    transport: Transport
    __slots__ = (
        "born_ns",
        "dirty",
        "exited_ns",
        "idle_since_ns",
        "killed",
        "overdue",
        "phase",
        "pid",
        "pinged_ns",
        "reachable",
        "reason",
        "request_limit",
        "served",
        "state",
        "told_ns",
        "transport",
        "woken",
        "worker_id",
    )

    def __init__(self, worker_id: int, born_ns: int = 0) -> None:
        self.worker_id = worker_id
        self.born_ns = born_ns
        self.phase = WorkerState.STARTING
        self.reachable = False
        self.pid = 0
        self.state: Any = None
        self.served = 0
        self.request_limit = NEVER_NS
        self.idle_since_ns = 0
        self.pinged_ns = 0
        self.exited_ns = 0
        self.told_ns = 0
        self.reason = ""
        self.killed = False
        self.overdue = False
        self.woken = False
        self.dirty = False

    @property
    def exited(self) -> bool:
        """Whether its process has ended."""
        return self.exited_ns > 0

    @property
    def usable(self) -> bool:
        """Whether it may be given to somebody."""
        return self.phase is WorkerState.IDLE and not self.exited_ns and not self.overdue


def request_limit(limits: Limits, worker_id: int) -> int:
    """How many requests this worker may serve: at most `max_requests`, spread so that not all end together."""
    if limits.max_requests is None:
        return NEVER_NS
    return limits.max_requests - limits.max_requests * (worker_id % limits.size) // (4 * limits.size)


def age_limit_ns(limits: Limits, worker_id: int) -> int:
    """How old this worker may become, by rule 2 spread over its id (golden ratio, so neighbours lie apart)."""
    if limits.max_age_ns is None:
        return NEVER_NS
    spread = (worker_id * 0.6180339887498949) % 1.0 * AGE_SPREAD
    return int(limits.max_age_ns * (1 - spread))
