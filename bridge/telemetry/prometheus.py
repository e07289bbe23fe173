"""Exports a pool's events as Prometheus metrics. Needs `poolproof[telemetry]`.

Aggregates events as they come and makes the metrics on request, so that every scrape is consistent.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence

from poolproof.bridge.events import Event
from poolproof.bridge.telemetry.aggregator import BOUNDS_S, Aggregator, AggregatorSnapshot, Durations

try:
    from prometheus_client import REGISTRY, CollectorRegistry
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
    from prometheus_client.registry import Collector
except ModuleNotFoundError as error:
    message = "PrometheusObserver needs prometheus-client: pip install 'poolproof[telemetry]'"
    raise ModuleNotFoundError(message, name=error.name) from error

DURATIONS = {
    "queue_wait": "seconds from the submission of a call until it got a worker, or ended without a worker",
    "service": "seconds from the last byte of a request to the last byte of its response",
    "response": "seconds from the submission of a call to its outcome",
}


class PrometheusObserver:
    """Counts the events of one pool. Thread-safe; uses memory only for each call in flight and each living worker.

    `pool` is the label that distinguishes the pools of a registry. `registry` defaults to the client library's global
    one. `bounds_s` are the upper bounds of the histograms' buckets in seconds. Raises ValueError if an open pool is
    already observed under that label; the label of a closed pool is taken over.
    """

    def __init__(
        self, pool: str, *, registry: CollectorRegistry | None = None, bounds_s: Sequence[float] = BOUNDS_S
    ) -> None:
        self.pool = pool
        self._tally = Aggregator(bounds_s=bounds_s)
        # Re-entrant: a signal handler that uses the pool during an update must not deadlock.
        self._lock = threading.RLock()
        self._collector = _collector_of(REGISTRY if registry is None else registry)
        self._collector.add(self)

    def __call__(self, event: Event) -> None:
        """Count one event."""
        with self._lock:
            self._tally.add(event)

    def snapshot(self) -> AggregatorSnapshot:
        """Return a consistent snapshot of the aggregated events."""
        with self._lock:
            return self._tally.snapshot()

    def unregister(self) -> None:
        """Remove this pool's metrics from the registry. Idempotent."""
        self._collector.remove(self)


class _PoolCollector(Collector):
    """Makes the metrics of all observed pools of one registry, because a name may appear only once per scrape."""

    def __init__(self) -> None:
        self._observers: dict[str, PrometheusObserver] = {}
        self._lock = threading.Lock()

    def add(self, observer: PrometheusObserver) -> None:
        with self._lock:
            former = self._observers.get(observer.pool)
            if former is not None and not former.snapshot().closed:
                raise ValueError(f"the open pool {observer.pool!r} is observed in this registry already")
            self._observers[observer.pool] = observer

    def remove(self, observer: PrometheusObserver) -> None:
        with self._lock:
            if self._observers.get(observer.pool) is observer:
                del self._observers[observer.pool]

    def collect(self) -> Iterator[Metric]:
        with self._lock:
            observers = list(self._observers.values())
        yield from _metrics({observer.pool: observer.snapshot() for observer in observers})


_COLLECTORS: weakref.WeakKeyDictionary[CollectorRegistry, _PoolCollector] = weakref.WeakKeyDictionary()
_COLLECTORS_LOCK = threading.Lock()


def _collector_of(registry: CollectorRegistry) -> _PoolCollector:
    with _COLLECTORS_LOCK:
        collector = _COLLECTORS.get(registry)
        if collector is None:
            collector = _PoolCollector()
            registry.register(collector)
            _COLLECTORS[registry] = collector
        return collector


def _metrics(pools: dict[str, AggregatorSnapshot]) -> Iterator[Metric]:
    submitted = CounterMetricFamily("poolproof_calls_submitted", "calls submitted to the pool", labels=["pool"])
    outcomes = CounterMetricFamily("poolproof_calls", "calls that have ended, by outcome", labels=["pool", "outcome"])
    in_flight = GaugeMetricFamily("poolproof_calls_in_flight", "calls submitted that have not ended", labels=["pool"])
    waiting = GaugeMetricFamily("poolproof_calls_waiting", "calls that are waiting for a worker", labels=["pool"])
    workers = GaugeMetricFamily("poolproof_workers", "living workers, by state", labels=["pool", "state"])
    started = CounterMetricFamily("poolproof_workers_started", "workers that were started", labels=["pool"])
    ended = CounterMetricFamily(
        "poolproof_workers_ended", "workers that have ended, by reason", labels=["pool", "reason"]
    )
    for pool, sums in pools.items():
        submitted.add_metric([pool], sums.submitted)
        in_flight.add_metric([pool], sums.in_flight)
        waiting.add_metric([pool], sums.waiting)
        started.add_metric([pool], sums.started)
        for family, counts in ((outcomes, sums.outcomes), (workers, sums.workers), (ended, sums.ended)):
            for word, count in counts.items():
                family.add_metric([pool, word], count)
    yield from (submitted, outcomes, in_flight, waiting, workers, started, ended)
    for name, text in DURATIONS.items():
        durations = HistogramMetricFamily(f"poolproof_{name}_seconds", text, labels=["pool"])
        for pool, sums in pools.items():
            found: Durations = getattr(sums, name)
            durations.add_metric([pool], _buckets(found), found.sum_s)
        yield durations


def _buckets(durations: Durations) -> list[tuple[str, float]]:
    # In Prometheus, the buckets are cumulative.
    names = [*map(str, durations.bounds_s), "+Inf"]
    below = 0
    buckets: list[tuple[str, float]] = []
    for name, count in zip(names, durations.counts, strict=True):
        below += count
        buckets.append((name, below))
    return buckets
