"""Trends over benches: the course of a ratio as a line of bars and as a sentence.

Pure. A trend is reported only if the last ratio's interval lies outside the range of the earlier ratios.
"""

from __future__ import annotations

from collections.abc import Sequence

BARS = "▁▂▃▄▅▆▇█"
LEAST = 4


def bars(values: Sequence[float]) -> str:
    """A line with one bar for each value, scaled from the lowest to the highest value."""
    if not values:
        return ""
    low, high = min(values), max(values)
    spread = high - low
    return "".join(BARS[round((value - low) / spread * (len(BARS) - 1)) if spread else 3] for value in values)


def tell_trend(values: Sequence[float], *, low: float, high: float) -> str:
    """Describe the last ratio compared with the earlier ones; `low` and `high` are the ends of its interval."""
    if len(values) < LEAST:
        return f"{len(values)} stored results; a trend needs at least {LEAST}"
    before = sorted(values[:-1])
    middle = before[len(before) // 2]
    change = values[-1] / middle - 1
    if low > before[-1]:
        return f"higher than each of the {len(before)} earlier values: {change:+.1%} from their median"
    if high < before[0]:
        return f"lower than each of the {len(before)} earlier values: {change:+.1%} from their median"
    return f"within the range of the {len(before)} earlier values ({change:+.1%} from their median)"
