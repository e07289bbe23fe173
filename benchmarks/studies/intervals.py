"""`python -m benchmarks.studies.intervals [--benches N]`: how often each 95 % interval covers the truth, by simulation.

The truth is known, since the figures are drawn: blocks on a machine that drifts (autocorrelation 0.8, standard
deviation 8 %), each with noise of 2 %, and each disturbed with a given chance; a disturbed block takes up to twice as
long. Memory and throughput by size are drawn likewise. Nothing is measured, so the machine's load does not matter.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from poolproof.harness.bench.block import ARMS, Block, Round
from poolproof.harness.bench.schedules import FULL
from poolproof.harness.bench.statistics.analysis import Analysis, claim_of, decide
from poolproof.harness.bench.statistics.claims import Claim
from poolproof.harness.bench.statistics.figures import Trial
from poolproof.harness.bench.statistics.histogram import tally
from poolproof.harness.bench.statistics.scalability import Scalability, fit
from poolproof.harness.history.growth import find_growth, slope
from poolproof.harness.history.stats import paired_ratio
from poolproof.harness.model.verdict import Verdict

CALL_S = 0.003
CORRELATED = 0.8
DRIFT = 0.08
NOISE = 0.02
CALLS = 20
"""Calls of a block whose calls are alike: enough for p50, too few for a tail."""
MEGABYTE = 1 << 20
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
LAWS = {"serial": (10.0, 1.0, 0.0), "linear": (10.0, 0.0, 0.0), "with a peak": (40.0, 0.02, 0.0005)}
"""λ, σ and κ of the scalability law."""


class Share(msgspec.Struct, frozen=True):
    """How often something was so, and in how many simulations; `bias` is a mean error, as a share."""

    what: str
    share: float
    count: int
    bias: float | None = None


def make_rounds(
    draw: np.random.Generator,
    rounds: int,
    *,
    disturbed: float = 0.0,
    slower: float = 1.0,
    drift: float = DRIFT,
    noise: float = NOISE,
    spread: int = 0,
) -> list[Round]:
    """Simulated rounds. With `spread` a block has so many calls, which differ; else its calls are alike."""
    found: list[Round] = []
    for level in autocorrelated(draw, rounds, drift):
        around = {}
        for arm in ARMS:
            took = CALL_S * math.exp(level + draw.normal(0, noise)) * (slower if arm == "candidate" else 1.0)
            took *= 1 + draw.random() * (draw.random() < disturbed)
            times = np.sort(took * np.exp(draw.exponential(0.1, spread))) if spread else np.full(CALLS, took)
            around[arm] = Block(
                arm=arm,
                seconds=float(times.sum()),
                calls=len(times),
                response=tally((times * 1e9).astype(int).tolist()) if spread else Counter(),
                p10_s=float(times[len(times) // 10]),
                p50_s=float(times[len(times) // 2]),
            )
        found.append(around)
    return found


def autocorrelated(draw: np.random.Generator, count: int, sd: float, correlated: float = CORRELATED) -> list[float]:
    """A first-order autoregression with this standard deviation."""
    level, found = draw.normal(0, sd), []
    for _ in range(count):
        found.append(level)
        level = correlated * level + math.sqrt(1 - correlated**2) * draw.normal(0, sd)
    return found


def trials(seed: int, rounds: int, **fields: float) -> tuple[Claim, dict[str, Trial]]:
    """The claim and the measured tests of one simulated bench of the full profile."""
    made = make_rounds(np.random.default_rng(seed), rounds, **fields)  # type: ignore[arg-type]
    tests = decide(Analysis(made, seed=seed, resamples=400).tests(FULL, open_load=False))
    return claim_of(tests), {test.metric: test for test in tests if test.ratio is not None}


def ratios_cover(benches: int, rounds: int, *, slower: float = 1.1, **fields: float) -> Share:
    """The interval of the ratio of p50 in a bench."""
    covered, logs = 0, []
    for seed in range(benches):
        ratio = trials(seed, rounds, slower=slower, **fields)[1]["p50"].ratio
        assert ratio is not None
        covered += ratio.low <= slower <= ratio.high
        logs.append(math.log(ratio.value / slower))
    return Share(f"ratio, {rounds} rounds{_told(fields)}", covered / benches, benches, float(np.mean(logs)))


def tails_cover(benches: int, rounds: int, **fields: float) -> Share:
    """The interval of the ratio of p90 in a bench of equal pools, with 60 calls a block."""
    covered, logs = 0, []
    for seed in range(benches):
        ratio = trials(seed, rounds, spread=60, **fields)[1]["p90"].ratio
        assert ratio is not None
        covered += ratio.low <= 1 <= ratio.high
        logs.append(math.log(ratio.value))
    return Share(f"ratio of p90, {rounds} rounds{_told(fields)}", covered / benches, benches, float(np.mean(logs)))


def claimed(benches: int, claim: Claim, **fields: float) -> Share:
    """How often a bench of the full profile makes this claim."""
    found = sum(trials(seed, FULL.rounds, **fields)[0] is claim for seed in range(benches))
    return Share(f"claimed {claim.value}, {FULL.rounds} rounds{_told(fields)}", found / benches, benches)


def resampled_cover(benches: int, rounds: int, *, ratio: bool, **fields: float) -> Share:
    """The resampled values of a budget: of one pool's p50, or of the ratio of two."""
    covered = 0
    for seed in range(benches):
        made = make_rounds(np.random.default_rng(seed), rounds, **fields)  # type: ignore[arg-type]
        analysis = Analysis(made, seed=seed, resamples=400)
        draws = analysis.look("candidate", "p50")[1] / (analysis.look("baseline", "p50")[1] if ratio else CALL_S)
        low, high = np.quantile(draws, [0.025, 0.975])
        covered += low <= 1 <= high
    what = "budget on a ratio" if ratio else "figure of one pool"
    return Share(f"{what}, {rounds} rounds{_told(fields)}", covered / benches, benches)


