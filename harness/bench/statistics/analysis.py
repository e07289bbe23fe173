"""From blocks to figures: paired ratios with intervals, a control of the baseline against itself, one-sided p-values.

Pure and seeded. The unit is the round: its blocks share the machine's drift. All metrics of a bench are resampled with
the same rounds, so the values of a budget over several metrics belong to the same rounds.
A *level* (throughput, p10, p50) is taken in each block. Its ratio is the 20 % trimmed mean of the rounds' log ratios,
so that a single disturbed round does not decide, with Student's t on the winsorized values (Tukey and McLaughlin 1963).
The ratios to the baseline's two pools are trimmed separately and then averaged: a disturbance hits a mean of two blocks
twice as often as one block, and trimming that mean would favour the candidate. A *tail* (p90 and above) needs more
calls than a block has: the counts of the resampled rounds are added up first.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from poolproof.harness.bench.block import Block, Round
from poolproof.harness.bench.statistics.claims import ALPHA, Claim, claim, holm
from poolproof.harness.bench.statistics.figures import Estimate, Figure, Schedule, Trial
from poolproof.harness.bench.statistics.histogram import QUANTILES, middle_us, needed
from poolproof.harness.bench.statistics.metrics import (
    HIGHER_IS_BETTER,
    LEVELS,
    TESTED_CLOSED,
    TESTED_OPEN,
    UNIT_NAMES,
    UNITS,
)
from poolproof.harness.bench.statistics.slopes import Slope
from poolproof.harness.history.stats import TRIM, trimmed_mean
from poolproof.harness.model.budget import Unmeasured

Array = npt.NDArray[np.float64]

RESAMPLES = 3000
SESSION_SD = 0.01
"""The standard deviation of a ratio's logarithm between sessions on one machine, however long each session is: causes
are the placement of the processes in memory and other processes. No interval is narrower.
docs/explanation/measuring.md describes how it was measured.
"""
CONTROL_SHARE = 0.25
"""Half of the control's noise is two standard deviations of one pool's noise."""
LEAST_ROUNDS = 5
LEAST_BLOCK_CALLS = 5
"""A block with fewer calls has no median of its own."""
MOST_NOISE = 2.0
"""If the control's noise exceeds this many margins, no metric is claimed to be no worse."""


_ARMS_OF = {"baseline": ("baseline", "control"), "candidate": ("candidate",)}


