"""Verdicts and decisions, and how findings add up to them.

Pure. No data gives UNKNOWN, and UNKNOWN is never a pass.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class Verdict(StrEnum):
    """PASS < UNKNOWN < FAIL: the verdict of several findings is the worst of them."""

    PASS = "pass"
    UNKNOWN = "unknown"
    FAIL = "fail"

    @property
    def rank(self) -> int:
        """0 for PASS, 1 for UNKNOWN, 2 for FAIL."""
        return _RANKS[self]


_RANKS = {Verdict.PASS: 0, Verdict.UNKNOWN: 1, Verdict.FAIL: 2}


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst verdict; UNKNOWN if there are no verdicts, since nothing was checked."""
    return max(verdicts, key=lambda verdict: verdict.rank, default=Verdict.UNKNOWN)


class Decision(StrEnum):
    """Whether the candidate may replace the baseline."""

    SAFE = "SAFE"
    INCONCLUSIVE = "INCONCLUSIVE"
    UNSAFE = "UNSAFE"
