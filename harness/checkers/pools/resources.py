"""Checks that the resources of the run's process do not grow while it works."""

from __future__ import annotations

import msgspec

from poolproof.harness.history.growth import find_growth
from poolproof.harness.history.history import History, Sample
from poolproof.harness.model.checker import Finding, finding
from poolproof.harness.model.verdict import Verdict, worst


class LeakSlope(msgspec.Struct, frozen=True, kw_only=True):
    """Memory, descriptors, threads and children do not grow while the run works (G21).

    A figure leaks if its lower envelope grows by at least its bound over all samples, however long the run is, and
    this is certain. Growth that is not certain, and memory that has risen and fallen fewer than three times, are
    UNKNOWN. The first `warm_s` seconds are left out. Fewer than `least_samples` samples give UNKNOWN.
    """

    least_bytes: int = 8 << 20
    least_descriptors: int = 3
    least_threads: int = 2
    least_children: int = 2
    least_samples: int = 20
    warm_s: float = 1.0
    name: str = "leak_slope"
    guarantees: tuple[str, ...] = ("G21",)

    def check(self, history: History) -> Finding:
        """Judge the run by the samples between the begin of the calls and their end."""
        samples = self._of_work(history)
        figures: dict[str, float | int | str] = {"samples": len(samples)}
        if len(samples) < self.least_samples:
            claim = f"{len(samples)} samples were taken; {self.least_samples} are needed"
            return finding(self, Verdict.UNKNOWN, claim, figures=figures)
        times_s = [sample.at_ns / 1e9 for sample in samples]
        span_s = times_s[-1] - times_s[0]
        verdicts, told = [], []
        for what, least in (
            ("memory_bytes", self.least_bytes),
            ("descriptors", self.least_descriptors),
            ("threads", self.least_threads),
            ("children", self.least_children),
        ):
            found = find_growth(times_s, [getattr(sample, what) for sample in samples], least=least)
            verdicts.append(found.verdict)
            grown = found.slope.value if found.slope is not None else 0.0
            figures[f"{what}_per_s"] = round(grown, 3)
            if found.verdict is not Verdict.PASS:
                why = f": {found.why}" if found.why else f"; the limit is {least} over the whole time"
                told.append(f"{what} grew by {grown:.2f} a second for {span_s:.1f} s{why}")
        match worst(verdicts):
            case Verdict.FAIL:
                return finding(self, Verdict.FAIL, f"{len(told)} resource figures grew", figures=figures, examples=told)
            case Verdict.UNKNOWN:
                claim = f"whether {len(told)} resource figures grow cannot be decided"
                return finding(self, Verdict.UNKNOWN, claim, figures=figures, examples=told)
            case Verdict.PASS:
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
