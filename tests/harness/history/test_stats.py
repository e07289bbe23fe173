"""Quantiles against numpy, and the interval of a paired ratio against what is known."""

from __future__ import annotations

import math
import random
from typing import cast

import numpy as np
import pytest

from poolproof.harness.history.stats import Ratio, paired_ratio, proportion, quantile, t_quantile
from poolproof.harness.model.errors import UsageError

PAIRS = 24


@pytest.mark.parametrize("count", [1, 2, 3, 10, 101])
@pytest.mark.parametrize("q", [0.0, 0.01, 0.25, 0.5, 0.9, 0.99, 1.0])
def test_a_quantile_is_numpys(count: int, q: float) -> None:
    choice = random.Random(count)
    values = [choice.lognormvariate(0, 2) for _ in range(count)]
    assert quantile(values, q) == pytest.approx(float(np.quantile(values, q)), rel=1e-12)


def test_a_quantile_neither_needs_nor_makes_order() -> None:
    values = [3.0, 1.0, 2.0]
    assert quantile(values, 0.5) == 2.0
    assert values == [3.0, 1.0, 2.0]


@pytest.mark.parametrize(("values", "q"), [([], 0.5), ([1.0], -0.1), ([1.0], 1.1), ([1.0], math.nan)])
def test_a_quantile_of_nothing_or_beyond_its_range_is_refused(values: list[float], q: float) -> None:
    with pytest.raises(UsageError):
        quantile(values, q)


def drifting(seed: int, *, ratio: float, noise: float = 0.03) -> tuple[list[float], list[float]]:
    """Paired blocks: both pools share a drift that no single block could tell from a difference."""
    choice = random.Random(seed)
    drift = 0.0
    baseline, candidate = [], []
    for _ in range(PAIRS):
        drift = 0.8 * drift + choice.gauss(0, 0.08)
        baseline.append(1000 * math.exp(drift + choice.gauss(0, noise)))
        candidate.append(1000 * ratio * math.exp(drift + choice.gauss(0, noise)))
    return baseline, candidate


def test_a_known_ratio_without_noise_is_recovered_exactly() -> None:
    baseline = [100.0, 130.0, 80.0, 95.0]
    found = paired_ratio(baseline, [4 * value for value in baseline])
    assert (found.ratio, found.low, found.high) == pytest.approx((4.0, 4.0, 4.0))


@pytest.mark.parametrize("ratio", [0.5, 0.9, 1.0, 1.3, 4.0])
def test_the_interval_covers_the_true_ratio_in_most_sessions(ratio: float) -> None:
    covered = 0
    for seed in range(40):
        found = paired_ratio(*drifting(seed, ratio=ratio))
        assert found.low <= found.ratio <= found.high
        covered += found.low <= ratio <= found.high
    assert covered >= 34  # 38 of 40 are expected of a 95 % interval


def test_equal_pools_are_told_apart_by_no_interval_of_five_percent() -> None:
    for seed in range(40):
        found = paired_ratio(*drifting(seed, ratio=1.0))
        assert found.high >= 0.95
        assert found.low <= 1.05


@pytest.mark.parametrize(
    ("freedom", "wanted"), [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (5, 2.571), (10, 2.228), (120, 1.980)]
)
def test_the_quantiles_of_students_t_are_those_of_the_tables(freedom: int, wanted: float) -> None:
    assert t_quantile(0.95, freedom) == pytest.approx(wanted, abs=0.0006)


@pytest.mark.parametrize("pairs", [4, 6, 12, 24])
def test_the_interval_of_few_pairs_covers_as_often_as_it_says(pairs: int) -> None:
    draw, covered = random.Random(pairs), 0
    for _ in range(1000):
        baseline = [math.exp(draw.gauss(0, 0.05)) for _ in range(pairs)]
        candidate = [2 * math.exp(draw.gauss(0, 0.05)) for _ in range(pairs)]
        found = paired_ratio(baseline, candidate)
        covered += found.low <= 2 <= found.high
    assert 930 <= covered <= 980


def test_one_pair_has_a_ratio_and_no_interval() -> None:
    assert paired_ratio([2.0], [3.0]) == Ratio(cast(float, pytest.approx(1.5)), 0.0, math.inf)


def test_a_disturbed_pair_does_not_decide() -> None:
    found = paired_ratio([1.0] * 10, [2.0] * 9 + [0.02])
    assert (found.ratio, found.low, found.high) == pytest.approx((2.0, 2.0, 2.0))


def test_a_wider_level_gives_a_wider_interval() -> None:
    pairs = drifting(1, ratio=1.2)
    narrow, wide = (paired_ratio(*pairs, level=level) for level in (0.5, 0.99))
    assert wide.low < narrow.low <= narrow.high < wide.high


def test_swapping_the_pools_inverts_the_ratio() -> None:
    baseline, candidate = drifting(3, ratio=1.5)
    forth, back = paired_ratio(baseline, candidate), paired_ratio(candidate, baseline)
    assert forth.ratio * back.ratio == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("baseline", "candidate"), [([], []), ([1.0], []), ([1.0, 2.0], [1.0]), ([0.0], [1.0]), ([1.0, 1.0], [1.0, -1.0])]
)
def test_pairs_that_have_no_ratio_are_refused(baseline: list[float], candidate: list[float]) -> None:
    with pytest.raises(UsageError):
        paired_ratio(baseline, candidate)


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [(0, 5, 0.0, 0.4345), (5, 5, 0.5655, 1.0), (1, 2, 0.0945, 0.9055), (50, 100, 0.4038, 0.5962), (0, 0, 0.0, 1.0)],
)
def test_a_share_has_its_wilson_interval(count: int, total: int, low: float, high: float) -> None:
    found = proportion(count, total)
    assert (found.count, found.total) == (count, total)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


@pytest.mark.parametrize("share", [(-1, 5), (6, 5)])
def test_an_impossible_share_is_refused(share: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="a share needs"):
        proportion(*share)
