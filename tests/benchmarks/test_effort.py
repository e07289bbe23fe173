"""The schedule is fixed; only time ends it early."""

from __future__ import annotations

from benchmarks.effort import Limit, full, quick


def test_a_limit_that_has_passed_still_allows_the_least_steps() -> None:
    limit = Limit(0, least=2)
    assert [limit.allows(step) for step in range(4)] == [True, True, False, False]
    assert limit.notes(2, 6) == ("the time limit ended it after 2 of 6 rounds",)


def test_a_limit_in_the_future_allows_all_and_says_nothing() -> None:
    limit = Limit(3600, least=0)
    assert all(limit.allows(step) for step in range(100))
    assert limit.notes(100, 100) == ()


def test_the_full_run_measures_at_least_as_much_of_everything() -> None:
    small, large = quick(1), full(1)
    assert (small.name, large.name) == ("quick", "full")
    for field in ("rounds", "block_s", "contended_rounds", "repeats", "starts", "crowd_rounds", "late_calls"):
        assert getattr(small, field) < getattr(large, field), field
    assert (small.workers, small.contenders, small.crowd) == (large.workers, large.contenders, large.crowd)
    assert min(small.repeats, large.repeats) >= 30
