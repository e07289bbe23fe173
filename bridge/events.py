"""What a pool tells its observer: the steps of every call and of every worker.

Pure. An observer is called outside the pool's locks, in a thread of the pool's choice, and must return soon; what it
raises is logged and dropped. A pool may tell of a step a little later than it was taken, and of the steps of one call
together: `at_ns` says when each was taken, so whoever wants the order of time sorts by it. All events have been
delivered when `close` returns. Guarantees G1–G27 are decided from these events.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from enum import StrEnum

import msgspec


class EventKind(StrEnum):
    """One word for each step. The first eight belong to calls, the rest to workers and the pool."""

    ENQUEUE = "enqueue"
    OFFER = "offer"
    ACCEPT = "accept"
    WITHDRAW = "withdraw"
    SEND = "send"
    RECEIVE = "receive"
    CHECKIN = "checkin"
    DONE = "done"
    SPAWN = "spawn"
    READY = "ready"
    KILL = "kill"
    REAP = "reap"
    CLOSE = "close"


class Event(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One step at `at_ns` (time.monotonic_ns).

    `call` is the pool's number for the call. `correlation`, on a call's ENQUEUE, is what CORRELATION held when the call
    began: the caller's own number for it.
    `worker` is the worker's id, which a pool never uses twice, so it is the epoch too.
    `detail` is the outcome's name on DONE, the reason on KILL, the exit status on REAP, and on OFFER for how many
    microseconds the call has had its place in the queue, if the pool tells.
    """

    kind: EventKind
    at_ns: int
    call: int | None = None
    worker: int | None = None
    pid: int | None = None
    detail: str = ""
    correlation: int | None = None


class ServiceInterval(msgspec.Struct, frozen=True, gc=False):
    """When a worker was at work on one request, by its own journal. Times are time.monotonic_ns.

    `end_ns` and `ok` are None if the worker never finished it.
    """

    worker_id: int
    pid: int
    request_id: int
    command: str
    nonce: str | int | None
    start_ns: int
    end_ns: int | None = None
    ok: bool | None = None


Observer = Callable[[Event], None]
CORRELATION: ContextVar[int | None] = ContextVar("poolproof_correlation", default=None)
"""The number that the calls begun in this context have for their caller; it returns in their ENQUEUE events."""