class Analysis:
    """The figures of one bench, and its resampled values for budgets."""

    def __init__(self, rounds: Sequence[Round], *, seed: int, resamples: int = RESAMPLES) -> None:
        self._rounds = rounds
        self._draw = np.random.default_rng([seed, len(rounds)])
        n = len(rounds)
        self._picks = self._draw.integers(0, n, size=(resamples, n)) if n else np.zeros((resamples, 0), dtype=np.int64)
        self._session = self._draw.normal(0.0, SESSION_SD, resamples)
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
        """A trial for every tested metric, before Holm's correction and without a claim."""
        return tuple(self._test(metric, schedule) for metric in (TESTED_OPEN if open_load else TESTED_CLOSED))

    def widest(self, *, open_load: bool) -> float:
        """The half width of the widest interval of a level's log ratio; infinite if there is none."""
        widths = [math.inf]
        for metric in [name for name in LEVELS if name != "throughput" or not open_load]:
            try:
                _, draws = self._ratio(metric, "candidate", ("baseline", "control"))
            except Unmeasured:
                continue
            low, high = np.quantile(draws, [ALPHA, 1 - ALPHA])
            widths.append(float(high - low) / 2)
        return max(widths[1:], default=math.inf)

    # One metric of one pool.

    def _blocks(self, role: str) -> list[Block]:
        return [around[arm] for around in self._rounds for arm in _ARMS_OF[role]]

    def _measure(self, role: str, metric: str) -> tuple[float, Array]:
        if not self._rounds:
            raise Unmeasured(f"{metric} of the {role}: nothing was measured")
        session = np.exp(self._session) if role == "candidate" else np.ones_like(self._session)
        if metric.endswith("_slope"):
            return self._slope(role, metric)
        if metric in LEVELS:
            logs = [self._levels(arm, metric) for arm in _ARMS_OF[role]]  # trimmed separately, see `_ratio`
            value = sum(map(_trimmed, logs)) / len(logs)
            return math.exp(value), np.exp(sum(_trimmed(each[self._picks]) for each in logs) / len(logs)) * session
        kind, _, name = metric.rpartition("_")
        if name in QUANTILES and kind in ("", "service", "wait"):
            value, draws = self._tail(kind or "response", name, _ARMS_OF[role])
            return value, draws * session
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
            return float(above.sum()), np.full(len(self._picks), above.sum())
        tried = self._sums(role, lambda block: block.calls + sum(block.errors.values()))
        if not tried.sum():
            raise Unmeasured(f"{metric} of the {role}: no call was made")
        below = np.maximum(tried[self._picks].sum(axis=1), 1)
        return float(above.sum() / tried.sum()), above[self._picks].sum(axis=1) / below

    def _sums(self, role: str, over: Callable[[Block], float]) -> Array:
        return np.array([sum(over(around[arm]) for arm in _ARMS_OF[role]) for around in self._rounds], dtype=float)

    def _resource(self, role: str, metric: str) -> tuple[float, Array]:
        field = {"rss": "rss_bytes", "pss": "pss_bytes"}.get(metric, metric)
        found = [getattr(block.workers, field) for block in self._blocks(role) if block.workers is not None]
        values = np.array([value for value in found if value is not None], dtype=float)
        if not len(values):
            raise Unmeasured(f"{metric} of the {role}: the memory and descriptors of its workers could not be read")
        picks = self._draw.integers(0, len(values), size=(len(self._picks), len(values)))
        return float(np.median(values)), np.median(values[picks], axis=1)

    def _slope(self, role: str, metric: str) -> tuple[float, Array]:
        found = self._slopes.get((role, metric))
        if found is None:
            raise Unmeasured(f"{metric} of the {role}: the samples are too few, or cover too short a time")
        sd = (found.high - found.low) / (2 * 1.959964)
        return found.value, found.value + sd * self._draw.normal(size=len(self._picks))

    def _levels(self, arm: str, metric: str) -> Array:
        # The logarithm of the level of each round.
        blocks = [around[arm] for around in self._rounds]
        fewest = min(block.calls for block in blocks)
        if metric == "throughput":
            if not fewest:
                raise Unmeasured(f"throughput: a block of the {arm} has no calls")
            return np.log([block.throughput for block in blocks])
        total = sum(block.calls for block in blocks)
        if fewest < LEAST_BLOCK_CALLS or total < needed(QUANTILES[metric]):
            raise Unmeasured(
                f"{metric} needs {needed(QUANTILES[metric])} calls and {LEAST_BLOCK_CALLS} in each block; "
                f"the {arm} made {total} calls, and only {fewest} in one block"
            )
        return np.log([max((block.p10_s if metric == "p10" else block.p50_s) or 0.0, 1e-9) for block in blocks])

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
        weights = np.zeros((len(self._picks), len(counted)))
        np.add.at(weights, (np.arange(len(self._picks))[:, None], self._picks), 1.0)
        value = middles[_first_reaching(matrix.sum(axis=0)[None, :], q)][0]
        return float(value), middles[_first_reaching(weights @ matrix, q)]

    # Two arms compared.

    def _ratio(self, metric: str, candidate: str, baseline: Sequence[str]) -> tuple[float, Array]:
        # The log ratio and its resampled values, without the noise between sessions.
        if metric in LEVELS:
            above = self._levels(candidate, metric)
            value, error, freedom = trimmed_mean([(above - self._levels(arm, metric)).tolist() for arm in baseline])
            return value, value + error * self._draw.standard_t(freedom, len(self._picks))
        # Each of the baseline's two pools makes half of its calls; that is enough to estimate their difference.
        enough = 0.5 if candidate == "control" else 1.0
        one, ones = self._tail("response", metric, (candidate,), enough=enough)
        other, others = self._tail("response", metric, tuple(baseline), enough=enough)
        if min(one, other) <= 0:
            raise Unmeasured(f"{metric} is 0")
        return math.log(one / other), np.log(np.maximum(ones, 1e-9)) - np.log(np.maximum(others, 1e-9))

    def _test(self, metric: str, schedule: Schedule) -> Trial:
        sign = -1.0 if metric in HIGHER_IS_BETTER else 1.0
        better = "higher" if metric in HIGHER_IS_BETTER else "lower"
        asked = math.log1p(schedule.margin)
        try:
            if len(self._rounds) < LEAST_ROUNDS:
                raise Unmeasured(f"{len(self._rounds)} rounds were measured; at least {LEAST_ROUNDS} rounds are needed")
            log_ratio, draws = self._ratio(metric, "candidate", ("baseline", "control"))
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
            control, apart = self._ratio(metric, "control", ("baseline",))
            low, high = (float(end) for end in np.quantile(apart, [ALPHA, 1 - ALPHA]))
            noise = max(abs(low), abs(high))
            beyond = max(0.0, -high, low)  # the least difference between the two pools of the baseline
            control_estimate = Estimate(math.exp(control), math.exp(low), math.exp(high))
        except Unmeasured:
            noise, beyond, control_estimate = asked, 0.0, None
        # Another session would find the machine in another state. The ratio would then differ at least as much as the
        # two pools of the baseline differ from each other in this session.
        session = math.hypot(SESSION_SD, noise * CONTROL_SHARE, beyond)
        draws = sign * (draws + self._session * (session / SESSION_SD))
        margin = max(asked, noise)
        count = len(draws) + 1
        low, high = (float(end) for end in np.quantile(draws, [ALPHA, 1 - ALPHA]))
        ends = sorted((math.exp(sign * low), math.exp(sign * high)))
        too_noisy = noise > MOST_NOISE * asked
        return Trial(
            metric=metric,
            better=better,
            ratio=Estimate(math.exp(log_ratio), *ends),
            control=control_estimate,
            margin=math.expm1(margin),
            claim=Claim.INCONCLUSIVE,
            p_worse=(1 + int((draws <= margin).sum())) / count,
            p_no_worse=1.0 if too_noisy else (1 + int((draws >= margin).sum())) / count,
            p_better=(1 + int((draws >= -margin).sum())) / count,
            settle=_settle(sign * log_ratio, (high - low) / 2, margin, noise, asked, len(self._rounds)),
        )


