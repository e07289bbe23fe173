"""A pool with a planted latency: each call takes a stated share longer, so that a bench can be put to the test."""

from __future__ import annotations

import time
from typing import Any, cast

import msgspec

from poolproof.bridge import Observer, Pool, PoolConfig
from poolproof.harness.model.errors import UsageError
from poolproof.harness.run.runner import Subject

PREFIX = "slower:"
MOST_PERCENT = 1000.0
STEP_S = 2e-6


def parse_planted(name: str) -> tuple[float, str]:
    """The percentage and the pool's name of "slower:10" or "slower:10:v1"; v2 if none is named. Raises UsageError."""
    told, _, pool = name.removeprefix(PREFIX).partition(":")
    try:
        percent = float(told)
    except ValueError:
        percent = -1.0
    if not 0 < percent <= MOST_PERCENT:
        raise UsageError(
            f"the pool {name!r}: slower:PERCENT or slower:PERCENT:POOL, above 0 and at most {MOST_PERCENT:g}"
        )
    return percent, pool or "v2"


def slower(subject: Subject, percent: float, name: str) -> Subject:
    """The subject whose calls take `percent` longer, as their caller sees it."""

    def make(config: PoolConfig, observer: Observer | None) -> Pool:
        return cast(Pool, SlowerPool(subject.make(config, observer), percent / 100))

    return msgspec.structs.replace(
        subject, name=name, summary=f"{subject.name}, and each call takes {percent:g} % longer", make=make
    )


class SlowerPool:
    """The pool, and each call waits a share of its own time after its answer.

    A sleep is always a little too long; the usual excess is taken off, so that no more is planted than is said.
    """

    def __init__(self, pool: Pool, share: float) -> None:
        self._pool = pool
        self._share = share
        self._excess_s = 0.0

    def execute(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as the pool's own
        """The pool's `execute`, then the wait."""
        began = time.perf_counter()
        try:
            return self._pool.execute(*args, **options)
        finally:
            done = time.perf_counter()
            wanted = (done - began) * self._share
            asked = max(wanted - self._excess_s, 0.0)
            time.sleep(asked)
            # Towards the median, by small steps: one late wake-up is not the rule.
            late = time.perf_counter() - done - asked > self._excess_s
            self._excess_s = max(self._excess_s + (STEP_S if late else -STEP_S), 0.0)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._pool, name)
