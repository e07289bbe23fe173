"""Histograms: a microsecond wide where calls are short, 0.1 % wide where they are long, silent where they are few."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolproof.harness.bench.statistics.histogram import (
    Histogram,
    bounds,
    bucket,
    histogram,
    needed,
    quantile_us,
    tally,
)


def test_two_durations_a_microsecond_apart_are_told_apart_up_to_2_ms() -> None:
    assert [bucket(value) for value in (0, 1, 2, 2046, 2047)] == [0, 1, 2, 2046, 2047]
    assert tally([1_000_400, 1_000_600, 1_499_999]) == {1000: 1, 1001: 1, 1500: 1}


@given(st.integers(0, 10**10))
def test_a_bucket_holds_what_falls_into_it_and_is_narrow(value: int) -> None:
    low, high = bounds(bucket(value))
    assert low <= value < high
    assert high - low <= max(1, value / 1000)


@given(st.integers(0, 10**9))
def test_buckets_are_in_order_and_leave_no_gap(value: int) -> None:
    number = bucket(value)
    assert bounds(number)[1] == bounds(number + 1)[0]


def test_a_quantile_is_told_only_where_a_hundred_calls_lie_beyond_it() -> None:
    assert [needed(q) for q in (0.5, 0.9, 0.99, 0.999)] == [200, 1000, 10_000, 100_000]
    counts = tally(number * 1000 for number in range(1, 1001))
    assert quantile_us(counts, 0.5) == 500
    assert quantile_us(counts, 0.9) == 900
    assert quantile_us(counts, 0.99) is None
    assert quantile_us({}, 0.5) is None


def test_a_record_has_the_upper_ends_in_order() -> None:
    assert histogram({3: 2, 1: 5}) == Histogram(upper_us=(1, 3), counts=(5, 2))
    assert histogram({3: 2, 1: 5}).total == 7


def test_blocks_are_added_up_by_their_counts() -> None:
    assert quantile_us(tally([1000] * 150) + tally([9000] * 150), 0.5) == pytest.approx(1)