def sessions_cover(benches: int, rounds: int, *, change: float = 1.1, **fields: float) -> Share:
    """The interval of a change of the ratio of p50 between two sessions."""
    covered = 0
    for seed in range(benches):
        (saved, now) = (
            trials(2 * seed + later, rounds, slower=change if later else 1.0, **fields)[1]["p50"].ratio
            for later in (0, 1)
        )
        assert saved is not None and now is not None  # noqa: PT018
        moved = math.log(now.value / saved.value)
        half = math.hypot(math.log(now.high / now.low), math.log(saved.high / saved.low)) / 2
        covered += abs(moved - math.log(change)) <= half
    return Share(f"change since a baseline, {rounds} rounds{_told(fields)}", covered / benches, benches)


def pairs_cover(sessions: int, pairs: int, **fields: float) -> Share:
    """The interval of a ratio of pairs, as `make bench` prints it."""
    covered = 0
    for seed in range(sessions):
        made = make_rounds(np.random.default_rng(seed), pairs, **fields)  # type: ignore[arg-type]
        found = paired_ratio(*([around[arm].throughput for around in made] for arm in ("baseline", "candidate")))
        covered += found.low <= 1 <= found.high
    return Share(f"{pairs} pairs{_told(fields)}", covered / sessions, sessions)


def slopes_cover(runs: int, samples: int, correlated: float) -> Share:
    """The interval of a slope, with autocorrelated noise."""
    covered = 0
    for seed in range(runs):
        values = autocorrelated(np.random.default_rng(seed), samples, 1.0, correlated)
        found = slope(range(samples), [value + 0.02 * at for at, value in enumerate(values)])
        assert found is not None
        covered += found.low <= 0.02 <= found.high
    return Share(f"slope, {samples} samples, autocorrelation {correlated:g}", covered / runs, runs)


