"""What one block of timed calls did, and the arms of a round.

Pure data. Nobody adds to a block after its round but the figures that other blocks of the round bring.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec

from poolproof.harness.bench.statistics.figures import Resources
from poolproof.harness.bench.workloads.answers import Answer


class Block(msgspec.Struct, kw_only=True):
    """What one block did. Counts go by bucket (histogram.py); times are seconds.

    `service` and `wait` are of an observed block in the same round. `failure` tells of the first failed call. Commands
    in `right` had plainly right answers; `doubtful` are the other answers. `fairness` is the fewest calls of a client
    over the most. `cpu_s` and `switches` are those of this process and the pool's workers. `late` arrivals found no
    free client.
    """

    arm: str
    at_s: float = 0.0
    seconds: float
    calls: int
    response: Counter[int]
    service: Counter[int] = msgspec.field(default_factory=Counter)
    wait: Counter[int] = msgspec.field(default_factory=Counter)
    p10_s: float | None = None
    p50_s: float | None = None
    errors: dict[str, int] = msgspec.field(default_factory=dict)
    failure: str = ""
    right: frozenset[str] = frozenset()
    doubtful: tuple[Answer, ...] = ()
    fairness: float = 1.0
    dropped: int = 0
    late: int = 0
    lag_p50_s: float = 0.0
    lag_p99_s: float = 0.0
    cpu_s: float = 0.0
    switches: int = 0
    workers: Resources | None = None
    process: Resources | None = None

    @property
    def throughput(self) -> float:
        """Calls a second."""
        return self.calls / self.seconds


Round = Mapping[str, Block]
"""One block for each of "baseline", "control" and "candidate"."""
ARMS = ("baseline", "control", "candidate")
