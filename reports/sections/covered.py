"""Coverage as evidence: the candidate's code that scenarios executed, the code that no scenario executed, and the tried
cells.

Pure. The sections show figures and judge nothing; the comparison decides whether the declared minimum was reached.
"""

from __future__ import annotations

from poolproof.harness.compare.cells import Cell, FaceCell, count_cells, count_faces, untried_faults
from poolproof.harness.compare.comparison import Comparison, Cover, FileCover, RunResult
from poolproof.harness.compare.power import decided
from poolproof.harness.model.fault import FaultKind
from poolproof.harness.model.verdict import Verdict
from poolproof.reports.sections.section import Grid, Mark, Section, Tone


def cells_section(comparison: Comparison) -> Section | None:
    """Cells of fault × workload × configuration with counts of tried, passed and unknown; None if nothing was run."""
    cells = count_cells(comparison.scenarios)
    if not cells:
        return None
    untried = untried_faults(comparison.scenarios)
    kinds = len(FaultKind)
    passed = sum(cell.passed > 0 for cell in cells)
    told = [
        f"{passed} of {len(cells)} tried cells (combinations of fault, workload and configuration) were passed "
        f"by {comparison.candidate}; "
        f"SAFE requires at least {comparison.minimum.cells}",
        f"{kinds - len(untried)} of {kinds} kinds of faults were in effect in at least one scenario",
    ]
    if untried:
        told.append(f"kinds of faults that were never in effect here: {', '.join(untried)}")
    return Section(
        key="cells",
        title="What was tried",
        sentences=tuple(told),
        grids=(
            Grid(
                caption="Fault × workload × configuration, on the candidate",
                columns=("fault", "workload", "configuration", "tried", "passed", "unknown", "scenarios"),
                rows=tuple(_cell(cell) for cell in cells),
            ),
        ),
    )


def faces_section(comparison: Comparison) -> Section | None:
    """Cells of face × fault × workload, and the pairs that no run covers; None if nothing was run."""
    cells = count_faces(comparison.scenarios)
    if not cells:
        return None
    faces = sorted({cell.face for cell in cells})
    told = [
        f"{comparison.candidate} was called in {len(faces)} ways (faces): {', '.join(faces)}",
        "each scenario ran through the face execute, without an observer (as shipped) and with one; through every "
        "other face, enough scenarios ran to meet each kind of fault and of workload (with the profile full: all)",
    ]
    if comparison.not_met:
        told.append(f"combinations that no run of this profile covers: {', '.join(comparison.not_met)}")
    return Section(
        key="faces",
        title="Ways to call the pool (faces)",
        sentences=tuple(told),
        grids=(
            Grid(
                caption="Face × fault × workload, on the candidate",
                columns=("face", "observed", "fault", "workload", "tried", "passed", "unknown", "scenarios"),
                rows=tuple(_face_cell(cell) for cell in cells),
            ),
        ),
    )


def explored_section(comparison: Comparison) -> Section | None:
    """The generated runs: the features and the face of each, and what the reference model found; None without runs."""
    if not comparison.explored:
        return None
    calls = sum(result.metrics.ops for result in comparison.explored)
    failed = sum(result.verdict is Verdict.FAIL for result in comparison.explored)
    return Section(
        key="explored",
        title="Generated runs",
        sentences=(
            f"{len(comparison.explored)} runs with {calls} calls were generated from the seed {comparison.seed}: each "
            "draws the options of the pool, the face, the calls, their values, limits and faults; the reference model "
            "says which results are impossible",
            f"{failed} of them found something" if failed else "none of them found anything",
        ),
        grids=(
            Grid(
                caption="Generated runs on the candidate",
                columns=("scenario", "face", "observed", "calls", "verdict", "what was found", "again"),
                rows=tuple(_explored(result) for result in comparison.explored),
            ),
            Grid(
                caption="How many of these runs each checker could decide",
                columns=("checker", "decided", "could not tell"),
                rows=tuple(
                    (checker, str(done), str(not_done))
                    for checker, (done, not_done) in decided(comparison.explored).items()
                ),
            ),
        ),
    )


def _explored(result: RunResult) -> tuple[str | Mark, ...]:
    failed = [found for found in result.findings if found.verdict is Verdict.FAIL]
    tone = Tone.BAD if failed else Tone.DOUBT if result.trouble else Tone.GOOD
    told = "; ".join([f"{found.checker}: {found.claim}" for found in failed] or [result.trouble or "–"])
    verdict = "fail" if failed else "unknown" if result.trouble else "pass"
    observed = "yes" if result.observed else "no"
    return result.scenario, result.face, observed, str(result.metrics.ops), Mark(verdict, tone), told, result.replay


def _face_cell(cell: FaceCell) -> tuple[str | Mark, ...]:
    failed = len(cell.scenarios) - cell.passed - cell.unknown
    tone = Tone.BAD if failed else Tone.DOUBT if cell.unknown else Tone.GOOD
    return (
        cell.face,
        "yes" if cell.observed else "no",
        cell.fault,
        cell.workload,
        str(len(cell.scenarios)),
        Mark(str(cell.passed), tone),
        str(cell.unknown),
        ", ".join(cell.scenarios),
    )


def _cell(cell: Cell) -> tuple[str | Mark, ...]:
    failed = cell.tried - cell.passed - cell.unknown
    tone = Tone.BAD if failed else Tone.DOUBT if cell.unknown else Tone.GOOD
    return (
        cell.fault,
        cell.workload,
        cell.configuration,
        str(cell.tried),
        Mark(str(cell.passed), tone),
        str(cell.unknown),
        ", ".join(cell.scenarios),
    )


def coverage_section(cover: Cover) -> Section:
    """The candidate's lines and branches that each scenario executed, and those that no scenario executed."""
    statements = sum(file.statements for file in cover.files)
    executed = sum(file.executed for file in cover.files)
    branches = sum(file.branches for file in cover.files)
    taken = sum(file.taken for file in cover.files)
    return Section(
        key="coverage",
        title="Coverage",
        sentences=(
            f"the scenarios executed {executed} of {statements} statements ({cover.percent:.1f} %) and {taken} of "
            f"{branches} branches of {', '.join(cover.sources)}, workers included",
            "lines that no scenario executed are listed by file; this report says nothing about those lines",
        ),
        grids=(
            Grid(
                caption="By file, the least covered first: lines and branches that no scenario executed",
                columns=("file", "statements", "branches", "lines never executed", "branches never taken"),
                rows=tuple(_file(file) for file in sorted(cover.files, key=lambda file: _share(file))),
            ),
            Grid(
                caption="By scenario: lines and branches of the candidate that it executed",
                columns=("scenario", "lines", "branches", "lines that only this scenario executed"),
                rows=tuple(
                    (one.scenario, str(one.lines), str(one.branches), str(one.alone)) for one in cover.scenarios
                ),
                more="the executed lines of each scenario are in comparison.json, under coverage.scenarios",
            ),
        ),
    )


def _share(file: FileCover) -> float:
    return file.executed / file.statements if file.statements else 1.0


def _file(file: FileCover) -> tuple[str | Mark, ...]:
    share = _share(file)
    tone = Tone.GOOD if share >= 0.9 else Tone.DOUBT if share >= 0.5 else Tone.BAD
    return (
        file.path,
        Mark(f"{file.executed} of {file.statements} ({share:.0%})", tone),
        f"{file.taken} of {file.branches}",
        file.missing or "–",
        file.untaken or "–",
    )
