"""Computes the metrics of one run from its history.

Pure. It describes and does not judge; what was not recorded stays empty.
"""

from __future__ import annotations

from collections.abc import Sequence

from poolproof.harness.compare.comparison import Busy, Metrics, Quantiles
from poolproof.harness.history.columns import NONE
from poolproof.harness.history.history import History
from poolproof.harness.history.overlap import overlap_degree
from poolproof.harness.history.recovery import recoveries
from poolproof.harness.history.stats import quantile

MOST_STRETCHES = 400
MOST_RECOVERIES = 100


def measure(history: History) -> Metrics:
    """Compute all metrics of a run."""
    done = history.ops.take(history.ops.completed_ns != NONE)
    intervals = history.closed_intervals
    wall_s = throughput = None
    if len(done):
        wall_s = int(done.completed_ns.max() - done.invoked_ns.min()) / 1e9
        answered = int(done.outcome.are("result").sum())
        throughput = answered / wall_s if wall_s > 0 else None
    most, mean = overlap_degree(intervals.start_ns, intervals.end_ns) if len(intervals) else (None, None)
    served = (done.received_ns != NONE) & (done.sent_ns != NONE)
    service_s = (done.received_ns - done.sent_ns)[served] / 1e9
    if not history.info.observed:  # without events, from the workers' journals
        service_s = (intervals.end_ns - intervals.start_ns) / 1e9
    return Metrics(
        ops=len(history.ops),
        outcomes=dict(sorted(history.ops.outcome.counts().items())),
        wall_s=wall_s,
        throughput_per_s=throughput,
        overlap_max=most,
        overlap_mean=mean,
        response=_quantiles(((done.completed_ns - done.intended_ns) / 1e9).tolist()),
        service=_quantiles(service_s.tolist()),
        timeline=_timeline(history),
        recoveries=recoveries(history)[:MOST_RECOVERIES],
    )


def _quantiles(seconds: Sequence[float]) -> Quantiles | None:
    if not seconds:
        return None
    return Quantiles(
        count=len(seconds),
        p50_ms=quantile(seconds, 0.5) * 1e3,
        p90_ms=quantile(seconds, 0.9) * 1e3,
        p99_ms=quantile(seconds, 0.99) * 1e3,
        max_ms=max(seconds) * 1e3,
    )


def _timeline(history: History) -> tuple[Busy, ...]:
    # The first stretches, as many as a reader can take in; the begin of a run shows its structure as well as its end.
    intervals = history.closed_intervals[:MOST_STRETCHES]
    if not len(intervals):
        return ()
    begin = intervals[0].start_ns
    return tuple(
        Busy(
            worker=interval.worker_id,
            start_ms=(interval.start_ns - begin) / 1e6,
            end_ms=((interval.end_ns or begin) - begin) / 1e6,
            command=interval.command,
            ok=interval.ok,
        )
        for interval in intervals
    )
