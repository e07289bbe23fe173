"""Trends: bars from the lowest to the highest, and a sentence only where the last one stands out."""

from __future__ import annotations

from poolproof.harness.bench.statistics.trend import bars, tell_trend


def test_bars_go_from_the_lowest_to_the_highest() -> None:
    assert bars([1, 2, 3]) == "▁▅█"  # Python rounds 3.5 to 4
    assert bars([2, 2]) == "▄▄"
    assert bars([]) == ""


def test_a_trend_needs_four_benches() -> None:
    assert tell_trend([1.0, 1.0, 2.0], low=1.9, high=2.1) == "3 stored results; a trend needs at least 4"


def test_only_what_stands_out_is_told() -> None:
    before = [1.00, 1.02, 0.98]
    assert tell_trend([*before, 1.2], low=1.1, high=1.3).startswith("higher than each of the 3 earlier values: +20.0%")
    assert tell_trend([*before, 0.8], low=0.7, high=0.9).startswith("lower than each of the 3 earlier values: -20.0%")
    assert tell_trend([*before, 1.2], low=1.0, high=1.4).startswith("within the range of the 3 earlier values")
