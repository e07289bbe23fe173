"""Verdicts and decisions: how findings add up.

Pure. No data is unknown, and unknown is never a pass.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class Verdict(StrEnum):
    """PASS < UNKNOWN < FAIL: the worst of many is the verdict of all."""

    PASS = "pass"
    UNKNOWN = "unknown"
    FAIL = "fail"

    @property
    def rank(self) -> int:
        """0 for PASS, 1 for UNKNOWN, 2 for FAIL."""
        return _RANKS[self]


_RANKS = {Verdict.PASS: 0, Verdict.UNKNOWN: 1, Verdict.FAIL: 2}


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The highest verdict; UNKNOWN if there is none, since nothing was looked at."""
    return max(verdicts, key=lambda verdict: verdict.rank, default=Verdict.UNKNOWN)


class Decision(StrEnum):
    """Whether the candidate may replace the baseline."""

    SAFE = "SAFE"
    INCONCLUSIVE = "INCONCLUSIVE"
    UNSAFE = "UNSAFE"
