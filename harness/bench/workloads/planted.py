"""A pool with a planted latency, to test a bench: each call takes a given share longer."""

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
    """Percentage and pool of "slower:10:v1" or "slower:10" (then v2). Raises UsageError if the name is malformed."""
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
    """Return the subject with a delay, so that each call takes `percent` % longer for its caller."""

    def make(config: PoolConfig, observer: Observer | None) -> Pool:
        return cast(Pool, SlowerPool(subject.make(config, observer), percent / 100))

    return msgspec.structs.replace(
        subject, name=name, summary=f"{subject.name}, with each call made {percent:g} % longer", make=make
    )


class SlowerPool:
    """A pool that waits, after each answer, for a share of the call's own time.

    A sleep always takes slightly too long. The usual excess is subtracted, so that the planted latency is not exceeded.
    """

    def __init__(self, pool: Pool, share: float) -> None:
        self._pool = pool
        self._share = share
        self._excess_s = 0.0

    def execute(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as the pool's own
        """Call the pool's `execute`, then wait."""
        began = time.perf_counter()
        try:
            return self._pool.execute(*args, **options)
        finally:
            done = time.perf_counter()
            wanted = (done - began) * self._share
            asked = max(wanted - self._excess_s, 0.0)
            time.sleep(asked)
            # Moves towards the median excess in small steps, so that one late wake-up has little effect.
            late = time.perf_counter() - done - asked > self._excess_s
            self._excess_s = max(self._excess_s + (STEP_S if late else -STEP_S), 0.0)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._pool, name)
