"""Loads: when calls are due. A load is closed (calls as fast as the clients can) or open (a time for each call).

Pure: the same load and seed give the same arrivals. Times are seconds from the block's begin.
"""

from __future__ import annotations

import math
import random
from enum import StrEnum

import msgspec

from poolproof.harness.model.errors import UsageError

MOST_ARRIVALS = 1_000_000
"""The largest number of arrivals in one block."""
SYNTAX = "closed, constant:RATE, poisson:RATE, ramp:RATE:RATE or bursts:CALLS:EVERY_S, such as poisson:400"


class LoadKind(StrEnum):
    """How arrivals are distributed over time."""

    CLOSED = "closed"
    CONSTANT = "constant"
    POISSON = "poisson"
    RAMP = "ramp"
    BURSTS = "bursts"


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """A load. `per_s` is its rate (a ramp goes from `per_s` to `to_per_s`); bursts have `calls` each `every_s`."""

    kind: LoadKind = LoadKind.CLOSED
    per_s: float = 0.0
    to_per_s: float = 0.0
    calls: int = 0
    every_s: float = 0.0

    @property
    def open(self) -> bool:
        """Whether each call has its own arrival time, so that a slow pool cannot delay the next call."""
        return self.kind is not LoadKind.CLOSED

    def __str__(self) -> str:
        match self.kind:
            case LoadKind.CLOSED:
                return "closed"
            case LoadKind.CONSTANT | LoadKind.POISSON:
                return f"{self.kind.value}:{self.per_s:g}"
            case LoadKind.RAMP:
                return f"ramp:{self.per_s:g}:{self.to_per_s:g}"
            case LoadKind.BURSTS:
                return f"bursts:{self.calls}:{self.every_s:g}"


CLOSED = Load()


def parse_load(text: str) -> Load:
    """Parse "closed", "constant:400", "poisson:400", "ramp:100:800" or "bursts:50:0.2". Raises UsageError."""
    word, *numbers = text.split(":")
    try:
        kind = LoadKind(word)
        values = [float(number) for number in numbers]
    except ValueError:
        raise UsageError(f"the load {text!r}: expected one of {SYNTAX}") from None
    wanted = {LoadKind.CLOSED: 0, LoadKind.CONSTANT: 1, LoadKind.POISSON: 1, LoadKind.RAMP: 2, LoadKind.BURSTS: 2}
    if len(values) != wanted[kind] or not all(math.isfinite(value) and 0 < value <= 1e6 for value in values):
        raise UsageError(f"the load {text!r}: expected one of {SYNTAX}; each number is above 0 and at most 1000000")
    match kind:
        case LoadKind.CLOSED:
            return CLOSED
        case LoadKind.CONSTANT | LoadKind.POISSON:
            return Load(kind=kind, per_s=values[0])
        case LoadKind.RAMP:
            return Load(kind=kind, per_s=values[0], to_per_s=values[1])
        case LoadKind.BURSTS:
            if values[0] != int(values[0]):
                raise UsageError(
                    f"the load {text!r}: the number of calls in a burst is a whole number, not {values[0]:g}"
                )
            return Load(kind=kind, calls=int(values[0]), every_s=values[1])


def arrivals(load: Load, for_s: float, *, seed: str) -> tuple[float, ...]:
    """Return the arrival times within `for_s` seconds; none for a closed loop. Raises UsageError for too many."""
    if mean_rate(load) * for_s > MOST_ARRIVALS:
        raise UsageError(
            f"the load {load} for {for_s:g} s makes too many calls; at most {MOST_ARRIVALS} calls fit in a block"
        )
    match load.kind:
        case LoadKind.CLOSED:
            return ()
        case LoadKind.CONSTANT:
            return tuple(number / load.per_s for number in range(math.ceil(for_s * load.per_s - 1e-9)))
        case LoadKind.POISSON:
            return _poisson(load.per_s, load.per_s, for_s, random.Random(seed))
        case LoadKind.RAMP:
            return _poisson(load.per_s, load.to_per_s, for_s, random.Random(seed))
        case LoadKind.BURSTS:
            count = math.ceil(for_s / load.every_s - 1e-9)
            return tuple(number * load.every_s for number in range(count) for _ in range(load.calls))


def mean_rate(load: Load) -> float:
    """Return the mean number of arrivals a second over a whole block; 0 for a closed loop."""
    match load.kind:
        case LoadKind.CLOSED:
            return 0.0
        case LoadKind.RAMP:
            return (load.per_s + load.to_per_s) / 2
        case LoadKind.BURSTS:
            return load.calls / load.every_s
        case LoadKind.CONSTANT | LoadKind.POISSON:
            return load.per_s


def _poisson(from_per_s: float, to_per_s: float, for_s: float, draw: random.Random) -> tuple[float, ...]:
    # A Poisson process whose rate changes linearly, by thinning (Lewis and Shedler 1979).
    most = max(from_per_s, to_per_s)
    found, at_s = [], draw.expovariate(most)
    while at_s < for_s:
        rate = from_per_s + (to_per_s - from_per_s) * at_s / for_s
        if draw.random() * most < rate:
            found.append(at_s)
        at_s += draw.expovariate(most)
    return tuple(found)
