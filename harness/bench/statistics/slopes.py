"""Slopes: does a figure grow with time? The median of the slopes between all pairs of samples (Theil 1950, Sen 1968).

Pure. The interval is Sen's, by the normal approximation of Kendall's statistic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

LEAST_SAMPLES = 8
LEAST_S = 3.0
"""Fewer samples, or samples over a shorter time, cannot show a leak."""
Z_95 = 1.959964


class Slope(msgspec.Struct, frozen=True):
    """Units per second, with the ends of the 95 % interval."""

    value: float
    low: float
    high: float


def slope(times_s: Sequence[float], values: Sequence[float]) -> Slope | None:
    """The slope of values over times (seconds, in any order); None for fewer than 8 samples or less than 3 s."""
    count = len(times_s)
    if count < LEAST_SAMPLES or max(times_s) - min(times_s) < LEAST_S:
        return None
    points = sorted(zip(times_s, values, strict=True))
    found = sorted(
        (value - points[first][1]) / (at_s - points[first][0])
        for place, (at_s, value) in enumerate(points)
        for first in range(place)
        if at_s > points[first][0]
    )
    if not found:
        return None
    spread = Z_95 * math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    low = max(int((len(found) - spread) / 2), 0)
    high = min(math.ceil((len(found) + spread) / 2), len(found) - 1)
    half = len(found) // 2
    middle = found[half] if len(found) % 2 else (found[half - 1] + found[half]) / 2
    return Slope(middle, found[low], found[high])
