"""What a pool tells its observer: the steps of every call and of every worker.

Pure. An observer is called outside the pool's locks, in the thread that took the step, and must return
at once; what it raises is logged and dropped. Guarantees G1–G27 are decided from these events.
"""

from __future__ import annotations

from collections.abc import Callable
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

    `call` is the pool's number for the call; ENQUEUE is always emitted in the calling thread.
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
