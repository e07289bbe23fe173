"""The scalability law: synthetic curves give back the numbers that they were made from."""

from __future__ import annotations

import pytest

from poolproof.harness.bench.statistics.scalability import fit, knee
from poolproof.harness.model.errors import UsageError

SIZES = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0]


def law(n: float, rate: float, contention: float, coherency: float) -> float:
    return rate * n / (1 + contention * (n - 1) + coherency * n * (n - 1))


@pytest.mark.parametrize(
    ("rate", "contention", "coherency"), [(10.0, 0.0, 0.0), (250.0, 0.05, 0.0), (40.0, 0.02, 0.0005), (7.0, 1.0, 0.0)]
)
def test_a_synthetic_curve_gives_back_its_numbers(rate: float, contention: float, coherency: float) -> None:
    found = fit(SIZES, [law(n, rate, contention, coherency) for n in SIZES])
    assert found.rate == pytest.approx(rate)
    assert found.contention == pytest.approx(contention, abs=1e-9)
    assert found.coherency == pytest.approx(coherency, abs=1e-9)
    assert found.at(8) == pytest.approx(law(8, rate, contention, coherency))


def test_a_serial_pool_is_all_contention_and_has_a_limit() -> None:
    found = fit(SIZES, [10.0] * len(SIZES))
    assert found.contention == pytest.approx(1.0)
    assert found.limit_per_s == pytest.approx(10.0)
    assert knee(SIZES, [10.0] * len(SIZES)) == 1.0


def test_a_curve_that_falls_has_its_peak() -> None:
    found = fit(SIZES, [law(n, 40.0, 0.02, 0.0005) for n in SIZES])
    assert found.peak == pytest.approx((0.98 / 0.0005) ** 0.5)
    assert found.r_squared == pytest.approx(1.0)


def test_no_coefficient_is_below_0_even_where_growth_is_more_than_linear() -> None:
    found = fit(SIZES, [10 * n**1.1 for n in SIZES])
    assert found.contention >= 0
    assert found.coherency >= 0


def test_exact_points_have_intervals_without_width() -> None:
    found = fit(SIZES, [law(n, 40.0, 0.02, 0.0005) for n in SIZES])
    for name, value in (("rate", 40.0), ("contention", 0.02), ("coherency", 0.0005)):
        assert found.intervals[name].low == pytest.approx(value, rel=1e-4)
        assert found.intervals[name].high == pytest.approx(value, rel=1e-4)


def test_growth_that_has_not_ended_has_no_knee() -> None:
    assert knee([1, 2, 4], [10, 20, 40]) is None
    assert knee([1, 2, 4, 8], [10, 20, 39, 40]) == 4


@pytest.mark.parametrize(
    ("sizes", "rates"), [([1, 2, 4], [1, 2, 4]), ([1, 1, 1, 1], [1, 1, 1, 1]), ([1, 2, 4, 8], [1, 2, 0, 3])]
)
def test_too_few_points_and_no_throughput_are_refused(sizes: list[float], rates: list[float]) -> None:
    with pytest.raises(UsageError, match="a scalability fit needs"):
        fit(sizes, rates)
