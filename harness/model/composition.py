"""Builds workloads from parts: mixes of steps; steady, ramped or bursting rates; phases; sessions with skew.

Pure: the same seed and size give the same steps. A *draw* picks a step with a seeded random generator. A *workload*
makes a plan from draws. The other functions turn workloads into workloads.

    mixed = mix((9, Step(command="echo")), (1, Step(command="sleep", args={"seconds": 0.1})))
    growing = ramp(mixed, from_per_s=10, to_per_s=200, for_s=5)
    workload = sessions(phases((0, steady_mix(mixed, calls=20)), (2, growing)), count=50)
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Sequence
from random import Random

import msgspec

from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.workload import Plan, Size, Step, Workload

Draw = Callable[[Random], Step]
MOST_ARRIVALS = 10_000_000


def mix(*weighted: tuple[float, Step]) -> Draw:
    """Make a draw that picks each step in proportion to its weight. Raises UsageError for invalid weights."""
    if not weighted:
        raise UsageError("a mix of no steps")
    for weight, step in weighted:
        _positive(f"the weight of {step.command!r} in a mix", weight)
    bounds = list(itertools.accumulate(weight for weight, _ in weighted))
    steps = [step for _, step in weighted]
    return lambda choice: steps[min(bisect.bisect_right(bounds, choice.random() * bounds[-1]), len(steps) - 1)]


def steady_mix(draw: Draw, *, calls: int) -> Workload:
    """Make a workload in which every client makes `calls` draws, one after another."""

    def plan(choice: Random, size: Size) -> Plan:
        return tuple(tuple(draw(choice) for _ in range(size.count(calls))) for _ in range(size.clients))

    return plan


def ramp(draw: Draw, *, from_per_s: float, to_per_s: float, for_s: float) -> Workload:
    """Make an open-loop workload of `for_s` seconds whose rate of calls changes linearly between two values.

    Arrivals are random (a Poisson process, by inversion of the cumulated rate) and are dealt to the clients in turn. A
    client that is late makes its next call at once, and the response time counts from the intended begin. With equal
    rates the rate is constant. The scale of the run makes the workload longer.
    """
    _positive("from_per_s of a ramp", from_per_s)
    _positive("to_per_s of a ramp", to_per_s)
    _positive("for_s of a ramp", for_s)
    if max(from_per_s, to_per_s) * for_s > MOST_ARRIVALS:
        raise UsageError(f"a ramp to {to_per_s:g} a second for {for_s:g} s: at most {MOST_ARRIVALS} calls")

    def plan(choice: Random, size: Size) -> Plan:
        long_s = for_s * size.scale
        slope = (to_per_s - from_per_s) / long_s
        times, mass = [], choice.expovariate(1.0)
        while (at_s := _time_of(mass, from_per_s, slope, long_s)) is not None:
            times.append(at_s)
            mass += choice.expovariate(1.0)
        return _deal(draw, times or [0.0], choice, size)

    return plan


def bursts(draw: Draw, *, calls: int, every_s: float, count: int) -> Workload:
    """Make a workload of `count` bursts, one every `every_s` seconds; all `calls` calls of a burst are due at once."""
    _positive("every_s of bursts", every_s)
    for option, value in (("calls", calls), ("count", count)):
        if value < 1:
            raise UsageError(f"{option} {value!r} of bursts: must be at least 1")

    def plan(choice: Random, size: Size) -> Plan:
        times = [burst * every_s for burst in range(size.count(count)) for _ in range(calls)]
        return _deal(draw, times, choice, size)

    return plan


def phases(*workloads: tuple[float, Workload]) -> Workload:
    """Join workloads one after another; each argument is (begin in seconds from the run's begin, workload).

    A client's steps of a later phase come no earlier than the begin of the phase, and after all of the client's earlier
    steps. A phase may have more clients than the phase before.
    """
    if not workloads:
        raise UsageError("phases of no workloads")
    begins = [begin_s for begin_s, _ in workloads]
    if begins != sorted(begins) or begins[0] < 0:
        raise UsageError(f"phases must be in order of time and begin at 0 s or later, not at {begins}")

    def plan(choice: Random, size: Size) -> Plan:
        plans = [_from(begin_s, workload(choice, size)) for begin_s, workload in workloads]
        joined = itertools.zip_longest(*plans, fillvalue=())
        return tuple(tuple(itertools.chain.from_iterable(parts)) for parts in joined)

    return plan


def together(*workloads: Workload) -> Workload:
    """Run workloads side by side: the plan has the clients of all workloads, each with its own steps."""
    return lambda choice, size: tuple(itertools.chain.from_iterable(workload(choice, size) for workload in workloads))


def sessions(workload: Workload, *, count: int, skew: float = 1.0, name: str = "session") -> Workload:
    """Put each step of a workload into one of `count` sessions.

    Session number k is chosen with a probability in proportion to k^-skew (Zipf's law): a skew of 0 is even, 1 is the
    usual skew of web traffic, and at 2 the first session has most calls. Steps that have a session already keep it.
    """
    if count < 1:
        raise UsageError(f"count {count!r} of sessions: must be at least 1")
    if not 0 <= skew <= 10:
        raise UsageError(f"skew {skew!r} of sessions: from 0 to 10")
    bounds = list(itertools.accumulate((rank + 1) ** -skew for rank in range(count)))

    def plan(choice: Random, size: Size) -> Plan:
        def place(step: Step) -> Step:
            if step.session is not None:
                return step
            rank = min(bisect.bisect_right(bounds, choice.random() * bounds[-1]), count - 1)
            return msgspec.structs.replace(step, session=f"{name}-{rank}")

        return tuple(tuple(place(step) for step in steps) for steps in workload(choice, size))

    return plan


def _deal(draw: Draw, times: Sequence[float], choice: Random, size: Size) -> Plan:
    dealt: list[list[Step]] = [[] for _ in range(size.clients)]
    for number, at_s in enumerate(times):
        dealt[number % size.clients].append(msgspec.structs.replace(draw(choice), at_s=at_s))
    return tuple(tuple(steps) for steps in dealt if steps)  # with few calls some clients have none


def _from(begin_s: float, plan: Plan) -> Plan:
    # Steps with a time are moved by the phase's begin; of the other steps only the client's first waits for the begin.
    def move(number: int, step: Step) -> Step:
        if step.at_s is None and (number or not begin_s):
            return step
        return msgspec.structs.replace(step, at_s=begin_s + (step.at_s or 0.0))

    return tuple(tuple(move(number, step) for number, step in enumerate(steps)) for steps in plan)


def _time_of(mass: float, rate: float, slope: float, long_s: float) -> float | None:
    # The time at which the integral of rate + slope·t reaches `mass`: a root of slope/2·t² + rate·t − mass; None if it
    # is after the end.
    if slope:
        inside = rate * rate + 2 * slope * mass
        if inside < 0:
            return None
        at_s = 2 * mass / (rate + inside**0.5)  # this form of the root avoids cancellation
    else:
        at_s = mass / rate
    return at_s if at_s < long_s else None


def _positive(what: str, value: float) -> None:
    if not 0 < value < float("inf"):
        raise UsageError(f"{what}: a number above 0 is needed, not {value!r}")
