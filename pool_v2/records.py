"""What the pool notes of a call as it goes, and the events that an observer is told of it.

Pure. A record is made when its part of the call is over, and holds the time of each step. Times are nanoseconds of
time.monotonic; 0 is a step that was not taken.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from bridge import Event, EventKind


class CallRecord(msgspec.Struct, frozen=True, gc=False):
    """A call from its entry to its one outcome. `worker` is told by a call on a lease, which has its worker already."""

    call: int
    correlation: int | None
    began_ns: int
    done_ns: int
    outcome: str
    worker: int | None = None

    def events(self) -> Iterator[Event]:
        """ENQUEUE and DONE."""
        yield Event(EventKind.ENQUEUE, self.began_ns, self.call, self.worker, None, "", self.correlation)
        yield Event(EventKind.DONE, self.done_ns, self.call, None, None, self.outcome)


class LeaseRecord(msgspec.Struct, frozen=True, gc=False):
    """One attempt to have a worker, from its place in the queue to the end of the lease.

    `clean`: the worker was given back with nothing outstanding.
    """

    call: int
    worker: int | None
    queued_ns: int
    offered_ns: int
    accepted_ns: int
    left_ns: int
    clean: bool

    def events(self) -> Iterator[Event]:
        """OFFER if it waited, ACCEPT, CHECKIN if the worker is clean; WITHDRAW if it never took what it was offered."""
        if self.offered_ns:
            waited_us = str((self.offered_ns - self.queued_ns) // 1000)
            yield Event(EventKind.OFFER, self.offered_ns, self.call, self.worker, None, waited_us)
        if not self.accepted_ns:
            yield Event(EventKind.WITHDRAW, self.left_ns, self.call, self.worker)
            return
        yield Event(EventKind.ACCEPT, self.accepted_ns, self.call, self.worker)
        if self.clean:
            yield Event(EventKind.CHECKIN, self.left_ns, self.call, self.worker)


class ExchangeRecord(msgspec.Struct, frozen=True, gc=False):
    """One request to a worker and its response."""

    call: int
    worker: int
    pid: int
    sent_ns: int
    received_ns: int

    def events(self) -> Iterator[Event]:
        """SEND and RECEIVE, as far as it came."""
        if self.sent_ns:
            yield Event(EventKind.SEND, self.sent_ns, self.call, self.worker, self.pid)
        if self.received_ns:
            yield Event(EventKind.RECEIVE, self.received_ns, self.call, self.worker, self.pid)


Record = CallRecord | LeaseRecord | ExchangeRecord
