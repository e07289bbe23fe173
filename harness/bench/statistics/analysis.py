"""From blocks to figures: paired ratios with intervals, a control of the baseline against itself, one-sided p-values.

Pure and seeded. The unit is the round: its blocks share the machine's drift. A *level* (throughput, p10, p50) is taken
in each block. Its ratio is the robust mean of the rounds' log ratios, with Student's t, so that disturbed rounds do not
decide. The ratios to the baseline's two pools are averaged: a mean of two blocks is disturbed twice as often as one
block, and its ratio would favour the candidate. A *tail* (p90 and above) needs more calls than a block has, and rare
slow rounds belong to it: the counts of resampled rounds are added up. Its error is that of the resampled ratios.
For budgets, all metrics are resampled with the same rounds, so their values belong to the same rounds; the deviations
are widened to those of Student's t. A single pool's times also have the error of the machine's drift, which
autocorrelated rounds show (Lazarus, Lewis, Stock and Watson 2018); all metrics share it, so it cancels in a ratio.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import msgspec
import numpy as np
import numpy.typing as npt

from poolproof.harness.bench.block import ARMS, Block, Round
from poolproof.harness.bench.statistics.claims import ALPHA, Claim, claim, holm, overall
from poolproof.harness.bench.statistics.figures import Estimate, Figure, Schedule, Trial
from poolproof.harness.bench.statistics.histogram import QUANTILES, middle_us, needed
from poolproof.harness.bench.statistics.metrics import (
    HIGHER_IS_BETTER,
    LEVELS,
    MOST_NOISE,
    PRIMARY,
    TESTED_CLOSED,
    TESTED_OPEN,
    UNIT_NAMES,
    UNITS,
)
from poolproof.harness.history.growth import Slope, long_run_variance
from poolproof.harness.history.stats import Location, robust_mean, t_share
from poolproof.harness.model.timing.budget import Unmeasured

Array = npt.NDArray[np.float64]

RESAMPLES = 3000
SESSION_SD = 0.01
"""The standard deviation of a ratio's logarithm between sessions on one machine, however long each session is: causes
are the placement of the processes in memory and other processes. An interval is that of its own session, and no margin
is narrower than two of these. docs/explanation/measuring.md describes how it was measured.
"""
LEAST_ROUNDS = 5
LEAST_DRIFTING = 8
"""Fewer rounds cannot show a drift."""
MOST_FREEDOM = 100
"""With more degrees of freedom, Student's t hardly differs from the normal distribution."""
MOST_ROUNDS = 1000
"""If more rounds than this were needed, the ratio lies at the margin itself."""
LEAST_BLOCK_CALLS = 5
"""A block with fewer calls has no median of its own. A quarter of the blocks may have fewer: some are stopped."""
STARVED = 4
LARGEST_LOG = 600.0
"""The largest logarithm of an interval's end: far from the largest number, and beyond every ratio of times."""


_ARMS_OF = {"baseline": ("baseline", "control"), "candidate": ("candidate",)}


