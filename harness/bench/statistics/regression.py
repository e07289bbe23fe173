"""Is a bench worse than a saved one? The same machine and work are demanded, and more than the margin.

Pure. Compared is the ratio candidate / baseline of one session with that of the other: what the machine does to both
pools alike cancels out. Worse is only said after a repetition that says so too.
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
    """One metric now beside then: `change` is above 1 where it is worse. `saved` and `now` are the two ratios."""

    work: str
    metric: str
    saved: Estimate
    now: Estimate
    change: Estimate
    margin: float
    claim: Claim


def machine_changes(saved: MachineKey, now: MachineKey) -> tuple[str, ...]:
    """A sentence for each thing in which the machine or the interpreter is another."""
    return tuple(
        f"{told} was {getattr(saved, name)!s:.60} and is {getattr(now, name)!s:.60}"
        for name, told in DESCRIBED.items()
        if getattr(saved, name) != getattr(now, name)
    )


def work_changes(saved: Bench, now: Bench) -> tuple[str, ...]:
    """A sentence for each thing in which what was measured is another."""
    return tuple(
        f"{name.replace('_', ' ')} was {getattr(saved, name)} and is {getattr(now, name)}"
        for name in ("work", "load", "baseline", "candidate", "workers", "clients")
        if getattr(saved, name) != getattr(now, name)
    )


def compare_benches(saved: Bench, now: Bench) -> tuple[Change, ...]:
    """Each metric that both have a ratio of. The half intervals add up in quadrature, on the log scale."""
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
    """All changes of all works that both reports have."""
    before = {bench.work: bench for bench in saved.benches}
    return tuple(
        change for bench in now.benches if bench.work in before for change in compare_benches(before[bench.work], bench)
    )


def confirm(first: tuple[Change, ...], second: tuple[Change, ...]) -> tuple[Change, ...]:
    """The first changes; worse only stays what the repetition calls worse too, else it is inconclusive."""
    again = {(change.work, change.metric): change.claim for change in second}
    return tuple(
        msgspec.structs.replace(change, claim=Claim.INCONCLUSIVE)
        if change.claim is Claim.WORSE and again.get((change.work, change.metric)) is not Claim.WORSE
        else change
        for change in first
    )


def _half(ratio: Estimate) -> float:
    return (math.log(ratio.high) - math.log(ratio.low)) / 2
