"""Checks that the resources of the run's process do not grow while it works."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence

import msgspec

from poolproof.harness.history.history import History, Sample
from poolproof.harness.model.checker import Finding, finding
from poolproof.harness.model.verdict import Verdict

MOST_POINTS = 300
"""More samples than this are thinned out evenly, since the slope is taken over all pairs."""


def theil_sen(points: Sequence[tuple[float, float]]) -> float:
    """Return the median of the slopes between all pairs of points (x, y) with different x; outliers hardly change it.

    Source: Theil (1950), Sen (1968). Returns 0 if no two points differ in x.
    """
    slopes = [(y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in itertools.combinations(points, 2) if x1 != x2]
    return statistics.median(slopes) if slopes else 0.0


class LeakSlope(msgspec.Struct, frozen=True, kw_only=True):
    """Memory, descriptors, threads and children do not grow while the run works (G21).

    Each bound is in units a second. A slope over its bound is a leak only if the growth over all samples is at least
    `least_bytes`, or one descriptor, thread or child. The first `warm_s` seconds are left out. Fewer than
    `least_samples` samples give UNKNOWN.
    """

    bytes_per_s: float = 1 << 20
    descriptors_per_s: float = 0.2
    threads_per_s: float = 0.2
    children_per_s: float = 0.2
    least_bytes: int = 8 << 20
    least_samples: int = 20
    warm_s: float = 1.0
    name: str = "leak_slope"
    guarantees: tuple[str, ...] = ("G21",)

    def check(self, history: History) -> Finding:
        """Decide from the samples between the begin of the calls and their end."""
        samples = self._of_work(history)
        figures: dict[str, float | int | str] = {"samples": len(samples)}
        if len(samples) < self.least_samples:
            claim = f"{len(samples)} samples were taken; {self.least_samples} are needed"
            return finding(self, Verdict.UNKNOWN, claim, figures=figures)
        span_s = (samples[-1].at_ns - samples[0].at_ns) / 1e9
        samples = samples[:: -(-len(samples) // MOST_POINTS)]
        wrong = []
        for what, limit, least in (
            ("memory_bytes", self.bytes_per_s, self.least_bytes),
            ("descriptors", self.descriptors_per_s, 1),
            ("threads", self.threads_per_s, 1),
            ("children", self.children_per_s, 1),
        ):
            slope = theil_sen([(sample.at_ns / 1e9, getattr(sample, what)) for sample in samples])
            figures[f"{what}_per_s"] = round(slope, 3)
            if slope > limit and slope * span_s >= least:
                wrong.append(f"{what} grew by {slope:.2f} a second for {span_s:.1f} s; the limit is {limit:g}")
        if wrong:
            return finding(
                self,
                Verdict.FAIL,
                f"{len(wrong)} resource figures grew faster than allowed",
                figures=figures,
                examples=wrong,
            )
        claim = f"no resource figure grew in {len(samples)} samples over {span_s:.1f} s"
        return finding(self, Verdict.PASS, claim, figures=figures)

    def _of_work(self, history: History) -> list[Sample]:
        begun_ns = history.begun_ns or history.info.started_ns
        ended_ns = history.ended_ns or history.close_began_ns
        return [
            sample
            for sample in history.samples
            if sample.at_ns >= begun_ns + int(self.warm_s * 1e9) and (ended_ns is None or sample.at_ns <= ended_ns)
        ]
