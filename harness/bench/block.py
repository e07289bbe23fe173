"""The record of one block of timed calls, and the arms of a round.

Pure data. After its round, a block changes only in the figures that an observed block of the same round adds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

from poolproof.harness.bench.statistics.figures import Resources
from poolproof.harness.bench.workloads.answers import Answer, find_wrong


class Block(msgspec.Struct, kw_only=True):
    """The record of one block. Counts are by bucket (histogram.py); times are in seconds.

    `service` and `wait` come from an observed block of the same round. `failure` describes the first failed call.
    `right` has the commands with an answer that is right at first comparison; `doubtful` are the other answers.
    `fairness` is the fewest calls of a client over the most. `cpu_s` and `switches` sum this process and the pool's
    workers. `late` counts arrivals that found no free client.
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
        """Calls per second."""
        return self.calls / self.seconds


Round = Mapping[str, Block]
"""One block for each of "baseline", "control" and "candidate"."""
ARMS = ("baseline", "control", "candidate")


def wrong_answers(blocks: Iterable[Block]) -> dict[str, tuple[Answer, ...]]:
    """Return the wrong answers in these blocks, by arm."""
    doubtful: dict[str, list[Answer]] = {}
    right: set[str] = set()
    for block in blocks:
        doubtful.setdefault(block.arm, []).extend(block.doubtful)
        right |= block.right
    return find_wrong(doubtful, right)
