"""Histograms of durations: buckets of 1 µs up to 2 ms, and of at most 0.1 % of the value above.

Pure. Buckets are those of HdrHistogram with 2048 sub-buckets (hdrhistogram.org), so that equal durations of different
blocks fall into equal buckets and blocks are added up by adding counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

SUB_BUCKETS = 2048
HALF = SUB_BUCKETS // 2
SUFFICIENT = 100
"""The number of calls that must lie beyond a quantile before it is reported."""
QUANTILES = {"p10": 0.1, "p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}


class Histogram(msgspec.Struct, frozen=True):
    """`counts` of durations by bucket, in order; `upper_us` are the buckets' upper ends in microseconds."""

    upper_us: tuple[int, ...]
    counts: tuple[int, ...]

    @property
    def total(self) -> int:
        """The number of durations."""
        return sum(self.counts)


def bucket(microseconds: int) -> int:
    """The number of the bucket that holds a duration of 0 µs or more; negative ones count as 0."""
    value = max(microseconds, 0)
    shift = max(value.bit_length() - SUB_BUCKETS.bit_length() + 1, 0)
    return shift * HALF + (value >> shift)


def bounds(number: int) -> tuple[int, int]:
    """Return the smallest duration of a bucket, and the smallest of the next bucket, in microseconds."""
    shift = max(number // HALF - 1, 0)
    low = (number - shift * HALF) << shift
    return low, low + (1 << shift)


def tally(nanoseconds: Iterable[int]) -> Counter[int]:
    """Count durations, given in nanoseconds, by bucket; each is rounded to the nearest microsecond."""
    return Counter(bucket((duration + 500) // 1000) for duration in nanoseconds)


def histogram(counts: Mapping[int, int]) -> Histogram:
    """The counts by bucket as a `Histogram`."""
    numbers = sorted(counts)
    return Histogram(
        upper_us=tuple(bounds(number)[1] - 1 for number in numbers), counts=tuple(counts[number] for number in numbers)
    )


def needed(q: float) -> int:
    """The number of calls that the quantile q needs: 100 / (1 − q)."""
    return round(SUFFICIENT / (1 - q))


def quantile_us(counts: Mapping[int, int], q: float) -> float | None:
    """The q-quantile in microseconds (the middle of its bucket); None if there are too few calls for it."""
    total = sum(counts.values())
    if total < needed(q):
        return None
    rank, seen = q * total, 0
    for number in sorted(counts):
        seen += counts[number]
        if seen >= rank:
            break
    return middle_us(number)


def middle_us(number: int) -> float:
    """The middle of a bucket, in microseconds."""
    low, high = bounds(number)
    return (low + high - 1) / 2
