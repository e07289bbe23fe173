"""The metrics of a pool in a bench: names, units, and the direction that is better.

Pure. Budgets, reports and baselines share this one table.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from poolproof.bridge.suggestion import did_you_mean
from poolproof.harness.bench.statistics.histogram import QUANTILES


class Unit(msgspec.Struct, frozen=True):
    """A dimension as powers of seconds and bytes; a plain number has neither."""

    seconds: int = 0
    size: int = 0

    def __str__(self) -> str:
        parts = [f"{name}^{power}" if power != 1 else name for name, power in (("B", self.size), ("s", self.seconds))]
        kept = [part for part, power in zip(parts, (self.size, self.seconds), strict=True) if power]
        return "·".join(kept) or "a number"


TIME, RATE, SIZE, NUMBER, SIZE_RATE = Unit(1), Unit(-1), Unit(0, 1), Unit(), Unit(-1, 1)

UNITS: dict[str, Unit] = {
    "throughput": RATE,
    **dict.fromkeys(QUANTILES, TIME),
    **{f"service_{name}": TIME for name in QUANTILES},
    **{f"wait_{name}": TIME for name in QUANTILES},
    "errors": NUMBER,
    "error_share": NUMBER,
    "dropped": NUMBER,
    "calls": NUMBER,
    "cpu_per_call": TIME,
    "rss": SIZE,
    "pss": SIZE,
    "fds": NUMBER,
    "threads": NUMBER,
    "switches_per_call": NUMBER,
    "rss_slope": SIZE_RATE,
    "pss_slope": SIZE_RATE,
    "fds_slope": RATE,
    "threads_slope": RATE,
    "process_rss_slope": SIZE_RATE,
    "process_fds_slope": RATE,
    "process_threads_slope": RATE,
}
"""The unit of each metric: durations in s, rates in 1/s, sizes in B. Quantiles without a prefix are response times
from the intended begin; resources without a prefix are those of the workers.
"""

HIGHER_IS_BETTER = frozenset({"throughput"})
LEVELS = ("throughput", "p10", "p50")
"""The metrics that are computed in each block; the other quantiles are computed over all blocks together."""
PRIMARY = "p50"
"""The metric whose claim is the bench's, unless another metric is worse. It is declared, and not chosen by the results:
if all metrics had to be decided, the tail alone would keep most benches of equal pools undecided.
"""
MOST_NOISE = 2.0
"""If the control's noise is larger than this many margins, the bench never claims "no worse"."""
TESTED_OPEN = ("p10", "p50", "p90", "p99")
TESTED_CLOSED = ("throughput", *TESTED_OPEN)
"""The metrics that are tested. In an open loop the arrivals determine the throughput, so it is not tested.

p10 is a call that nothing disturbed: other work on the machine only ever adds time, so the low end shows a slower pool
even if the median is noisy (Chen and Revels 2016).
"""
UNIT_NAMES = {TIME: "s", RATE: "1/s", SIZE: "B", SIZE_RATE: "B/s", NUMBER: "1"}


def nearest(name: str, known: Iterable[str] = ()) -> str:
    """ "; did you mean …?" if one of `known` (all metrics, unless given) is close to the name; else empty."""
    return did_you_mean(name, known or UNITS)
