"""Aggregates a pool's events: calls by outcome, workers by state, and durations.

Pure: no threads and no clock; times come with the events. Not thread-safe: the owner holds a lock.

Rules
1. A call is in flight from ENQUEUE to DONE, and is remembered only that long. Later events change no call: the legacy
   manager continues after its caller gave up.
2. submitted = in flight + Σ outcomes, by construction (G27).
3. A call waits until it is offered a worker, accepts one, or withdraws. Events of two threads may come in the wrong
   order, so an offer to a call that no longer waits is outdated, and is ignored.
4. A worker lives from SPAWN to REAP. It is leased to one call, and only that call gives it back. A dying worker stays
   dying.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import msgspec

from poolproof.bridge.events import Event, EventKind
from poolproof.bridge.interface import OUTCOMES
from poolproof.bridge.lifecycle import WorkerState

BOUNDS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""The upper bounds of the histograms' buckets, in seconds."""
MOST_WORDS = 64
"""The maximum number of distinct outcomes or reasons; further ones are counted as `other`."""
DIED = "died"
"""The reason for a worker that ended by itself."""
# Module-level aliases: CPython 3.11 takes 0.2 µs to find a member in its Enum class, and events come in hot paths.
ENQUEUE, OFFER, ACCEPT, WITHDRAW = EventKind.ENQUEUE, EventKind.OFFER, EventKind.ACCEPT, EventKind.WITHDRAW
SEND, RECEIVE, CHECKIN, DONE = EventKind.SEND, EventKind.RECEIVE, EventKind.CHECKIN, EventKind.DONE
SPAWN, READY, KILL, REAP, CLOSE = EventKind.SPAWN, EventKind.READY, EventKind.KILL, EventKind.REAP, EventKind.CLOSE
STARTING, IDLE, LEASED, DYING = WorkerState.STARTING, WorkerState.IDLE, WorkerState.LEASED, WorkerState.DYING
LIVING = (STARTING, IDLE, LEASED, DYING)


class Durations(msgspec.Struct, frozen=True):
    """A histogram: `counts[i]` counts durations above `bounds_s[i - 1]` and up to `bounds_s[i]`, the last the rest."""

    bounds_s: tuple[float, ...]
    counts: tuple[int, ...]
    sum_s: float

    @property
    def count(self) -> int:
        """The number of durations."""
        return sum(self.counts)


class AggregatorSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The aggregated values at one moment.

    `queue_wait` is from ENQUEUE until the call got a worker or ended without one; `service` from SEND to RECEIVE, of
    answered calls; `response` from ENQUEUE to DONE. `ended` counts workers' ends by reason.
    """

    submitted: int
    in_flight: int
    waiting: int
    outcomes: dict[str, int]
    workers: dict[str, int]
    started: int
    ended: dict[str, int]
    queue_wait: Durations
    service: Durations
    response: Durations
    closed: bool


class _Call:
    __slots__ = ("accepted_ns", "enqueued_ns", "received_ns", "sent_ns", "waits")

    def __init__(self, enqueued_ns: int) -> None:
        self.enqueued_ns = enqueued_ns
        self.accepted_ns = 0
        self.sent_ns = 0
        self.received_ns = 0
        self.waits = True


class _Worker:
    __slots__ = ("call", "reason", "state")

    def __init__(self) -> None:
        self.state = STARTING
        self.call: int | None = None
        self.reason = DIED


class _Histogram:
    __slots__ = ("_bounds_ns", "_bounds_s", "_counts", "_sum_ns")

    def __init__(self, bounds_s: tuple[float, ...]) -> None:
        self._bounds_s = bounds_s
        self._bounds_ns = [int(bound * 1e9) for bound in bounds_s]
        self._counts = [0] * (len(bounds_s) + 1)
        self._sum_ns = 0

    def add(self, duration_ns: int) -> None:
        self._counts[bisect_left(self._bounds_ns, duration_ns)] += 1
        self._sum_ns += duration_ns

    def snapshot(self) -> Durations:
        return Durations(self._bounds_s, tuple(self._counts), self._sum_ns / 1e9)


class Aggregator:
    """Aggregates the events of one pool. Bounded: one entry for each call in flight and each living worker.

    `bounds_s` are the histograms' upper bounds in seconds. Raises ValueError if it is empty or not rising.
    """

    def __init__(self, *, bounds_s: Sequence[float] = BOUNDS_S) -> None:
        bounds = tuple(float(bound) for bound in bounds_s)
        if not bounds or not all(low < high for low, high in pairwise((0.0, *bounds, float("inf")))):
            raise ValueError(f"bounds_s {bounds!r}: at least one number of seconds above 0, in rising order")
        self._calls: dict[int, _Call] = {}
        self._workers: dict[int, _Worker] = {}
        self._outcomes: Counter[str] = Counter(dict.fromkeys(OUTCOMES, 0))
        self._ended: Counter[str] = Counter()
        self._started = 0
        self._closed = False
        self._queue_wait = _Histogram(bounds)
        self._service = _Histogram(bounds)
        self._response = _Histogram(bounds)

    def add(self, event: Event) -> None:
        """Add one event: first its effect on a call, then on a worker."""
        if event.call is not None:
            self._add_call(event, event.call)
        if event.worker is not None:
            self._add_worker(event, event.worker)
        if event.kind is CLOSE:
            self._closed = True

    def _add_call(self, event: Event, number: int) -> None:
        kind = event.kind
        if kind is ENQUEUE:
            self._calls[number] = _Call(event.at_ns)
            return
        if kind is DONE:
            self._finish(event, number)
            return
        call = self._calls.get(number)
        if call is None:
            return
        if kind is SEND:
            call.sent_ns = event.at_ns
        elif kind is RECEIVE:
            call.received_ns = event.at_ns
        elif kind is ACCEPT:
            call.accepted_ns = event.at_ns
            call.waits = False
        elif kind is OFFER:
            if call.waits and event.worker is not None:
                call.waits = False
                self._lease(event.worker, number)
        elif kind is WITHDRAW:
            call.waits = False

    def _finish(self, event: Event, number: int) -> None:
        # An interrupt may have prevented the call's ENQUEUE; its outcome still counts.
        call = self._calls.pop(number, None)
        _count(self._outcomes, event.detail)
        if call is not None:
            self._queue_wait.add((call.accepted_ns or event.at_ns) - call.enqueued_ns)
            self._response.add(event.at_ns - call.enqueued_ns)
            if call.received_ns and call.sent_ns:
                self._service.add(call.received_ns - call.sent_ns)

    def _add_worker(self, event: Event, worker_id: int) -> None:
        kind = event.kind
        if kind is ACCEPT:
            self._lease(worker_id, event.call)
            return
        if kind is SPAWN:
            self._workers[worker_id] = _Worker()
            self._started += 1
            return
        worker = self._workers.get(worker_id)
        if worker is None:
            return
        if kind is CHECKIN or kind is WITHDRAW:
            if worker.state is LEASED and worker.call == event.call:
                worker.state, worker.call = IDLE, None
        elif kind is READY:
            if worker.state is STARTING:
                worker.state = IDLE
        elif kind is KILL:
            worker.state, worker.reason = DYING, event.detail
        elif kind is REAP:
            del self._workers[worker_id]
            _count(self._ended, worker.reason)

    def _lease(self, worker_id: int, call: int | None) -> None:
        worker = self._workers.get(worker_id)
        if worker is not None and worker.state is not DYING:
            worker.state, worker.call = LEASED, call

    def snapshot(self) -> AggregatorSnapshot:
        """Return the aggregated values of the events so far."""
        workers = Counter(worker.state for worker in list(self._workers.values()))
        return AggregatorSnapshot(
            submitted=sum(self._outcomes.values()) + len(self._calls),
            in_flight=len(self._calls),
            waiting=sum(call.waits for call in list(self._calls.values())),
            outcomes=dict(self._outcomes),
            workers={state.value: workers[state] for state in LIVING},
            started=self._started,
            ended=dict(self._ended),
            queue_wait=self._queue_wait.snapshot(),
            service=self._service.snapshot(),
            response=self._response.snapshot(),
            closed=self._closed,
        )


def _count(counter: Counter[str], word: str) -> None:
    counter[word if word in counter or len(counter) < MOST_WORDS else "other"] += 1
