"""The universal scalability law: how throughput grows with concurrency, and where growth ends.

Pure. X(N) = λN / (1 + σ(N − 1) + κN(N − 1)): λ is one client's throughput, σ the serial share (contention), κ the cost
of agreement between clients (coherency). Source: Gunther, Guerrilla Capacity Planning, 2007.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from poolproof.harness.model.errors import UsageError

LEAST_POINTS = 4
NEAR = 0.95
"""The measured knee is the first point with this share of the highest throughput."""


class Scalability(msgspec.Struct, frozen=True, kw_only=True):
    """A fit of the law. `r_squared` is that of the throughput; `peak` is the N of the highest throughput, or None.

    `limit_per_s` is the limit of the throughput for large N; None if the law has no such limit.
    """

    rate: float
    contention: float
    coherency: float
    r_squared: float
    peak: float | None
    limit_per_s: float | None

    def at(self, n: float) -> float:
        """The throughput that the law predicts for N."""
        return self.rate * n / (1 + self.contention * (n - 1) + self.coherency * n * (n - 1))


def fit(concurrency: Sequence[float], throughput: Sequence[float]) -> Scalability:
    """Fit the law to at least 4 points, by least squares of the relative error, with no coefficient below 0.

    N / X is linear in 1, N − 1 and N(N − 1); a coefficient that would be negative is left out.
    Raises UsageError if there are fewer than 4 different points, or a value is not above 0.
    """
    if len(concurrency) != len(throughput) or len(set(concurrency)) < LEAST_POINTS:
        raise UsageError(f"a scalability fit needs {LEAST_POINTS} different points, not {len(set(concurrency))}")
    if min(*concurrency, *throughput) <= 0:
        raise UsageError("a scalability fit needs values above 0")
    import numpy as np

    n, x = np.asarray(concurrency, dtype=float), np.asarray(throughput, dtype=float)
    y = n / x
    columns = np.stack([np.ones_like(n), n - 1, n * (n - 1)], axis=1)
    best: tuple[float, tuple[float, float, float]] | None = None
    for used in ([0], [0, 1], [0, 2], [0, 1, 2]):  # prefer the simplest of the fits that are equally good
        weighted = columns[:, used] / y[:, None]
        found, *_ = np.linalg.lstsq(weighted, np.ones_like(y), rcond=None)
        if min(found) < 0 or found[0] <= 0:
            continue
        error = float(((weighted @ found - 1) ** 2).sum())
        if best is None or error < best[0] - 1e-9:
            whole = dict(zip(used, map(float, found), strict=True))
            best = error, (whole[0], whole.get(1, 0.0), whole.get(2, 0.0))
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
    )


def knee(concurrency: Sequence[float], throughput: Sequence[float]) -> float | None:
    """The smallest measured N with 95 % of the highest throughput; None if it is the last N: growth had not ended."""
    points = sorted(zip(concurrency, throughput, strict=True))
    if not points:
        return None
    most = max(rate for _, rate in points)
    first = next(n for n, rate in points if rate >= NEAR * most)
    return None if first == points[-1][0] and len(points) > 1 else first
