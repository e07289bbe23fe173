"""The events that a pool reports to its observer: the steps of every call and of every worker.

Pure. The pool calls the observer outside its locks, in any of its threads. The observer must return soon; exceptions
that it raises are logged and dropped. A pool may report a step later than it happened, and may report the steps of one
call together. `at_ns` is the time of each step, so sort by `at_ns` to get the order. All events have been delivered
when `close` returns. Guarantees G1–G27 are checked with these events.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from enum import StrEnum

import msgspec


class EventKind(StrEnum):
    """The kind of a step. The first eight belong to calls, the rest to workers and the pool."""

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

    `call` is the pool's number for the call. `correlation`, on a call's ENQUEUE, is the caller's own number for the
    call: the value of CORRELATION when the call began.
    `worker` is the worker's id. A pool never reuses an id, so the id also serves as an epoch.
    `detail` is the outcome's name on DONE, the reason on KILL, and the exit status on REAP. On OFFER it is the time in
    microseconds that the call has spent in the queue, if the pool reports that.
    """

    kind: EventKind
    at_ns: int
    call: int | None = None
    worker: int | None = None
    pid: int | None = None
    detail: str = ""
    correlation: int | None = None


class ServiceInterval(msgspec.Struct, frozen=True, gc=False):
    """The time that a worker spent on one request, from the worker's journal. Times are time.monotonic_ns.

    `end_ns` and `ok` are None if the worker never finished the request.
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
"""The caller's own number for the calls that begin in this context; their ENQUEUE events carry it."""
