"""Verdicts on ratios: better, no worse, worse or inconclusive, for many tests at once.

Pure. A result that is not significant is no evidence: no worse means that the whole interval lies below 1 + margin.
Ratios are oriented so that above 1 is worse. Many tests are corrected by Holm's step-down rule (Holm 1979).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

ALPHA = 0.025
"""The significance level of a one-sided test, chosen so that one test agrees with the two-sided 95 % interval."""


class Claim(StrEnum):
    """The claim about the candidate compared with the baseline."""

    BETTER = "better"
    NO_WORSE = "no worse"
    INCONCLUSIVE = "inconclusive"
    WORSE = "worse"

    @property
    def pace(self) -> str:
        """The claim in the words for a speed."""
        return _PACES[self]


_PACES = {
    Claim.BETTER: "faster",
    Claim.NO_WORSE: "no slower",
    Claim.INCONCLUSIVE: "undecided",
    Claim.WORSE: "slower",
}


def holm(p_values: Sequence[float], *, alpha: float = ALPHA) -> tuple[bool, ...]:
    """Return which hypotheses are rejected, by p-value; the chance of any false rejection is at most `alpha`."""
    rejected = [False] * len(p_values)
    for step, position in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        if p_values[position] > alpha / (len(p_values) - step):
            break
        rejected[position] = True
    return tuple(rejected)


def claim(*, worse: bool, no_worse: bool, better: bool) -> Claim:
    """The strongest claim for the rejected hypotheses."""
    if worse:
        return Claim.WORSE
    if better:
        return Claim.BETTER
    return Claim.NO_WORSE if no_worse else Claim.INCONCLUSIVE


def overall(claims: Iterable[Claim]) -> Claim:
    """Return worse if any claim is worse; else inconclusive if any is (or there are none); else better if any is; else
    no worse.
    """
    found = set(claims)
    for word in (Claim.WORSE, Claim.INCONCLUSIVE, Claim.BETTER, Claim.NO_WORSE):
        if word in found:
            return word
    return Claim.INCONCLUSIVE
