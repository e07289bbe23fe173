"""Chooses the unit and the scale of a chart by its data.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

import msgspec

LOG_FROM = 20.0
"""Values that differ by at least this factor are drawn on a logarithmic scale."""


class Unit(msgspec.Struct, frozen=True):
    """A unit of time: its name, and how many units make a second."""

    name: str
    a_second: float

    def of(self, seconds: float) -> float:
        """The duration in this unit, to four digits after the point."""
        return round(seconds * self.a_second, 4)


SECONDS, MILLISECONDS, MICROSECONDS = Unit("s", 1.0), Unit("ms", 1e3), Unit("µs", 1e6)


def unit_of_span(seconds: float) -> Unit:
    """The unit for an axis of time that is this long."""
    return SECONDS if seconds >= 2 else MILLISECONDS if seconds >= 2e-3 else MICROSECONDS


def unit_of(seconds: Iterable[float]) -> Unit:
    """The unit for these durations, by their median."""
    known = list(seconds)
    usual = median(known) if known else 0.0
    return SECONDS if usual >= 1 else MILLISECONDS if usual >= 1e-3 else MICROSECONDS


def settings(unit: Unit, values: Sequence[float] = ()) -> dict[str, str]:
    """The settings that depend on the data: the name of the unit, and whether the scale of `values` is logarithmic."""
    known = [value for value in values if value > 0]
    log = bool(known) and max(known) >= LOG_FROM * min(known)
    return {"unit": unit.name, "scale": "log" if log else "linear", "log": ", log scale" if log else ""}
