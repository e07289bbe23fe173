"""Slopes: a straight line gives its own, one wild sample changes little, and too little says nothing."""

from __future__ import annotations

import random

import pytest

from poolproof.harness.history.growth import slope


def test_a_straight_line_has_its_slope() -> None:
    found = slope(range(20), [3.0 * at + 7 for at in range(20)])
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx((3.0, 3.0, 3.0))


def test_one_wild_sample_changes_little() -> None:
    values = [2.0 * at for at in range(20)]
    values[7] = 1e6
    found = slope(range(20), values)
    assert found is not None
    assert found.value == pytest.approx(2.0)


def test_noise_without_growth_has_an_interval_around_0() -> None:
    draw = random.Random(3)
    found = slope(range(40), [draw.gauss(0, 1) for _ in range(40)])
    assert found is not None
    assert found.low < 0 < found.high


def test_too_few_samples_and_too_short_a_time_tell_nothing() -> None:
    assert slope(range(7), [1.0] * 7) is None
    assert slope([at / 10 for at in range(20)], [1.0] * 20) is None
