"""The results of a benchmark: rows of figures, goals with verdicts, and the state of the machine; frozen data.

Pure. Independent of how a figure is measured and shown.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

BUSY_SHARE = 0.15
"""If other programs used more than this share of processor time, the figures are labelled."""
STEAL_SHARE = 0.02


class Figure(msgspec.Struct, frozen=True):
    """A value with the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    def inverse(self) -> Figure:
        """The inverse ratio: of times instead of rates."""
        return Figure(1 / self.value, 1 / self.high, 1 / self.low)


class Verdict(StrEnum):
    """The verdict on a goal. MET and MISSED need the whole interval on one side of the limit."""

    MET = "met"
    MISSED = "missed"
    INCONCLUSIVE = "inconclusive"
    UNMEASURED = "unmeasured"


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """A limit for one figure, and the verdict."""

    name: str
    limit: float
    at_least: bool
    figure: Figure | None
    verdict: Verdict


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One system under one condition. A metric's name ends in its unit.

    `v2_ratio` compares V2 with this system, paired block by block; the experiment decides which direction is better.
    """

    condition: str
    system: str
    samples: int
    metrics: dict[str, float]
    v2_ratio: Figure | None = None


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """The machine's other activity. Shares are of the time of all processors, 0 to 1.

    `busy_before` and `busy_after` were measured while the benchmark itself rested; `steal` is the share that the host
    took during the experiment.
    """

    loadavg_1m: float
    busy_before: float
    busy_after: float
    steal: float

    def labels(self) -> tuple[str, ...]:
        """Reasons to doubt the figures; empty on a quiet machine."""
        found = []
        busy = max(self.busy_before, self.busy_after)
        if busy > BUSY_SHARE:
            found.append(f"loaded: others used {busy:.0%} of the processors (load average {self.loadavg_1m:.1f})")
        if self.steal > STEAL_SHARE:
            found.append(f"loaded: the host took {self.steal:.0%} of the processors' time")
        return tuple(found)


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one experiment. `notes` name missing or doubtful figures."""

    experiment: str
    title: str
    rows: tuple[Row, ...]
    goals: tuple[Goal, ...]
    notes: tuple[str, ...] = ()
    load: Load | None = None
    seconds: float = 0.0


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where it was measured."""

    processor: str
    cpus: int
    memory_bytes: int
    kernel: str
    python: str
    packages: dict[str, str]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the benchmarks. `started` is ISO 8601, UTC."""

    started: str
    effort: str
    seed: int
    machine: Machine
    results: tuple[Result, ...]


def judge(name: str, figure: Figure | None, *, at_least: float | None = None, at_most: float | None = None) -> Goal:
    """Judge a figure by exactly one limit. Without a figure the goal is unmeasured, never met."""
    if (at_least is None) == (at_most is None):
        raise ValueError(f"goal {name!r}: one of at_least and at_most is needed")
    limit = at_least if at_least is not None else at_most
    assert limit is not None
    if figure is None:
        verdict = Verdict.UNMEASURED
    else:
        # Oriented so that more is better, so both kinds of limit are judged alike.
        sign = 1 if at_least is not None else -1
        worst, best = sorted((sign * figure.low, sign * figure.high))
        met, missed = worst >= sign * limit, best < sign * limit
        verdict = Verdict.MET if met else Verdict.MISSED if missed else Verdict.INCONCLUSIVE
    return Goal(name=name, limit=limit, at_least=at_least is not None, figure=figure, verdict=verdict)
