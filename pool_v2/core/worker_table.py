"""The pool's data about its workers, and the limits for starting, keeping and retiring them.

Pure: times are passed in as nanoseconds; no process is started or ended here.

Rules
1. Only the coordinator's `held` and `_idle` say whether a worker is leased or idle; this module has only its phase.
2. A worker is replaced when it has served `max_requests`, is older than `max_age_s`, or uses too much memory. This
   happens only between two leases, and for age or memory one worker at a time, so that the pool keeps its capacity.
3. Workers above `size` are retired as soon as no call waits; workers above `floor` after `idle_timeout_s`.
"""

from __future__ import annotations

from typing import Any, Self

import msgspec

from poolproof.bridge import PoolConfig
from poolproof.bridge.lifecycle import WorkerState
from poolproof.bridge.wire.transport import Transport
from poolproof.pool_v2.core.circuit import EARLY_S

NEVER_NS = 2**63
EARLY_NS = int(EARLY_S * 1e9)
AGE_SPREAD = 0.1
"""A worker's age limit is up to this fraction below `max_age_s`: workers of the same age do not end together."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The sizes of a pool and the limits of its workers; durations in nanoseconds. None: no limit.

    `term_grace_ns`: how long before its call's deadline a worker gets SIGTERM; 0: never.
    `hot`: take the idle worker that served last, instead of the worker that has been idle longest.
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
    term_grace_ns: int = 0

    @classmethod
    def of(cls, config: PoolConfig) -> Self:
        """Return the limits for a pool with these options."""
        floor = 0 if config.lazy else config.workers if config.min_workers is None else config.min_workers
        return cls(
            size=config.workers,
            floor=floor,
            most=config.workers + config.overflow,
            max_requests=config.max_requests,
            max_age_ns=_ns(config.max_age_s),
            max_memory_bytes=config.max_memory_bytes,
            idle_timeout_ns=_ns(config.idle_timeout_s),
            ping_interval_ns=_ns(config.ping_interval_s),
            max_idle_pings=config.max_idle_pings,
            hot=config.idle_order == "hot",
            term_grace_ns=_ns(config.term_grace_s) or 0,
        )


class Worker:
    """The pool's data about one worker.

    `phase` is STARTING, IDLE or DYING. A dying worker is asked to leave, or killed if `reason` is not empty; `told_ns`
    is when it was asked. `transport` connects a client to the worker, once it is `reachable`. `pid` is its process id,
    set when the worker is ready. `state` belongs to the behaviour. A `request_limit` of 0: no further lease.
    `term_deadline_ns` is the last deadline before which the worker got SIGTERM. `unreaped`: the process has ended,
    and its exit status is not collected yet. `idle_since_ns` is first set when the worker becomes ready. `served`: how
    many calls it has answered.
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
        "term_deadline_ns",
        "told_ns",
        "transport",
        "unreaped",
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
        self.term_deadline_ns = 0
        self.reason = ""
        self.killed = False
        self.overdue = False
        self.unreaped = False
        self.woken = False
        self.dirty = False

    @property
    def exited(self) -> bool:
        """Whether the worker's process has ended."""
        return self.exited_ns > 0

    @property
    def ended_early(self) -> bool:
        """Whether the worker, if the pool did not end it, has ended early (rule 4 of `circuit`).

        A worker that was asked to leave, or whose call had a deadline, does not count as ended early.
        """
        asked = self.told_ns or self.term_deadline_ns or self.overdue
        return bool(
            self.idle_since_ns and self.exited_ns - self.idle_since_ns < EARLY_NS and not (self.served or asked)
        )

    @property
    def usable(self) -> bool:
        """Whether the worker may be granted."""
        return self.phase is WorkerState.IDLE and not self.exited_ns and not self.overdue


def request_limit(limits: Limits, worker_id: int) -> int:
    """Return how many requests this worker may serve: at most `max_requests`, spread so that not all end together."""
    if limits.max_requests is None:
        return NEVER_NS
    return limits.max_requests - limits.max_requests * (worker_id % limits.size) // (4 * limits.size)


def age_limit_ns(limits: Limits, worker_id: int) -> int:
    """Return this worker's age limit: rule 2, spread by its id (golden ratio, so that neighbouring ids differ)."""
    if limits.max_age_ns is None:
        return NEVER_NS
    spread = (worker_id * 0.6180339887498949) % 1.0 * AGE_SPREAD
    return int(limits.max_age_ns * (1 - spread))


def _ns(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds * 1e9)
