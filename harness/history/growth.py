"""How fast a figure grows with time, with an interval that allows for autocorrelation, and whether it is a leak.

Pure. The slope is the median of the slopes between all pairs of samples (Theil 1950, Sen 1968). Neighbouring samples of
memory resemble each other, so the error comes from the residuals' slow waves: they are prewhitened by a first-order
autoregression, and a few cosines estimate what is left (Müller 2007; Lazarus, Lewis, Stock and Watson 2018). It has
Student's t with as many degrees of freedom as cosines.

A leak is growth of the lower envelope: memory that is collected now and then rises and falls like the teeth of
a saw, so nothing is decided until it has fallen three times.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from poolproof.harness.history.stats import t_quantile
from poolproof.harness.model.verdict import Verdict

Array = npt.NDArray[np.float64]

LEAST_SAMPLES = 8
LEAST_S = 3.0
"""Fewer samples, or samples over a shorter time, cannot show a leak."""
MOST_POINTS = 300
"""More samples than this are replaced by the lowest of each group, since the slope is taken over all pairs."""
MOST_CORRELATED = 0.95
LONG = 40
"""From this many samples on, the error of a line is estimated with one more cosine."""
MOST_SCALES = 4.0
"""A larger residual is cut to this many standard deviations."""
FALL = 0.5
"""A fall of at least this share of the whole range counts as a collection of memory."""
LEAST_TROUGHS = 3
CERTAIN = 0.99


class Slope(msgspec.Struct, frozen=True):
    """A slope in units per second, with its 95 % interval, its standard error and its degrees of freedom."""

    value: float
    low: float
    high: float
    error: float = 0.0
    freedom: int = 1


class Growth(msgspec.Struct, frozen=True):
    """FAIL: a leak. UNKNOWN: it cannot be told, and `why` says why. `slope` is that of the lower envelope."""

    verdict: Verdict
    slope: Slope | None
    why: str = ""


def slope(times_s: Sequence[float], values: Sequence[float]) -> Slope | None:
    """The slope of values over times (seconds, in any order); None for fewer than 8 samples or less than 3 s."""
    if len(times_s) < LEAST_SAMPLES or max(times_s) - min(times_s) < LEAST_S:
        return None
    order = np.argsort(np.asarray(times_s, dtype=float), kind="stable")
    return _median_slope(np.asarray(times_s, dtype=float)[order], np.asarray(values, dtype=float)[order])


def long_run_variance(rest: Sequence[float] | Array, *, line: bool) -> tuple[float, int]:
    """The variance of residuals at the slowest waves, and its degrees of freedom; at least 8 residuals.

    `line` says that they are residuals of a line, not of a mean: a line takes the slowest cosine away, and more of the
    autocorrelation, whose estimate is corrected for it (Kendall 1954).
    """
    x = np.asarray(rest, dtype=float)
    squares = float((x**2).sum())
    if squares <= 0:
        return 0.0, 1
    count, first = len(x), 2 if line else 1
    seen = float((x[1:] * x[:-1]).sum()) / squares
    missed = (3 + 4 * max(seen, 0.0)) if line else (1 + 3 * max(seen, 0.0))
    correlated = min(max(seen + missed / count, 0.0), MOST_CORRELATED)
    white = x[1:] - correlated * x[:-1]
    cosines = first + 1 + (line and count >= LONG)
    waves = np.arange(first, first + cosines)[:, None] * (np.arange(count - 1) + 0.5) * (math.pi / (count - 1))
    weights = np.cos(waves) @ (white - white.mean()) * math.sqrt(2 / (count - 1))
    return float((weights**2).mean()) / (1 - correlated) ** 2, cosines


def find_growth(times_s: Sequence[float], values: Sequence[float], *, least: float) -> Growth:
    """Decide whether the values, in order of time, grow by at least `least` over all samples, and still do at the end.

    Too few samples, fewer than three falls, and growth that is not certain by 99 % are UNKNOWN.
    """
    at, value = _thinned(times_s, values)
    if len(at) < LEAST_SAMPLES or not at[0] < at[-1]:
        return Growth(Verdict.UNKNOWN, None, f"{len(at)} samples; {LEAST_SAMPLES} are needed")
    smooth = _smoothed(value)
    troughs = _troughs(smooth)
    line = _line(at[troughs], smooth[troughs]) if len(troughs) >= LEAST_TROUGHS else _median_slope(at, value)
    span_s = float(at[-1] - at[0])
    if line.value * span_s < least:
        return Growth(Verdict.PASS, line)
    if 0 < len(troughs) < LEAST_TROUGHS:
        return Growth(Verdict.UNKNOWN, line, f"it rose and fell; {LEAST_TROUGHS} falls tell whether it grows")
    half = len(at) // 2
    if not troughs and _median_slope(at[half:], value[half:]).value * span_s < least / 2:
        return Growth(Verdict.PASS, line, "the growth has ended")
    if line.value > t_quantile(CERTAIN, line.freedom) * line.error:
        return Growth(Verdict.FAIL, line)
    return Growth(Verdict.UNKNOWN, line, "the growth is not certain")


def _median_slope(at: Array, value: Array) -> Slope:
    one, other = np.triu_indices(len(at), 1)
    apart = at[other] - at[one]
    middle = float(np.median((value[other] - value[one])[apart > 0] / apart[apart > 0]))
    rest = value - middle * at
    rest -= np.median(rest)
    scale = 1.4826 * float(np.median(np.abs(rest)))
    rest = np.clip(rest, -MOST_SCALES * scale, MOST_SCALES * scale)
    variance, freedom = long_run_variance(rest, line=True)
    error = math.sqrt(variance / float(((at - at.mean()) ** 2).sum()))
    return _slope(middle, error, freedom)


def _slope(value: float, error: float, freedom: int) -> Slope:
    half = t_quantile(0.95, freedom) * error
    return Slope(value, value - half, value + half, error, freedom)


def _line(at: Array, value: Array) -> Slope:
    # Through the troughs: least squares for a few, which are too far apart to be correlated.
    if len(at) >= LEAST_SAMPLES:
        return _median_slope(at, value)
    x, y = at - at.mean(), value - value.mean()
    middle = float(x @ y / (x @ x))
    rest = float(((y - middle * x) ** 2).sum())
    return _slope(middle, math.sqrt(rest / (len(at) - 2) / float(x @ x)), len(at) - 2)


def _thinned(times_s: Sequence[float], values: Sequence[float]) -> tuple[Array, Array]:
    step = -(-len(times_s) // MOST_POINTS)
    lowest = [
        min(range(begin, min(begin + step, len(values))), key=lambda place: values[place])
        for begin in range(0, len(values), step or 1)
    ]
    at, value = np.asarray(times_s, dtype=float), np.asarray(values, dtype=float)
    return at[lowest], value[lowest]


def _smoothed(values: Array) -> Array:
    # The median of each value and its two neighbours on either side, so that noise is no fall.
    padded = np.concatenate([values[:1], values[:1], values, values[-1:], values[-1:]])
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(padded, 5), axis=1), dtype=float)


def _troughs(values: Array) -> list[int]:
    # The places of the lowest values after each fall of at least half of the whole range.
    fall = FALL * float(values.max() - values.min())
    found: list[int] = []
    high, low = 0, -1
    for place, value in enumerate(values if fall > 0 else ()):
        if low < 0:
            high = place if value > values[high] else high
            low = place if values[high] - value >= fall else -1
        elif value < values[low]:
            low = place
        elif value - values[low] >= fall:
            found.append(low)
            high, low = place, -1
    return found if low < 0 else [*found, low]
