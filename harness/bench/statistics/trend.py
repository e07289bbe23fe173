"""Trends over benches: how a ratio has moved, in a line of bars and a sentence.

Pure. A trend is only told where the last ratio's interval does not overlap the range of the earlier ones' values.
"""

from __future__ import annotations

from collections.abc import Sequence

BARS = "▁▂▃▄▅▆▇█"
LEAST = 4


def bars(values: Sequence[float]) -> str:
    """A line with one bar a value, from the lowest to the highest of them."""
    if not values:
        return ""
    low, high = min(values), max(values)
    spread = high - low
    return "".join(BARS[round((value - low) / spread * (len(BARS) - 1)) if spread else 3] for value in values)


def tell_trend(values: Sequence[float], *, low: float, high: float) -> str:
    """What became of a ratio: `low` and `high` are the ends of the last one's interval."""
    if len(values) < LEAST:
        return f"{len(values)} benches; a trend needs {LEAST}"
    before = sorted(values[:-1])
    middle = before[len(before) // 2]
    change = values[-1] / middle - 1
    if low > before[-1]:
        return f"higher than each of the {len(before)} before: {change:+.1%} from their median"
    if high < before[0]:
        return f"lower than each of the {len(before)} before: {change:+.1%} from their median"
    return f"within what the {len(before)} before have shown ({change:+.1%} from their median)"
