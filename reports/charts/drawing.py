"""A chart of a report: tables of plain values by name, a caption, and a text alternative.

Pure data. The kinds are those of reports/charts/specifications.py.
"""

from __future__ import annotations

from typing import Any

import msgspec

from poolproof.harness.compare.comparison import RunResult, ScenarioComparison
from poolproof.reports.charts.units import Unit

LEAST_MS = 0.001
"""A shorter time is drawn as this one, because a logarithmic axis cannot show zero."""


class Table(msgspec.Struct, frozen=True):
    """A table of chart data: field names, and rows of values in the same order."""

    fields: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def columns(self) -> dict[str, list[Any] | dict[str, list[Any]]]:
        """The values by column, without empty columns. A text column is the distinct texts (`of`) and indices into them
        (`at`).
        """
        found: dict[str, list[Any] | dict[str, list[Any]]] = {}
        for place, field in enumerate(self.fields):
            values = [row[place] for row in self.rows]
            if all(value is None for value in values):
                continue
            if any(isinstance(value, str) for value in values):
                known = {value: number for number, value in enumerate(dict.fromkeys(values))}
                found[field] = {"of": list(known), "at": [known[value] for value in values]}
            else:
                found[field] = values
        return found


class Drawing(msgspec.Struct, frozen=True, kw_only=True):
    """One chart: its kind, its tables by name, its caption, and its text alternative in `words`.

    `settings` are the values that depend on the data: `unit`, `scale` and `log`; see `units.settings`.
    """

    kind: str
    tables: dict[str, Table]
    caption: str
    words: str
    settings: dict[str, str] = {}


def side_names(baseline: str, candidate: str) -> tuple[str, str]:
    """The names of the baseline and the candidate where both are shown; equal names get the role as a suffix."""
    if baseline != candidate:
        return baseline, candidate
    return f"{baseline} (baseline)", f"{candidate} (candidate)"


def present(*drawings: Drawing | None) -> tuple[Drawing, ...]:
    """The given charts without those that have no data."""
    return tuple(drawing for drawing in drawings if drawing is not None)


def pairs(row: ScenarioComparison, sides: tuple[str, str]) -> list[tuple[str, RunResult]]:
    """The main runs of both pools, each with the name of its side."""
    return list(zip(sides, (row.baseline, row.candidate), strict=True))


def time_in(ms: float, unit: Unit) -> float:
    """The time for a chart: at least `LEAST_MS`, in the unit."""
    return max(unit.of(max(ms, LEAST_MS) / 1e3), 1e-4)
