"""Counts what a comparison has tried: cells of fault × workload × configuration, and the minimum that SAFE needs.

Pure. A fault counts only where it landed; a cell in which nothing was decided counts as tried and not passed.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from poolproof.bridge.redaction import redact
from poolproof.harness.compare.comparison import Cover, Minimum, RunResult, ScenarioComparison
from poolproof.harness.model.fault import FaultKind
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.verdict import Verdict

NO_FAULT = "no fault"
USUAL = "usual"


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One cell of the candidate: the scenarios that tried it. `passed` and `unknown` count scenarios."""

    fault: str
    workload: str
    configuration: str
    scenarios: tuple[str, ...]
    passed: int
    unknown: int

    @property
    def tried(self) -> int:
        """How many scenarios tried the cell."""
        return len(self.scenarios)


def describe_workload(scenario: Scenario) -> str:
    """Describe the workload of a scenario: the commands of its clients."""
    return " + ".join(scenario.commands)


def describe_configuration(scenario: Scenario) -> str:
    """Describe how the scenario's pool differs from a pool with default options."""
    parts = [f"{name}={value!r}" for name, value in sorted(redact(scenario.config).items())]
    if scenario.fixed_size is not None:
        parts.append(f"{scenario.fixed_size.workers} workers, {scenario.fixed_size.clients} clients")
    if not scenario.warm:
        parts.append("cold")
    return ", ".join(parts) or USUAL


def count_cells(rows: Sequence[ScenarioComparison]) -> tuple[Cell, ...]:
    """Return every cell that was tried on the candidate, in alphabetical order."""
    found: dict[tuple[str, str, str], list[ScenarioComparison]] = {}
    for row in rows:
        if row.candidate.skipped:
            continue
        kinds = sorted({one.kind for one in row.candidate.picture.struck if one.landed}) or [NO_FAULT]
        for kind in kinds:
            found.setdefault((kind, row.workload, row.configuration), []).append(row)
    return tuple(
        Cell(
            fault=fault,
            workload=workload,
            configuration=configuration,
            scenarios=tuple(row.name for row in mine),
            passed=sum(_verdict(row) is Verdict.PASS for row in mine),
            unknown=sum(_verdict(row) is Verdict.UNKNOWN for row in mine),
        )
        for (fault, workload, configuration), mine in sorted(found.items())
    )


class FaceCell(msgspec.Struct, frozen=True, kw_only=True):
    """One cell of the candidate and one face. Counts are scenarios."""

    face: str
    observed: bool
    fault: str
    workload: str
    scenarios: tuple[str, ...]
    passed: int
    unknown: int


def count_faces(rows: Sequence[ScenarioComparison]) -> tuple[FaceCell, ...]:
    """Return every cell of face × fault × workload that was tried on the candidate, in alphabetical order."""
    found: dict[tuple[str, bool, str, str], list[tuple[str, Verdict]]] = {}
    for row in rows:
        for result in (row.candidate, *row.candidate_more):
            if not result.skipped:
                for kind in sorted({one.kind for one in result.picture.struck if one.landed}) or [NO_FAULT]:
                    key = result.face, result.observed, kind, row.workload
                    found.setdefault(key, []).append((row.name, _verdict_of(result)))
    return tuple(
        FaceCell(
            face=face,
            observed=observed,
            fault=fault,
            workload=workload,
            scenarios=tuple(name for name, _ in mine),
            passed=sum(verdict is Verdict.PASS for _, verdict in mine),
            unknown=sum(verdict is Verdict.UNKNOWN for _, verdict in mine),
        )
        for (face, observed, fault, workload), mine in sorted(found.items())
    )


def _verdict(row: ScenarioComparison) -> Verdict:
    return _verdict_of(row.candidate)


def _verdict_of(result: RunResult) -> Verdict:
    return Verdict.UNKNOWN if result.trouble and result.verdict is Verdict.PASS else result.verdict


def untried_faults(rows: Sequence[ScenarioComparison]) -> tuple[str, ...]:
    """Return the kinds of faults that landed in no scenario of the candidate."""
    landed = {one.kind for row in rows for one in row.candidate.picture.struck if one.landed}
    return tuple(kind.value for kind in FaultKind if kind.value not in landed)


def shortfalls(rows: Sequence[ScenarioComparison], cover: Cover | None, minimum: Minimum) -> tuple[str, ...]:
    """Return a sentence for each part of the minimum that was not reached."""
    told = []
    passed = sum(cell.passed > 0 for cell in count_cells(rows))
    if passed < minimum.cells:
        told.append(
            f"{passed} cells (combinations of fault, workload and configuration) were passed; the required "
            f"minimum is {minimum.cells}"
        )
    if minimum.lines > 0:
        if cover is None:
            told.append(f"no coverage was measured, but the required minimum is {minimum.lines:g} % of the lines")
        elif cover.percent < minimum.lines:
            told.append(
                f"{cover.percent:.1f} % of the candidate's lines were executed; the required minimum is "
                f"{minimum.lines:g} %"
            )
    return tuple(told)
