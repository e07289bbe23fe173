"""Statistics of comparisons: quantiles, and ratios over paired blocks.

Pure. The unit is the block, since the requests of one run share the drift of the machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import msgspec

from poolproof.harness.model.errors import UsageError

STEPS = 100
MANY = 30
"""From this many rounds on, a robust mean estimates the spread from the third of the values nearest to the median."""
FEW_BOUND, FEW_NEAREST, FEW_Z = 0.8, 0.5, 0.674490
MANY_BOUND, MANY_NEAREST, MANY_Z = 0.4, 0.35, 0.453762
"""Values are pulled in to BOUND standard deviations of the undisturbed values. The share NEAREST of the values, those
nearest to the median, estimates that standard deviation: this share of a normal distribution lies within Z of them.
"""


class Ratio(msgspec.Struct, frozen=True):
    """The robust geometric mean of paired ratios, with the ends of its confidence interval."""

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


class Location(msgspec.Struct, frozen=True):
    """A robust mean with its standard error, the degrees of freedom of Student's t, and the pull of each round.

    `influences` are the rounds' deviations: their mean is 0, and the error follows from their squares.
    """

    value: float
    error: float
    freedom: int
    influences: tuple[float, ...]

    def half(self, level: float = 0.95) -> float:
        """Half of the width of the confidence interval."""
        return t_quantile(level, self.freedom) * self.error


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
    """Return candidate / baseline over pairs: the robust mean of the log ratios, with Student's t.

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
    found = robust_mean([logs])
    half = found.half(level)
    return Ratio(math.exp(found.value), math.exp(found.value - half), math.exp(found.value + half))


def robust_mean(rows: Sequence[Sequence[float]]) -> Location:
    """Return the mean of the rows' robust means (Huber 1964). Each row has one value for each of at least two rounds.

    Each row is pulled in by itself, about its own mean. Variation that the rows have in common counts once, since the
    error is that of the rounds' mean influence; it has Huber's correction for few rounds (Huber 1981, 7.6). The degrees
    of freedom are 0.7 (rounds − 1), since the scale is estimated from some of the values only.
    """
    size = len(rows[0])
    bound, nearest, z = (FEW_BOUND, FEW_NEAREST, FEW_Z) if size < MANY else (MANY_BOUND, MANY_NEAREST, MANY_Z)
    value, kept = 0.0, 0.0
    pulls = [0.0] * size
    for row in rows:
        middle = quantile(row, 0.5)
        limit = bound * quantile([abs(each - middle) for each in row], nearest) / z
        mean = _pulled_mean(row, middle, limit) if limit > 0 else middle
        inside = max(sum(abs(each - mean) <= limit for each in row) / size, 1 / size)
        value += mean / len(rows)
        kept += inside / len(rows)
        for place, each in enumerate(row):
            pulls[place] += min(max(each - mean, -limit), limit) / inside / len(rows)
    corrected = 1 + (1 - kept) / kept / size
    influences = tuple(pull * corrected for pull in pulls)
    error = math.sqrt(math.fsum(each**2 for each in influences) / (size * (size - 1)))
    return Location(value, error, max(math.floor(0.7 * (size - 1)), 1), influences)


def _pulled_mean(row: Sequence[float], middle: float, limit: float) -> float:
    # The number about which the values' deviations, pulled in to the limit, add up to 0: Newton's steps between bounds.
    low, high, mean = min(row), max(row), middle
    for _ in range(STEPS):
        rest = [each - mean for each in row]
        total = sum(min(max(each, -limit), limit) for each in rest)
        inside = sum(-limit <= each <= limit for each in rest)
        low, high = (mean, high) if total > 0 else (low, mean)
        better = mean + total / inside if inside else (low + high) / 2
        if not low <= better <= high:
            better = (low + high) / 2
        if abs(better - mean) <= 1e-9 * limit:
            return better
        mean = better
    return mean


@cache
def t_quantile(level: float, freedom: int) -> float:
    """Return the t for which the share `level` of Student's distribution lies between −t and t."""
    low, high = 0.0, 1e6
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if t_share(middle, freedom) < level else (low, middle)
    return (low + high) / 2


def t_share(t: float, freedom: int) -> float:
    """Return the share of Student's distribution between −t and t (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4)."""
    angle = math.atan2(t, math.sqrt(freedom))
    odd = freedom % 2
    term = math.cos(angle) if odd else 1.0
    total = 0.0
    for step in range(2 + odd, freedom + 1, 2):
        total += term
        term *= math.cos(angle) ** 2 * (step - 1) / step
    return 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total
