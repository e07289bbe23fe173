"""Decides whether a bench is worse than a saved bench of the same work on the same machine, by more than the margin.

Pure. Compares the candidate / baseline ratios of the two sessions: machine effects on both pools cancel out. Worse is
reported only if a repetition confirms it.
"""

from __future__ import annotations

import math

import msgspec

from poolproof.harness.bench.statistics.claims import Claim
from poolproof.harness.bench.statistics.figures import Bench, BenchReport, Estimate, MachineKey

DESCRIBED = {
    "processor": "the processor",
    "cpus": "the number of processors",
    "memory_gib": "the memory in GiB",
    "kernel": "the kernel",
    "interpreter": "the interpreter",
    "governor": "the CPU governor",
}


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One metric compared with its saved value: `change` above 1 is worse. `saved` and `now` are the two ratios."""

    work: str
    metric: str
    saved: Estimate
    now: Estimate
    change: Estimate
    margin: float
    claim: Claim


def machine_changes(saved: MachineKey, now: MachineKey) -> tuple[str, ...]:
    """A sentence for each property of the machine or the interpreter that has changed."""
    return tuple(
        f"{told} was {getattr(saved, name)!s:.60} and is now {getattr(now, name)!s:.60}"
        for name, told in DESCRIBED.items()
        if getattr(saved, name) != getattr(now, name)
    )


def work_changes(saved: Bench, now: Bench) -> tuple[str, ...]:
    """A sentence for each property of the measured work that has changed."""
    return tuple(
        f"{name.replace('_', ' ')} was {getattr(saved, name)} and is now {getattr(now, name)}"
        for name in ("work", "load", "baseline", "candidate", "workers", "clients")
        if getattr(saved, name) != getattr(now, name)
    )


def compare_benches(saved: Bench, now: Bench) -> tuple[Change, ...]:
    """Compare each metric that has a ratio in both benches. Half intervals add up in quadrature, on the log scale."""
    before = {test.metric: test for test in saved.tests}
    found = []
    for test in now.tests:
        old = before.get(test.metric)
        if old is None or old.ratio is None or test.ratio is None:
            continue
        sign = 1.0 if test.better == "lower" else -1.0
        moved = sign * (math.log(test.ratio.value) - math.log(old.ratio.value))
        half = math.hypot(_half(test.ratio), _half(old.ratio))
        margin = max(test.margin, old.margin)
        limit = math.log1p(margin)
        word = Claim.INCONCLUSIVE
        if moved - half > limit:
            word = Claim.WORSE
        elif moved + half < -limit:
            word = Claim.BETTER
        elif moved + half < limit:
            word = Claim.NO_WORSE
        found.append(
            Change(
                work=now.work,
                metric=test.metric,
                saved=old.ratio,
                now=test.ratio,
                change=Estimate(math.exp(moved), math.exp(moved - half), math.exp(moved + half)),
                margin=margin,
                claim=word,
            )
        )
    return tuple(found)


def changes_between(saved: BenchReport, now: BenchReport) -> tuple[Change, ...]:
    """The changes of all works that both reports have."""
    before = {bench.work: bench for bench in saved.benches}
    return tuple(
        change for bench in now.benches if bench.work in before for change in compare_benches(before[bench.work], bench)
    )


def confirm(first: tuple[Change, ...], second: tuple[Change, ...]) -> tuple[Change, ...]:
    """The first changes; a worse one becomes inconclusive unless the repetition is worse too."""
    again = {(change.work, change.metric): change.claim for change in second}
    return tuple(
        msgspec.structs.replace(change, claim=Claim.INCONCLUSIVE)
        if change.claim is Claim.WORSE and again.get((change.work, change.metric)) is not Claim.WORSE
        else change
        for change in first
    )


def _half(ratio: Estimate) -> float:
    return (math.log(ratio.high) - math.log(ratio.low)) / 2
