"""The speed of a timed scenario for a comparison: runs one bench, and converts its throughput to a `Speed`."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import msgspec

from poolproof.harness.bench.bench import measure
from poolproof.harness.bench.plan import BenchPlan
from poolproof.harness.bench.schedules import COMPARING
from poolproof.harness.bench.statistics.figures import Bench, Estimate, Schedule
from poolproof.harness.bench.statistics.validity import NO_GATE
from poolproof.harness.compare.comparison import MARGIN, Speed
from poolproof.harness.model.errors import RunError, UsageError
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.timing.load import CLOSED
from poolproof.harness.run.lock import measuring
from poolproof.harness.run.runner import Request, Subject

METRIC = "throughput"
CALM_METRICS = ("p50", "p10")
SPEED_BY = {"p50": "speed by the median response", "p10": "speed by the fastest tenth of the responses"}
LONGER = (
    Schedule(profile="longer", rounds=24, block_s=0.15, warm_s=0.1, margin=MARGIN, limit_s=60.0),
    Schedule(profile="longest", rounds=40, block_s=0.3, warm_s=0.1, margin=MARGIN, limit_s=90.0),
)
"""Longer schedules, tried one after the other if a scenario allows a large loss and its interval decides nothing."""


def measure_speed(scenario: Scenario, baseline: Subject, candidate: Subject, request: Request) -> Speed:
    """Measure while no other measurement runs on the machine, by the schedule of the request's profile.

    A scenario that allows a larger loss than usual is measured again, for longer, as long as the interval decides
    nothing. Raises RunError if a pool cannot be made, a call of the baseline fails or the figures are not valid.
    """
    allowed = scenario.allowed_loss
    if allowed <= MARGIN:
        return speed_of(_measure_once(scenario, baseline, candidate, request, COMPARING[request.profile]))
    for schedule in (COMPARING[request.profile], *LONGER):
        bench = _measure_once(scenario, baseline, candidate, request, schedule)
        speeds = [speed_of(bench)]
        with contextlib.suppress(RunError):  # too few calls for a quantile
            speeds += [speed_of(bench, metric) for metric in CALM_METRICS]
        speed = decisive([_allowing(each, allowed) for each in speeds])
        if _is_decided(speed):
            break
    return speed


def decisive(speeds: Sequence[Speed]) -> Speed:
    """Return the throughput if its interval decides; else, if all other metrics agree, the least decisive of these.

    A busy machine disturbs the throughput most: a block counts whatever interrupted it. The median of the response
    times, and the time within which a tenth of the calls are answered, hardly depend on the longest interruptions.
    """
    first, *calm = speeds
    if _is_decided(first) or not calm:
        return first
    note = f"the throughput decides nothing on this machine (95 % interval {first.low:.2f} to {first.high:.2f})"
    if all(speed.fast_enough for speed in calm):
        found = min(calm, key=lambda speed: speed.low)
    elif all(speed.too_slow for speed in calm):
        found = max(calm, key=lambda speed: speed.high)
    else:
        return first
    return msgspec.structs.replace(found, notes=(*found.notes, note))


def _allowing(speed: Speed, allowed: float) -> Speed:
    return msgspec.structs.replace(speed, allowed=allowed, margin=max(allowed, speed.margin))


def _is_decided(speed: Speed) -> bool:
    return bool(speed.wrong) or speed.too_slow or speed.fast_enough


def _measure_once(
    scenario: Scenario, baseline: Subject, candidate: Subject, request: Request, schedule: Schedule
) -> Bench:
    try:
        plan = BenchPlan(
            scenario=scenario,
            baseline=baseline,
            candidate=candidate,
            size=scenario.fixed_size or request.size,
            load=CLOSED,
            schedule=schedule,
            seed=request.seed,
            worker_command=request.worker_command,
        )
        with measuring() as held:
            return measure(plan, gate=held)
    except (RunError, UsageError) as error:
        raise RunError(f"the speed of {scenario.name!r} could not be measured: {error}") from error


def speed_of(bench: Bench, metric: str = METRIC) -> Speed:
    """The throughput of the bench, or the inverse of a time, so that more is better.

    Its margin is at least the control's noise (the baseline against itself).

    A call that fails on the candidate but not on the baseline counts as a wrong answer. Raises RunError if a call of
    the baseline fails or the figures are not valid.
    """
    baseline, candidate = bench.pools
    wrong = bench.wrong
    if baseline.failure:
        raise RunError(f"the speed of {bench.work!r} could not be measured: {baseline.pool}: {baseline.failure}")
    if candidate.failure:
        wrong += (f"{bench.work} on {candidate.pool}: {candidate.failure}",)
    problems = [problem for problem in bench.validity.problems if problem != NO_GATE]
    if problems and not wrong:
        raise RunError(f"the speed of {bench.work!r} could not be measured: {problems[0]}")
    (trial,) = (test for test in bench.tests if test.metric == metric)
    if trial.ratio is None and not wrong:
        raise RunError(f"the speed of {bench.work!r} could not be measured: {trial.settle}")
    ratio = trial.ratio or Estimate(0.0, 0.0, 0.0)
    rates = [pool.figures[metric].estimate for pool in bench.pools]
    values = [rate.value if rate else 0.0 for rate in rates]
    if metric != METRIC and trial.ratio is not None:
        ratio = Estimate(1 / ratio.value, 1 / ratio.high, 1 / ratio.low)
        values = [1 / value if value else 0.0 for value in values]
    notes = [f"{bench.rounds} rounds of 3 blocks: the baseline, the baseline again as a control, and the candidate"]
    if trial.control is not None:
        notes.append(
            f"the control has {trial.control.value:.2f} times the baseline's {metric} "
            f"(95 % interval {trial.control.low:.2f} to {trial.control.high:.2f}), and no margin of this measurement "
            "is narrower than that"
        )
    if bench.stopped:
        notes.append(bench.stopped)
    notes += [problem for problem in bench.validity.problems if problem == NO_GATE]
    notes += bench.validity.warnings
    return Speed(
        scenario=bench.work,
        metric=METRIC if metric == METRIC else SPEED_BY[metric],
        baseline=values[0],
        candidate=values[1],
        ratio=ratio.value,
        low=ratio.low,
        high=ratio.high,
        margin=max(MARGIN, 1 - 1 / (1 + trial.margin)),
        blocks=bench.rounds,
        notes=tuple(notes),
        wrong=wrong,
    )