class Analysis:
    """The figures of one bench, and its resampled values for budgets."""

    def __init__(self, rounds: Sequence[Round], *, seed: int, resamples: int = RESAMPLES) -> None:
        self._rounds = rounds
        self._draw = np.random.default_rng([seed, len(rounds)])
        n = len(rounds)
        self._picked = self._draw.multinomial(n, np.full(n, 1 / n), size=resamples) if n else np.zeros((resamples, 0))
        self._squares = np.cumsum(self._draw.normal(size=(max(min(n - 1, MOST_FREEDOM), 1), resamples)) ** 2, axis=0)
        self._drift: Array | None = None
        self._values: dict[tuple[str, str], tuple[float, Array] | str] = {}
        self._slopes: dict[tuple[str, str], Slope | None] = {}

    def add_slopes(self, role: str, slopes: Mapping[str, Slope | None]) -> None:
        """Add slopes by metric; they come from resource samples and not from rounds."""
        self._slopes |= {(role, metric): found for metric, found in slopes.items()}

    def look(self, role: str, metric: str) -> tuple[float, Array]:
        """The metric's value and its resampled values. Raises Unmeasured with the reason if there is none."""
        key = (role, metric)
        if key not in self._values:
            try:
                self._values[key] = self._measure(role, metric)
            except Unmeasured as error:
                self._values[key] = str(error)
        found = self._values[key]
        if isinstance(found, str):
            raise Unmeasured(found)
        return found

    def figure(self, role: str, metric: str) -> Figure:
        """The metric with its interval, or with the reason why there is none."""
        samples = sum(block.calls for block in self._blocks(role))
        unit = UNIT_NAMES[UNITS[metric]]
        try:
            value, draws = self.look(role, metric)
        except Unmeasured as error:
            return Figure(metric=metric, unit=unit, estimate=None, samples=samples, why=str(error))
        low, high = np.quantile(draws, [ALPHA, 1 - ALPHA])
        return Figure(metric=metric, unit=unit, estimate=Estimate(value, float(low), float(high)), samples=samples)

    def tests(self, schedule: Schedule, *, open_load: bool) -> tuple[Trial, ...]:
        """Return the test of each metric, without a claim; the p-values are not yet corrected for many tests (Holm)."""
        return tuple(self._test(metric, schedule) for metric in (TESTED_OPEN if open_load else TESTED_CLOSED))

    def widest(self, *, open_load: bool) -> float:
        """The half width of the widest interval of a level's log ratio; infinite if there is none."""
        widths = [math.inf]
        for metric in [name for name in LEVELS if name != "throughput" or not open_load]:
            try:
                widths.append(self._ratio(metric, "candidate", ("baseline", "control")).half())
            except Unmeasured:
                continue
        return max(widths[1:], default=math.inf)

    # One metric of one pool.

    def _blocks(self, role: str) -> list[Block]:
        return [around[arm] for around in self._rounds for arm in _ARMS_OF[role]]

    def _measure(self, role: str, metric: str) -> tuple[float, Array]:
        if not self._rounds:
            raise Unmeasured(f"{metric} of the {role}: nothing was measured")
        if metric.endswith("_slope"):
            return self._slope(role, metric)
        if metric in LEVELS:
            found = robust_mean([self._levels(arm, metric).tolist() for arm in _ARMS_OF[role]])
            away = self._picked @ np.array(found.influences) / len(self._rounds) * self._wider(found.freedom)
            drift = self._drifted()
            return math.exp(found.value), _exp(found.value + away + (drift if metric in HIGHER_IS_BETTER else -drift))
        kind, _, name = metric.rpartition("_")
        if name in QUANTILES and kind in ("", "service", "wait"):
            value, draws = self._tail(kind or "response", name, _ARMS_OF[role])
            away = np.log(np.maximum(draws, 1e-9) / max(value, 1e-9)) * self._wider(len(self._rounds) - 1)
            return value, value * _exp(away - self._drifted())
        if metric in ("rss", "pss", "fds", "threads"):
            return self._resource(role, metric)
        over: Callable[[Block], float] = {
            "errors": lambda block: float(sum(block.errors.values())),
            "error_share": lambda block: float(sum(block.errors.values())),
            "dropped": lambda block: float(block.dropped),
            "calls": lambda block: float(block.calls),
            "cpu_per_call": lambda block: block.cpu_s,
            "switches_per_call": lambda block: float(block.switches),
        }[metric]
        above = self._sums(role, over)
        if metric in ("errors", "dropped", "calls"):  # counts of what happened, not estimates
            return float(above.sum()), np.full(len(self._picked), above.sum())
        tried = self._sums(role, lambda block: block.calls + sum(block.errors.values()))
        if not tried.sum():
            raise Unmeasured(f"{metric} of the {role}: no call was made")
        value = float(above.sum() / tried.sum())
        draws = (self._picked @ above) / np.maximum(self._picked @ tried, 1)
        return value, value + (draws - value) * self._wider(len(self._rounds) - 1)

    def _sums(self, role: str, over: Callable[[Block], float]) -> Array:
        return np.array([sum(over(around[arm]) for arm in _ARMS_OF[role]) for around in self._rounds], dtype=float)

    def _resource(self, role: str, metric: str) -> tuple[float, Array]:
        field = {"rss": "rss_bytes", "pss": "pss_bytes"}.get(metric, metric)
        found = [getattr(block.workers, field) for block in self._blocks(role) if block.workers is not None]
        values = np.array([value for value in found if value is not None], dtype=float)
        if not len(values):
            raise Unmeasured(f"{metric} of the {role}: the memory and descriptors of its workers could not be read")
        picks = self._draw.integers(0, len(values), size=(len(self._picked), len(values)))
        return float(np.median(values)), np.median(values[picks], axis=1)

    def _slope(self, role: str, metric: str) -> tuple[float, Array]:
        found = self._slopes.get((role, metric))
        if found is None:
            raise Unmeasured(f"{metric} of the {role}: the samples are too few, or cover too short a time")
        return found.value, found.value + found.error * self._draw.standard_t(found.freedom, len(self._picked))

    def _levels(self, arm: str, metric: str) -> Array:
        # The logarithm of the level of each round.
        blocks = [around[arm] for around in self._rounds]
        if metric == "throughput":
            if not all(block.calls for block in blocks):
                raise Unmeasured(f"throughput: a block of the {arm} has no calls")
            return np.log([block.throughput for block in blocks])
        total = sum(block.calls for block in blocks)
        fewest = sorted(block.calls for block in blocks)[len(blocks) // STARVED]
        if fewest < LEAST_BLOCK_CALLS or total < needed(QUANTILES[metric]):
            raise Unmeasured(
                f"{metric} needs {needed(QUANTILES[metric])} calls and {LEAST_BLOCK_CALLS} in three blocks of four; "
                f"the {arm} made {total}, and {fewest} in the quarter with the fewest"
            )
        levels = [block.p10_s if metric == "p10" else block.p50_s for block in blocks]
        # A block without a call has waited at least as long as it lasted.
        found = [block.seconds if level is None else level for block, level in zip(blocks, levels, strict=True)]
        return np.log(np.maximum(found, 1e-9))

    def _tail(self, kind: str, name: str, arms: Sequence[str], *, enough: float = 1.0) -> tuple[float, Array]:
        q = QUANTILES[name]
        counted: list[Counter[int]] = []
        for around in self._rounds:
            together: Counter[int] = Counter()
            for arm in arms:
                together.update(getattr(around[arm], kind))
            counted.append(together)
        numbers = sorted(set().union(*counted))
        total = sum(sum(each.values()) for each in counted)
        if total < needed(q) * enough:
            nothing = "nothing was recorded" + ("" if kind == "response" else "; --service-times records these times")
            told = f"{total} calls were made" if total else nothing
            raise Unmeasured(f"{name} needs {needed(q)} calls ({kind} of the {arms[0]}); {told}")
        place = {number: column for column, number in enumerate(numbers)}
        matrix = np.zeros((len(counted), len(numbers)))
        for row, each in enumerate(counted):
            for number, count in each.items():
                matrix[row, place[number]] = count
        middles = np.array([middle_us(number) for number in numbers]) / 1e6
        value = middles[_first_reaching(matrix.sum(axis=0)[None, :], q)][0]
        if value <= 0:
            raise Unmeasured(f"{name} of the {arms[0]} is 0")
        return float(value), np.maximum(middles[_first_reaching(self._picked @ matrix, q)], 1e-9)

    # The errors of resampled values.

    def _wider(self, freedom: int) -> Array:
        # The factors that widen resampled deviations to those of Student's t. All metrics widen together.
        rounds = len(self._rounds)
        freedom = max(min(freedom, len(self._squares)), 1)
        return np.asarray(np.sqrt(rounds / max(rounds - 1, 1) * freedom / self._squares[freedom - 1]))

    def _drifted(self) -> Array:
        # Resampled deviations of all logarithmic rates of the bench, by which autocorrelated rounds exceed others.
        if self._drift is None:
            self._drift = np.zeros(len(self._picked))
            if len(self._rounds) >= LEAST_DRIFTING:
                with suppress(Unmeasured):
                    level = np.mean([self._levels(arm, "throughput") for arm in ARMS], axis=0)
                    self._drift = _slow_error(level - np.mean(level), self._draw, len(self._picked))
        return self._drift

    # Two arms compared.

    def _ratio(self, metric: str, candidate: str, baseline: Sequence[str]) -> Location:
        # The log ratio, without the noise between sessions.
        if metric in LEVELS:
            above = self._levels(candidate, metric)
            return robust_mean([(above - self._levels(arm, metric)).tolist() for arm in baseline])
        # Each of the baseline's two pools makes half of its calls; that is enough to estimate their difference.
        # Their quantiles are taken apart: the quantile of twice as many calls is biased less.
        one, ones = self._tail("response", metric, (candidate,), enough=0.5 if candidate == "control" else 1.0)
        others = [self._tail("response", metric, (arm,), enough=0.5) for arm in baseline]
        value = math.log(one) - sum(math.log(other) for other, _ in others) / len(others)
        draws = np.log(ones) - sum(np.log(values) for _, values in others) / len(others)
        rounds = len(self._rounds)
        return Location(value, float(draws.std()) * math.sqrt(rounds / (rounds - 1)), rounds - 1, ())

    def _test(self, metric: str, schedule: Schedule) -> Trial:
        sign = -1.0 if metric in HIGHER_IS_BETTER else 1.0
        better = "higher" if metric in HIGHER_IS_BETTER else "lower"
        asked = max(math.log1p(schedule.margin), 2 * SESSION_SD)
        try:
            if len(self._rounds) < LEAST_ROUNDS:
                raise Unmeasured(f"{len(self._rounds)} rounds were measured; at least {LEAST_ROUNDS} rounds are needed")
            found = self._ratio(metric, "candidate", ("baseline", "control"))
        except Unmeasured as error:
            return Trial(
                metric=metric,
                better=better,
                ratio=None,
                control=None,
                margin=schedule.margin,
                claim=Claim.INCONCLUSIVE,
                settle=f"not measured: {error}; the full profile or more rounds measure it",
            )
        try:
            control = self._ratio(metric, "control", ("baseline",))
            noise, control_estimate = abs(control.value) + control.half(), _estimate(control)
        except Unmeasured:
            noise, control_estimate = asked, None
        margin = max(asked, noise)
        too_noisy = noise > MOST_NOISE * asked
        return Trial(
            metric=metric,
            better=better,
            ratio=_estimate(found),
            control=control_estimate,
            margin=math.expm1(margin),
            claim=Claim.INCONCLUSIVE,
            p_worse=_share_above(sign * found.value - margin, found),
            p_no_worse=1.0 if too_noisy else _share_above(margin - sign * found.value, found),
            p_better=_share_above(-margin - sign * found.value, found),
            settle=_settle(sign * found.value, found.half(), margin, noise, asked, len(self._rounds)),
        )


def decide(tests: Sequence[Trial]) -> tuple[Trial, ...]:
    """Decide the claims of all tests together.

    Holm's correction for each hypothesis, over the measured tests of the primary metric, and over all other ones.
    """
    words: dict[int, Claim] = {}
    for primary in (True, False):
        family = [
            place for place, test in enumerate(tests) if test.ratio is not None and (test.metric == PRIMARY) is primary
        ]
        worse, no_worse, better = (
            holm([getattr(tests[place], field) for place in family]) for field in ("p_worse", "p_no_worse", "p_better")
        )
        for number, place in enumerate(family):
            words[place] = claim(worse=worse[number], no_worse=no_worse[number], better=better[number])
    return tuple(
        test
        if place not in words
        else msgspec.structs.replace(
            test, claim=words[place], settle=test.settle if words[place] is Claim.INCONCLUSIVE else ""
        )
        for place, test in enumerate(tests)
    )


def claim_of(tests: Sequence[Trial]) -> Claim:
    """The claim of a bench whose tests are decided: worse if any metric is, else that of the primary metric."""
    if any(test.claim is Claim.WORSE for test in tests):
        return Claim.WORSE
    return overall(test.claim for test in tests if test.metric == PRIMARY)


def _slow_error(rest: Array, draw: np.random.Generator, count: int) -> Array:
    # Draws of what the mean of autocorrelated rounds is off by, beyond the error of as many independent rounds.
    variance, freedom = long_run_variance(rest, line=False)
    return math.sqrt(max(variance - float((rest**2).mean()), 0.0) / len(rest)) * draw.standard_t(freedom, count)


def _estimate(found: Location) -> Estimate:
    half = found.half()
    return Estimate(math.exp(found.value), math.exp(found.value - half), math.exp(found.value + half))


def _share_above(gap: float, found: Location) -> float:
    # The one-sided p-value of a log ratio that lies `gap` beyond a limit.
    return (1 - t_share(gap / max(found.error, 1e-12), found.freedom)) / 2


def _settle(position: float, half: float, margin: float, noise: float, asked: float, rounds: int) -> str:
    # Advice on how to decide an undecided test.
    if noise > MOST_NOISE * asked:
        return f"the baseline differs from itself by up to {math.expm1(noise):.0%}: a quieter machine, or more rounds"
    more = math.ceil(1.5 * rounds * max(half / max(abs(position - margin), 1e-9), 1.0) ** 2)  # half as many again
    if more > MOST_ROUNDS:
        return f"the ratio lies at the margin ({math.expm1(margin):.1%}) itself: only another margin decides it"
    return f"about {more} rounds in place of {rounds} would decide it"


def _first_reaching(counts: Array, q: float) -> npt.NDArray[np.int64]:
    # For each row of counts, the first column at which the cumulative share reaches q.
    reached = np.cumsum(counts, axis=1)
    return np.asarray((reached >= q * reached[:, -1:]).argmax(axis=1), dtype=np.int64)


def _exp(values: Array) -> Array:
    # Few blocks that vary widely have an interval whose end is beyond every number; it stays a number here.
    raised: Array = np.exp(np.minimum(values, LARGEST_LOG))
    return raised
