"""Statistics of comparisons: quantiles, and ratios over paired blocks.

Pure. The unit is the block, since the requests of one run share the drift of the machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import msgspec

from poolproof.harness.model.errors import UsageError

TRIM = 0.2
"""The share of the lowest values, and of the highest values, that a trimmed mean leaves out."""


class Ratio(msgspec.Struct, frozen=True):
    """The trimmed geometric mean of paired ratios, with the ends of its confidence interval."""

    ratio: float
    low: float
    high: float


def quantile(values: Sequence[float], q: float) -> float:
    """Return the q-quantile (0 to 1) with linear interpolation. Raises UsageError if there are no values."""
    if not values or not 0 <= q <= 1:
        raise UsageError(f"a quantile needs values and 0 ≤ q ≤ 1, not {len(values)} values and q = {q}")
    ordered = sorted(values)
    position = q * (len(ordered) - 1)
    below = min(int(position), len(ordered) - 2) if len(ordered) > 1 else 0
    low, high = ordered[below], ordered[min(below + 1, len(ordered) - 1)]
    return float(low + (high - low) * (position - below))


class Proportion(msgspec.Struct, frozen=True):
    """The share `count` of `total`, with the ends of a confidence interval for the true share."""

    count: int
    total: int
    low: float
    high: float


def proportion(count: int, total: int, *, z: float = 1.959964) -> Proportion:
    """Return the Wilson score interval of a share, by default at 95 % (Wilson 1927); 0 to 1 if `total` is 0.

    Raises UsageError unless 0 ≤ count ≤ total.
    """
    if not 0 <= count <= total:
        raise UsageError(f"a share needs 0 ≤ count ≤ total, not {count} of {total}")
    if total == 0:
        return Proportion(0, 0, 0.0, 1.0)
    share, weight = count / total, z * z / total
    middle = (share + weight / 2) / (1 + weight)
    half = z * math.sqrt(share * (1 - share) / total + weight / (4 * total)) / (1 + weight)
    low = 0.0 if count == 0 else max(0.0, middle - half)
    return Proportion(count, total, low, 1.0 if count == total else min(1.0, middle + half))


def paired_ratio(baseline: Sequence[float], candidate: Sequence[float], *, level: float = 0.95) -> Ratio:
    """Return candidate / baseline over pairs: the 20 % trimmed mean of the log ratios, with Student's t.

    For few pairs the interval of a bootstrap is too narrow. One pair has no interval: 0 to infinity.
    Raises UsageError for no pairs, unequal lengths or values that are not above 0.
    """
    if not baseline or len(baseline) != len(candidate):
        raise UsageError(f"pairs are needed, not {len(baseline)} and {len(candidate)} values")
    if min(*baseline, *candidate) <= 0:
        raise UsageError("a ratio needs values above 0")
    logs = [math.log(other) - math.log(one) for one, other in zip(baseline, candidate, strict=True)]
    if len(logs) == 1:
        return Ratio(math.exp(logs[0]), 0.0, math.inf)
    mean, error, freedom = trimmed_mean([logs])
    half = t_quantile(level, freedom) * error
    return Ratio(math.exp(mean), math.exp(mean - half), math.exp(mean + half))


def trimmed_mean(rows: Sequence[Sequence[float]]) -> tuple[float, float, int]:
    """Return the mean of the rows' 20 % trimmed means, its standard error, and the degrees of freedom of Student's t.

    Each row has one value for each of at least two rounds. Each row is trimmed by itself. Variation that the rows have
    in common counts once, since the error is that of the mean of the winsorized rows. Source: Yuen 1974.
    """
    size = len(rows[0])
    cut = int(TRIM * size)
    kept = size - 2 * cut
    mean = 0.0
    winsorized = [0.0] * size
    for row in rows:
        ordered = sorted(row)
        low, high = ordered[cut], ordered[size - 1 - cut]
        mean += math.fsum(ordered[cut : size - cut]) / kept / len(rows)
        clipped = (min(max(value, low), high) / len(rows) for value in row)
        winsorized = [one + other for one, other in zip(winsorized, clipped, strict=True)]
    middle = math.fsum(winsorized) / size
    squares = math.fsum((value - middle) ** 2 for value in winsorized)
    return mean, math.sqrt(squares / (kept * (kept - 1))), kept - 1


@cache
def t_quantile(level: float, freedom: int) -> float:
    """Return the t for which the share `level` of Student's distribution lies between −t and t."""
    low, high = 0.0, 1e6
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_share(middle, freedom) < level else (low, middle)
    return (low + high) / 2


def _t_share(t: float, freedom: int) -> float:
    # The share of the distribution between −t and t. Source: Abramowitz and Stegun 1964, 26.7.3 and 26.7.4.
    angle = math.atan2(t, math.sqrt(freedom))
    odd = freedom % 2
    term = math.cos(angle) if odd else 1.0
    total = 0.0
    for step in range(2 + odd, freedom + 1, 2):
        total += term
        term *= math.cos(angle) ** 2 * (step - 1) / step
    return 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total
