"""The figures of one run, from its history.

Pure. It describes and refuses to judge; what was not recorded stays empty.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from harness.comparison import Busy, Metrics, Quantiles
from harness.history import History
from harness.overlap import closed_intervals, overlap_degree
from harness.recovery import recoveries
from harness.stats import quantile

MOST_STRETCHES = 400
MOST_RECOVERIES = 100


def measure(history: History) -> Metrics:
    """All figures of a run."""
    done = [op for op in history.ops if op.completed_ns is not None]
    intervals = closed_intervals(history)
    wall_s = throughput = None
    if done:
        last_ns = max(op.completed_ns for op in done if op.completed_ns is not None)
        wall_s = (last_ns - min(op.invoked_ns for op in done)) / 1e9
        answered = sum(op.outcome == "result" for op in done)
        throughput = answered / wall_s if wall_s > 0 else None
    most, mean = overlap_degree((start, end) for start, end, _ in intervals) if intervals else (None, None)
    return Metrics(
        ops=len(history.ops),
        outcomes=dict(sorted(Counter(op.outcome for op in history.ops).items())),
        wall_s=wall_s,
        throughput_per_s=throughput,
        overlap_max=most,
        overlap_mean=mean,
        response=_quantiles([op.response_s for op in done if op.response_s is not None]),
        service=_quantiles(
            [
                (op.received_ns - op.sent_ns) / 1e9
                for op in done
                if op.received_ns is not None and op.sent_ns is not None
            ]
        ),
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
    # From the start, as many as a reader can take in; a run's begin shows its structure as well as its end.
    intervals = closed_intervals(history)[:MOST_STRETCHES]
    if not intervals:
        return ()
    begin = intervals[0][0]
    return tuple(
        Busy(
            worker=interval.worker_id,
            start_ms=(start - begin) / 1e6,
            end_ms=(end - begin) / 1e6,
            command=interval.command,
            ok=interval.ok,
        )
        for start, end, interval in intervals
    )
