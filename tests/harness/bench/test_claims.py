"""Holm's rule on the numbers of its textbook example, and what may be said of a candidate."""

from __future__ import annotations

import pytest

from poolproof.harness.bench.statistics.claims import Claim, claim, holm, overall


@pytest.mark.parametrize(
    ("p_values", "rejected"),
    [
        ([0.01, 0.04, 0.03, 0.005], (True, False, False, True)),  # 0.005 ≤ α/4, 0.01 ≤ α/3, 0.03 > α/2 ends it
        ([0.04, 0.04, 0.04], (False, False, False)),  # each alone would pass
        ([0.05], (True,)),
        ([0.0501], (False,)),
        ([], ()),
        ([0.001, 0.02, 0.05], (True, True, True)),
    ],
)
def test_holm_goes_down_from_the_smallest(p_values: list[float], rejected: tuple[bool, ...]) -> None:
    assert holm(p_values, alpha=0.05) == rejected


def test_the_strongest_claim_is_made() -> None:
    assert claim(worse=True, no_worse=False, better=False) is Claim.WORSE
    assert claim(worse=False, no_worse=True, better=True) is Claim.BETTER
    assert claim(worse=False, no_worse=True, better=False) is Claim.NO_WORSE
    assert claim(worse=False, no_worse=False, better=False) is Claim.INCONCLUSIVE


def test_one_that_is_worse_decides_and_nothing_is_no_pass() -> None:
    assert overall([Claim.BETTER, Claim.INCONCLUSIVE, Claim.WORSE]) is Claim.WORSE
    assert overall([Claim.BETTER, Claim.INCONCLUSIVE]) is Claim.INCONCLUSIVE
    assert overall([Claim.BETTER, Claim.NO_WORSE]) is Claim.BETTER
    assert overall([Claim.NO_WORSE]) is Claim.NO_WORSE
    assert overall([]) is Claim.INCONCLUSIVE
