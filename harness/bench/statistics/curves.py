"""The points of a sweep, each from its blocks, and the curve that is fitted to the points of one pool.

Pure. The scalability law is in `scalability`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from poolproof.harness.bench.block import Block
from poolproof.harness.bench.statistics.figures import Curve, SweepPoint
from poolproof.harness.bench.statistics.histogram import QUANTILES, quantile_us
from poolproof.harness.bench.statistics.scalability import LEAST_POINTS, Scalability, fit, knee


def summarize(pool: str, workers: int, clients: int, blocks: Sequence[Block]) -> SweepPoint:
    """One point from its blocks: the throughput over all blocks, and each quantile that has enough calls."""
    counts: Counter[int] = Counter()
    for block in blocks:
        counts.update(block.response)

    def told(name: str) -> float | None:
        found = quantile_us(counts, QUANTILES[name])
        return None if found is None else found / 1e6

    calls = sum(block.calls for block in blocks)
    return SweepPoint(
        pool=pool,
        workers=workers,
        clients=clients,
        calls=calls,
        throughput=calls / sum(block.seconds for block in blocks),
        p50_s=told("p50"),
        p90_s=told("p90"),
        p99_s=told("p99"),
        errors=sum(sum(block.errors.values()) for block in blocks),
    )


def curve(pool: str, axis: str, points: Sequence[tuple[float, float]]) -> Curve:
    """The fitted law and the knee of one pool along one axis; without the law if there are fewer than 4 points."""
    ordered = sorted(points)
    sizes, rates = [n for n, _ in ordered], [rate for _, rate in ordered]
    if len(ordered) < LEAST_POINTS or min(rates) <= 0:
        return Curve(pool=pool, axis=axis, text=f"{pool} against {axis}: too few points for the scalability law")
    law, bend = fit(sizes, rates), knee(sizes, rates)
    growth, size = rates[-1] / rates[0], sizes[-1] / sizes[0]
    words = f"{growth:.3g} times the throughput with {size:.3g} times the {axis}"
    if bend is not None:
        words += f"; the throughput stops growing at {bend:g}"
    return Curve(
        pool=pool,
        axis=axis,
        rate=law.rate,
        contention=law.contention,
        coherency=law.coherency,
        r_squared=law.r_squared,
        peak=law.peak,
        knee=bend,
        growth=growth,
        intervals=law.intervals,
        text=f"{pool} against {axis}: {words}; {_serial(law)}",
    )


def _serial(law: Scalability) -> str:
    told = f"{min(law.contention, 1.0):.2%} of a call is serial"
    if found := law.intervals.get("contention"):
        told += f" (95 % interval {min(found.low, 1.0):.2%} to {min(found.high, 1.0):.2%})"
    return told
