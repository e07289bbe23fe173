"""The universal scalability law: how throughput grows with concurrency, and where growth ends.

Pure. X(N) = λN / (1 + σ(N − 1) + κN(N − 1)): λ is one client's throughput, σ the serial share (contention), κ the cost
of agreement between clients (coherency). Source: Gunther, Guerrilla Capacity Planning, 2007. A law with fewer
coefficients is preferred unless the data contradict it, by Akaike's criterion for few points (Hurvich and Tsai 1989):
noise alone would give serial and linear pools a peak. The intervals are those of the whole law.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from poolproof.harness.bench.statistics.figures import Estimate
from poolproof.harness.history.stats import t_quantile
from poolproof.harness.model.errors import UsageError

if TYPE_CHECKING:
    import numpy.typing as npt

LEAST_POINTS = 4
STEPS = 20
PEAK_COST = 4.0
"""How much a law with a peak must fit better (in Akaike's criterion: e² times as likely) to be chosen. Where growth has
only begun to fall behind, a serial share and a cost of agreement look alike.
"""
NEAR = 0.95
"""The measured knee is the first point with this share of the highest throughput."""


LEAST_ERROR = 1e-7
"""Smaller relative errors are rounding errors, and contradict no law."""


class Scalability(msgspec.Struct, frozen=True, kw_only=True):
    """A fit of the law. `r_squared` is that of the throughput; `peak` is the N of the highest throughput, or None.

    `limit_per_s` is the limit of the throughput for large N; None if the law has no such limit. `intervals` are the
    95 % intervals of the three coefficients, by the fields' names.
    """

    rate: float
    contention: float
    coherency: float
    r_squared: float
    peak: float | None
    limit_per_s: float | None
    intervals: dict[str, Estimate]

    def at(self, n: float) -> float:
        """The throughput that the law predicts for N."""
        return self.rate * n / (1 + self.contention * (n - 1) + self.coherency * n * (n - 1))


def fit(concurrency: Sequence[float], throughput: Sequence[float]) -> Scalability:
    """Fit the law to at least 4 points, by least squares of the logarithms, with no coefficient below 0.

    N / X is linear in 1, N − 1 and N(N − 1); a coefficient that would be negative is left out.
    Raises UsageError if there are fewer than 4 different points, or a value is not above 0.
    """
    if len(concurrency) != len(throughput) or len(set(concurrency)) < LEAST_POINTS:
        raise UsageError(f"a scalability fit needs {LEAST_POINTS} different points, not {len(set(concurrency))}")
    if min(*concurrency, *throughput) <= 0:
        raise UsageError("a scalability fit needs values above 0")
    import numpy as np

    n, x = np.asarray(concurrency, dtype=float), np.asarray(throughput, dtype=float)
    y, count = n / x, len(n)
    columns = np.stack([np.ones_like(n), n - 1, n * (n - 1)], axis=1)
    best: tuple[float, tuple[float, ...]] | None = None
    for used in ([0], [0, 1], [0, 2], [0, 1, 2]):
        found, squares = _least_squares(columns[:, used], y)
        free = count - len(used) - 2  # the variance is estimated too
        if min(found) < 0 or found[0] <= 0 or free <= 0:
            continue
        criterion = count * math.log(max(squares / count, LEAST_ERROR**2)) + 2 * (len(used) + 1) * (count / free)
        criterion += PEAK_COST if 2 in used else 0.0
        if best is None or criterion < best[0]:
            whole = dict(zip(used, map(float, found), strict=True))
            best = criterion, (whole[0], whole.get(1, 0.0), whole.get(2, 0.0))
    assert best is not None, "the first choice is a mean of positive numbers"
    base, serial, agreement = best[1]
    rate, contention, coherency = 1 / base, serial / base, agreement / base
    predicted = rate * n / (1 + contention * (n - 1) + coherency * n * (n - 1))
    around = float(((x - x.mean()) ** 2).sum())
    missed = float(((x - predicted) ** 2).sum())
    peak = math.sqrt(max(1 - contention, 0.0) / coherency) if coherency > 0 else None
    return Scalability(
        rate=rate,
        contention=contention,
        coherency=coherency,
        r_squared=1 - missed / around if around > 0 else float(missed == 0),
        peak=peak,
        limit_per_s=rate / contention if contention > 0 and coherency == 0 else None,
        intervals=_intervals(columns, y, {"rate": rate, "contention": contention, "coherency": coherency}),
    )


def _least_squares(columns: npt.NDArray[Any], y: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], float]:
    # The coefficients for which the logarithm of the columns' sum is nearest to that of y, and the sum of squares.
    import numpy as np

    found = np.linalg.lstsq(columns / y[:, None], np.ones_like(y), rcond=None)[0]
    if (columns @ found).min() <= 0:
        found = np.eye(len(found))[0] * math.exp(float(np.log(y).mean()))
    for _ in range(STEPS):
        told = columns @ found
        step = np.linalg.lstsq(columns / told[:, None], np.log(y / told), rcond=None)[0]
        while (columns @ (found + step)).min() <= 0:
            step = step / 2
        found = found + step
    return found, float((np.log(y / (columns @ found)) ** 2).sum())


def _intervals(columns: npt.NDArray[Any], y: npt.NDArray[Any], values: dict[str, float]) -> dict[str, Estimate]:
    # Of the whole law, whichever law was preferred: an interval of a preferred law would be too narrow.
    import numpy as np

    found, squares = _least_squares(columns, y)
    freedom = len(y) - columns.shape[1]
    scaled = columns / (columns @ found)[:, None]
    spread = np.linalg.pinv(scaled.T @ scaled) * squares / freedom
    base, t = found[0], t_quantile(0.95, freedom)
    if base <= 0:
        return {}
    half = t * math.sqrt(spread[0, 0]) / base
    told = {"rate": Estimate(values["rate"], math.exp(-half) / base, math.exp(half) / base)}
    for place, name in ((1, "contention"), (2, "coherency")):
        share = found[place] / base
        along = np.zeros(len(found))
        along[0], along[place] = -share / base, 1 / base
        half = t * math.sqrt(float(along @ spread @ along))
        told[name] = Estimate(values[name], max(share - half, 0.0), max(share + half, 0.0))
    return told


def knee(concurrency: Sequence[float], throughput: Sequence[float]) -> float | None:
    """The smallest measured N with 95 % of the highest throughput; None if it is the last N: growth had not ended."""
    points = sorted(zip(concurrency, throughput, strict=True))
    if not points:
        return None
    most = max(rate for _, rate in points)
    first = next(n for n, rate in points if rate >= NEAR * most)
    return None if first == points[-1][0] and len(points) > 1 else first
