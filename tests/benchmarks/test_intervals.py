"""Simulations: each interval covers the truth about as often as it says, and what is there is found.

Seeded. `python -m benchmarks.studies.intervals` repeats them more often; docs/decisions/0018-intervals.md has a table.
The bounds are those of the larger run, widened by three standard deviations of so few repetitions.
"""

from __future__ import annotations

import pytest

from benchmarks.studies import intervals
from poolproof.harness.bench.statistics.claims import Claim

SHARES = (0.0, 0.15, 0.3)


def bounds(count: int, low: float = 0.93, high: float = 0.985) -> tuple[float, float]:
    return low - 3 * (low * (1 - low) / count) ** 0.5, high + 3 * (high * (1 - high) / count) ** 0.5


def covers(found: intervals.Share) -> bool:
    low, high = bounds(found.count)
    return low <= found.share <= high


@pytest.mark.parametrize("disturbed", SHARES)
def test_the_ratio_of_a_full_bench_covers_and_favours_no_pool(disturbed: float) -> None:
    found = intervals.ratios_cover(100, 44, disturbed=disturbed)
    assert covers(found)
    assert found.bias is not None
    assert abs(found.bias) < 0.006  # ±0.2 % in 1000


@pytest.mark.parametrize("disturbed", SHARES)
@pytest.mark.parametrize("pairs", [6, 24])
def test_few_pairs_cover(pairs: int, disturbed: float) -> None:
    assert intervals.pairs_cover(200, pairs, disturbed=disturbed).share >= bounds(200)[0]


@pytest.mark.parametrize("disturbed", SHARES)
def test_the_full_profile_clears_equal_pools_and_finds_ten_percent(disturbed: float) -> None:
    assert intervals.claimed(40, Claim.NO_WORSE, disturbed=disturbed).share >= 0.8
    assert intervals.claimed(40, Claim.WORSE, disturbed=disturbed, slower=1.1).share >= 0.8  # 90 % or more of 1000
    assert intervals.claimed(40, Claim.WORSE, disturbed=disturbed).share == 0


def test_tails_that_are_not_decided_leave_equal_pools_no_worse() -> None:
    claim, tests = intervals.trials(1, 44, spread=60, disturbed=0.3)
    assert tests["p90"].claim is Claim.INCONCLUSIVE
    assert claim is Claim.NO_WORSE


def test_a_change_since_a_baseline_covers() -> None:
    assert covers(intervals.sessions_cover(60, 44, disturbed=0.15))


def test_resampled_values_of_budgets_cover_with_drift() -> None:
    assert covers(intervals.resampled_cover(100, 44, ratio=True, disturbed=0.15))
    assert intervals.resampled_cover(100, 44, ratio=False).share >= bounds(100)[0]


@pytest.mark.parametrize("correlated", [0.0, 0.8])
def test_slopes_cover_with_autocorrelated_noise(correlated: float) -> None:
    assert covers(intervals.slopes_cover(300, 44, correlated))


@pytest.mark.parametrize("periods", [1.5, 3.3, 12.0, 40.0])
def test_the_teeth_of_a_saw_are_no_leak(periods: float) -> None:
    assert intervals.leaks_found(60, periods=periods, leak_bytes=0).share == 0


@pytest.mark.parametrize(("periods", "megabytes"), [(0.0, 40), (0.0, 150), (5.0, 150), (40.0, 150)])
def test_a_leak_is_found_however_long_the_run_is(periods: float, megabytes: int) -> None:
    for span_s in (30.0, 300.0, 3000.0):
        leak = megabytes * intervals.MEGABYTE
        assert intervals.leaks_found(20, periods=periods, leak_bytes=leak, span_s=span_s).share == 1


@pytest.mark.parametrize("law", intervals.LAWS)
def test_the_serial_share_covers(law: str) -> None:
    assert intervals.laws_cover(100, law, 0.05).share >= bounds(100)[0]


@pytest.mark.parametrize(("law", "low", "high"), [("serial", 0, 0.05), ("linear", 0, 0.05), ("with a peak", 0.9, 1)])
def test_a_pool_without_a_peak_has_none(law: str, low: float, high: float) -> None:
    assert low <= intervals.peaks_found(100, law, 0.05).share <= high