def leaks_found(runs: int, *, periods: float, leak_bytes: float, span_s: float = 300.0) -> Share:
    """How often memory in the shape of a saw, with teeth of 60 MB and noise of 0.5 MB, is called a leak."""
    found = 0
    for seed in range(runs):
        draw = np.random.default_rng(seed)
        at = np.linspace(0, span_s, 400)
        teeth = (at / span_s * periods + draw.random()) % 1 if periods else 0 * at
        values = (160 + 60 * teeth) * MEGABYTE + draw.normal(0, MEGABYTE / 2, len(at)) + leak_bytes * at / span_s
        found += find_growth(at.tolist(), values.tolist(), least=8 * MEGABYTE).verdict is Verdict.FAIL
    told = f"{periods:g} teeth" if periods else "no teeth"
    return Share(f"called a leak: {leak_bytes / MEGABYTE:.0f} MB in {span_s:.0f} s, {told}", found / runs, runs)


def laws_fitted(sweeps: int, law: str, noise: float) -> Iterator[Scalability]:
    """Fits of the scalability law to noisy points."""
    rate, serial, agreement = LAWS[law]
    for seed in range(sweeps):
        draw = np.random.default_rng(seed)
        yield fit(
            SIZES,
            [
                rate * n / (1 + serial * (n - 1) + agreement * n * (n - 1)) * math.exp(draw.normal(0, noise))
                for n in SIZES
            ],
        )


def laws_cover(sweeps: int, law: str, noise: float) -> Share:
    """The interval of the serial share."""
    fits = list(laws_fitted(sweeps, law, noise))
    covered = sum(one.intervals["contention"].low <= LAWS[law][1] <= one.intervals["contention"].high for one in fits)
    return Share(f"serial share, {law}, noise {noise:.0%}", covered / sweeps, sweeps)


def peaks_found(sweeps: int, law: str, noise: float) -> Share:
    """How often a fit has a peak."""
    found = sum(one.peak is not None for one in laws_fitted(sweeps, law, noise))
    return Share(f"has a peak: {law}, noise {noise:.0%}", found / sweeps, sweeps)


def _told(fields: dict[str, float]) -> str:
    words = [f", {fields['disturbed']:.0%} disturbed"] if fields.get("disturbed") else []
    words += [f", candidate {fields['slower'] - 1:.0%} slower"] if "slower" in fields else []
    words += [", no drift"] if fields.get("drift") == 0 else []
    return "".join(words)


def everything(count: int) -> Iterator[Callable[[], Share]]:
    """All simulations, each with `count` repetitions, or a tenth for those that take long."""
    few = max(count // 10, 1)
    for disturbed in (0.0, 0.15, 0.3):
        for rounds in (12, 20, 44, 60):
            yield partial(ratios_cover, count, rounds, disturbed=disturbed)
        yield partial(tails_cover, few, 44, disturbed=disturbed)
        yield partial(claimed, count, Claim.NO_WORSE, disturbed=disturbed)
        yield partial(claimed, count, Claim.WORSE, disturbed=disturbed, slower=1.1)
        yield partial(sessions_cover, count, 44, disturbed=disturbed)
        for pairs in (6, 12, 24):
            yield partial(pairs_cover, count, pairs, disturbed=disturbed)
        yield partial(resampled_cover, count, 44, ratio=True, disturbed=disturbed)
    yield partial(claimed, few, Claim.NO_WORSE, spread=250)
    for rounds in (20, 44):
        for drift in (0.0, DRIFT):
            yield partial(resampled_cover, count, rounds, ratio=False, drift=drift)
    for samples in (20, 44, 100):
        for correlated in (0.0, 0.5, 0.8):
            yield partial(slopes_cover, count, samples, correlated)
    for periods in (0.0, 1.5, 3.3, 5.0, 12.0, 40.0):
        for megabytes in (0, 40, 150):
            yield partial(leaks_found, few, periods=periods, leak_bytes=megabytes * MEGABYTE)
    for law in LAWS:
        for noise in (0.02, 0.05, 0.1):
            yield partial(laws_cover, few, law, noise)
            yield partial(peaks_found, few, law, noise)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.studies.intervals", description=__doc__)
    parser.add_argument("--benches", type=int, default=1000, help="repetitions of each simulation (%(default)s)")
    table = Table("simulated", "share", "bias", "repetitions")
    for simulation in everything(parser.parse_args().benches):
        found = simulation()
        bias = "" if found.bias is None else f"{found.bias:+.2%}"
        table.add_row(found.what, f"{found.share:.1%}", bias, str(found.count))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
