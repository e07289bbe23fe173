"""The statistics of comparisons: quantiles, and ratios over paired blocks.

Pure and seeded. The unit is the block, since the requests of one run share the machine's drift.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from harness.errors import UsageError


class Ratio(msgspec.Struct, frozen=True):
    """The geometric mean of paired ratios, with the ends of its bootstrap interval."""

    ratio: float
    low: float
    high: float


def quantile(values: Sequence[float], q: float) -> float:
    """The q-quantile (0 to 1) of at least one value, interpolated linearly. Raises UsageError."""
    if not values or not 0 <= q <= 1:
        raise UsageError(f"a quantile needs values and 0 ≤ q ≤ 1, not {len(values)} values and q = {q}")
    ordered = sorted(values)
    position = q * (len(ordered) - 1)
    below = min(int(position), len(ordered) - 2) if len(ordered) > 1 else 0
    low, high = ordered[below], ordered[min(below + 1, len(ordered) - 1)]
    return float(low + (high - low) * (position - below))


class Proportion(msgspec.Struct, frozen=True):
    """`count` of `total`, with the ends of an interval for the share that it stands for."""

    count: int
    total: int
    low: float
    high: float


def proportion(count: int, total: int, *, z: float = 1.959964) -> Proportion:
    """The Wilson score interval of a share, by default at 95 % (Wilson 1927); 0 to 1 if nothing was tried.

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


def paired_ratio(
    baseline: Sequence[float],
    candidate: Sequence[float],
    *,
    seed: int,
    resamples: int = 4000,
    level: float = 0.95,
) -> Ratio:
    """candidate / baseline over pairs: the mean of the log ratios, and a percentile bootstrap over the pairs.

    Raises UsageError for no pairs, unequal lengths or values that are not above 0.
    """
    if not baseline or len(baseline) != len(candidate):
        raise UsageError(f"pairs are needed, not {len(baseline)} and {len(candidate)} values")
    if min(*baseline, *candidate) <= 0:
        raise UsageError("a ratio needs values above 0")
    import numpy as np  # here, since its import costs 0.2 s of processor time, and no job of a comparison needs it

    logs = np.log(np.asarray(candidate, dtype=float)) - np.log(np.asarray(baseline, dtype=float))
    draws = np.random.default_rng(seed).integers(0, len(logs), size=(resamples, len(logs)))
    means = logs[draws].mean(axis=1)
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Ratio(float(np.exp(logs.mean())), float(np.exp(low)), float(np.exp(high)))
