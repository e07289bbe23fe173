"""Binomial tests for the guardrails. Pure.

`tail` is exact. `upper_bound` inverts the bound of Chernoff, P(X ≤ k) ≤ exp(-n·D(k/n ‖ p)) with D the relative entropy,
so it errs on the safe side.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

SIZE = 4096
"""Trials that are kept; a power of two."""
MOST = SIZE - 1
CLOSE = 1e-17
BISECTIONS = 40


def tail(n: int, k: int, p: float) -> float:
    """Return P(X ≥ k) for X binomial with `n` trials of probability `p`."""
    if k <= 0:
        return 1.0
    if p <= 0 or k > n:
        return 0.0
    if p >= 1 or k <= n * p:  # only the upper tail is of interest, and there its terms fall
        return 1.0
    log_term = (
        math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * math.log(p) + (n - k) * math.log1p(-p)
    )
    term = total = 1.0
    odds = p / (1 - p)
    for i in range(k, n):
        term *= (n - i) / (i + 1) * odds
        total += term
        if term < CLOSE * total:
            break
    return min(1.0, math.exp(log_term) * total)


def upper_bound(n: int, k: int, nats: float) -> float:
    """Return the largest p for which `k` hits or fewer in `n` trials have a probability of exp(-nats) or more."""
    if n <= 0 or k >= n:
        return 1.0
    share = k / n
    low, high = share, 1.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if n * _entropy(share, middle) < nats:
            low = middle
        else:
            high = middle
    return high


def _entropy(q: float, p: float) -> float:
    # The relative entropy of a coin of probability q to one of probability p, for 0 <= q < 1, in nats.
    if p >= 1:
        return math.inf
    return (q * math.log(q / p) if q else 0.0) + (1 - q) * math.log((1 - q) / (1 - p))


class Trials:
    """The latest trials of one kind, each with two marks. Counting over the last n trials takes the same time for any
    n.
    """

    def __init__(self) -> None:
        self.total = 0
        self._first = 0
        self._at_ns = [0] * SIZE
        self._ones = [0] * SIZE
        self._twos = [0] * SIZE

    def add(self, at_ns: int, one: bool, two: bool = False) -> None:
        """Add the trial that ended last."""
        before = self.total % SIZE
        self.total += 1
        now = self.total % SIZE
        self._at_ns[now] = at_ns
        self._ones[now] = self._ones[before] + one
        self._twos[now] = self._twos[before] + two

    def recent(self, from_ns: int, least: int) -> int:
        """Return how many of the last trials ended at `from_ns` or later, or `least` of them if there are more."""
        self._first = max(self._first, self.total - MOST)
        while self._first < self.total - least and self._at_ns[(self._first + 1) % SIZE] < from_ns:
            self._first += 1
        return self.total - self._first

    def last(self, count: int) -> tuple[int, int]:
        """Return how many of the last `count` trials have the first mark, and the second."""
        now, then = self.total % SIZE, (self.total - count) % SIZE
        return self._ones[now] - self._ones[then], self._twos[now] - self._twos[then]

    def begin_ns(self, count: int) -> int:
        """Return when the first of the last `count` trials ended."""
        return self._at_ns[(self.total - count + 1) % SIZE] if count else 0


def scales(least: int, most: int) -> Iterator[int]:
    """Yield `least`, its doubles, and `most`: the numbers of trials to look back."""
    count = least
    while count < most:
        yield count
        count *= 2
    if most >= least:
        yield most