def decide(tests: Sequence[Trial]) -> tuple[Trial, ...]:
    """Decide the claims of all tests together: Holm's correction for each hypothesis, over all measured tests."""
    measured = [position for position, test in enumerate(tests) if test.ratio is not None]
    rejected = {
        field: dict(zip(measured, holm([getattr(tests[position], field) for position in measured]), strict=True))
        for field in ("p_worse", "p_no_worse", "p_better")
    }
    found = []
    for position, test in enumerate(tests):
        if test.ratio is None:
            found.append(test)
            continue
        word = claim(
            worse=rejected["p_worse"][position],
            no_worse=rejected["p_no_worse"][position],
            better=rejected["p_better"][position],
        )
        settle = test.settle if word is Claim.INCONCLUSIVE else ""
        found.append(msgspec.structs.replace(test, claim=word, settle=settle))
    return tuple(found)


def _settle(position: float, half: float, margin: float, noise: float, asked: float, rounds: int) -> str:
    # Advice on how to decide an undecided test.
    if noise > MOST_NOISE * asked:
        return (
            f"the baseline differs from itself by up to {math.expm1(noise):.0%}: use a quieter machine, or more rounds"
        )
    gap = abs(position - margin)
    floor = 1.959964 * SESSION_SD
    if gap <= floor:
        return (
            f"the ratio lies at the margin ({math.expm1(margin):.1%}) itself: only another margin would "
            "decide the verdict"
        )
    wanted = math.sqrt(max(gap**2 - floor**2, 1e-12))
    now = math.sqrt(max(half**2 - floor**2, 1e-12))
    more = math.ceil(1.5 * rounds * max((now / wanted) ** 2, 1.0))  # half as many again, for Holm's correction
    return f"about {more} rounds instead of {rounds} would probably decide the verdict"


def _trimmed(logs: Any) -> Any:  # noqa: ANN401 - a vector gives a number, a matrix one for each row
    # The mean without the lowest and the highest fifth, along the last axis.
    ordered = np.sort(logs, axis=-1)
    cut = int(TRIM * ordered.shape[-1])
    middle = ordered[..., cut : ordered.shape[-1] - cut].mean(axis=-1)
    return float(middle) if np.ndim(middle) == 0 else middle


def _first_reaching(counts: Array, q: float) -> npt.NDArray[np.int64]:
    # For each row of counts, the first column at which the cumulative share reaches q.
    reached = np.cumsum(counts, axis=1)
    return np.asarray((reached >= q * reached[:, -1:]).argmax(axis=1), dtype=np.int64)
