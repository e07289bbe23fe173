"""Decides whether a bench is worse than a saved bench of the same work on the same machine, by more than the margin.

Pure. Compares the candidate / baseline ratios of the two sessions: machine effects on both pools cancel out. What slows
both pools alike cancels out too, so the candidate's own p10 is compared as well. A slower p10 beside an equally slowed
baseline is no regression, since the machine may be the cause; the result is then undecided. Worse is reported only if a
repetition confirms.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec

from poolproof.harness.bench.statistics.claims import Claim, overall
from poolproof.harness.bench.statistics.figures import Bench, BenchReport, Estimate, MachineKey, Trial
from poolproof.harness.bench.statistics.metrics import PRIMARY

OWN = "own p10"
DESCRIBED = {
    "processor": "the processor",
    "cpus": "the number of processors",
    "memory_gib": "the memory in GiB",
    "kernel": "the kernel",
    "interpreter": "the interpreter",
    "governor": "the CPU governor",
}


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One metric compared with its saved value: `change` above 1 is worse. `saved` and `now` are the two ratios.

    For the metric `OWN` both are the candidate's own p10, in seconds, instead of ratios.
    """

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
    """Compare each metric that has a ratio in both benches. Half intervals add up in quadrature, on the log scale.

    The margin is the schedule's, or the difference that is certain between two pools of the baseline, if that is
    larger. The control's whole noise is not added, since the intervals contain it already.
    """
    before = {test.metric: test for test in saved.tests}
    found = []
    for test in now.tests:
        old = before.get(test.metric)
        if old is None or old.ratio is None or test.ratio is None:
            continue
        sign = 1 if test.better == "lower" else -1
        margin = max(now.schedule.margin, _apart(test), _apart(old))
        found.append(change_of(now.work, test.metric, old.ratio, test.ratio, margin, sign=sign))
    own = [_own(bench) for bench in (saved, now)]
    if own[0] is not None and own[1] is not None:
        change = change_of(now.work, OWN, own[0], own[1], now.schedule.margin)
        if change.claim is Claim.WORSE and now.baseline != now.candidate:
            change = msgspec.structs.replace(change, claim=Claim.INCONCLUSIVE)
        if change.claim is not Claim.INCONCLUSIVE or change.change.low > 1 + now.schedule.margin:
            found.append(change)
    return tuple(found)


def claim_of_changes(changes: Iterable[Change], works: Iterable[str]) -> Claim:
    """Worse if any metric is; else the claim that holds for the primary metric and the candidate's own p10 everywhere.

    The claim is inconclusive if the primary metric of a work was not measured.
    """
    changes = tuple(changes)
    if any(change.claim is Claim.WORSE for change in changes):
        return Claim.WORSE
    if set(works) - {change.work for change in changes if change.metric == PRIMARY}:
        return Claim.INCONCLUSIVE
    return overall(change.claim for change in changes if change.metric in (PRIMARY, OWN))


def changes_between(saved: BenchReport, now: BenchReport) -> tuple[Change, ...]:
    """The changes of all works that both reports have."""
    before = {bench.work: bench for bench in saved.benches}
    return tuple(
        change for bench in now.benches if bench.work in before for change in compare_benches(before[bench.work], bench)
    )


def confirm(first: tuple[Change, ...], second: tuple[Change, ...]) -> tuple[Change, ...]:
    """Return the first changes, in which a worse one becomes inconclusive unless it is worse in the repetition too."""
    again = {(change.work, change.metric): change.claim for change in second}
    return tuple(
        msgspec.structs.replace(change, claim=Claim.INCONCLUSIVE)
        if change.claim is Claim.WORSE and again.get((change.work, change.metric)) is not Claim.WORSE
        else change
        for change in first
    )


def _apart(test: Trial) -> float:
    # What the two pools of the baseline differ by at least.
    if test.control is None:
        return 0.0
    return max(test.control.low, 1 / test.control.high, 1.0) - 1


def _own(bench: Bench) -> Estimate | None:
    figures = (pool.figures.get("p10") for pool in bench.pools if pool.role == "candidate")
    return next((figure.estimate for figure in figures if figure is not None), None)


def change_of(work: str, metric: str, saved: Estimate, now: Estimate, margin: float, *, sign: int = 1) -> Change:
    """Compare two estimates, both above 0, of one metric; a change above 1 is worse. `sign` is -1 if more is better.

    Worse, better or no worse only if the whole interval of the change says so. `margin` is a share, such as 0.05.
    """
    moved = sign * (math.log(now.value) - math.log(saved.value))
    half = math.hypot(_half(now), _half(saved))
    limit = math.log1p(margin)
    word = Claim.INCONCLUSIVE
    if moved - half > limit:
        word = Claim.WORSE
    elif moved + half < -limit:
        word = Claim.BETTER
    elif moved + half < limit:
        word = Claim.NO_WORSE
    change = Estimate(math.exp(moved), math.exp(moved - half), math.exp(moved + half))
    return Change(work=work, metric=metric, saved=saved, now=now, change=change, margin=margin, claim=word)


def _half(ratio: Estimate) -> float:
    return (math.log(ratio.high) - math.log(ratio.low)) / 2
