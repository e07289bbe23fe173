"""Puts the results of all runs of a comparison together: each scenario's two sides, the judgement, and the machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec

from poolproof.bridge.redaction import redact_command
from poolproof.harness.compare.cells import shortfalls
from poolproof.harness.compare.comparison import (
    Comparison,
    Cover,
    Machine,
    Minimum,
    RunResult,
    ScenarioComparison,
    Speed,
)
from poolproof.harness.compare.differential import Answers, compare_answers
from poolproof.harness.compare.jobs.jobs import PlannedRun
from poolproof.harness.compare.judge import Beside, compare_scenario, judge
from poolproof.harness.history.history import History
from poolproof.harness.model.errors import RecordError
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.run.runner import Request
from poolproof.harness.run.store import RunFolder

Main = dict[tuple[str, int], RunResult]
"""By scenario and side: the main run, which is as shipped, or observed if that run was skipped."""
More = dict[tuple[str, int], list[RunResult]]
"""By scenario and side: all other runs that were not skipped."""


def sort_results(runs: Sequence[PlannedRun], results: Sequence[RunResult]) -> tuple[Main, More]:
    """Return the main run of each scenario and side, and the other runs."""
    main: Main = {}
    more: More = {}
    for planned, result in zip(runs, results, strict=True):
        key = planned.scenario.name, planned.side
        if key not in main or (main[key].skipped and result.face == main[key].face):
            main[key] = result if key not in main or not result.skipped else main[key]
        elif not result.skipped:
            more.setdefault(key, []).append(result)
    return main, more


def assemble(
    scenarios: Sequence[Scenario],
    results: Mapping[tuple[str, int], RunResult],
    pools: tuple[str, str],
    request: Request,
    *,
    more: Mapping[tuple[str, int], Sequence[RunResult]] = {},
    explored: Sequence[RunResult] = (),
    total: int | None = None,
    not_met: Sequence[tuple[str, str]] = (),
    speeds: Sequence[Speed] = (),
    troubles: Sequence[str] = (),
    warnings: Sequence[str] = (),
    minimum: Minimum = Minimum(),  # noqa: B008 - frozen
    coverage: Cover | None = None,
    machine: Machine,
    duration_s: float,
    command: str = "",
) -> Comparison:
    """Judge what both pools did. `pools` is (baseline, candidate); `results` is by scenario and side (0 or 1).

    `more` are the further runs of each side, and `not_met` the pairs of face and kind that no run covers.
    """
    compared = compare_results(scenarios, results, more)
    missed = shortfalls(compared, coverage, minimum)
    judgement = judge(compared, speeds=speeds, troubles=(*troubles, *missed), explored=explored, total=total)
    return Comparison(
        decision=judgement.decision,
        reasons=judgement.reasons,
        warnings=(*judgement.warnings, *warnings),
        not_asked=judgement.not_asked,
        baseline=pools[0],
        candidate=pools[1],
        seed=request.seed,
        workers=request.size.workers,
        clients=request.size.clients,
        profile=request.profile,
        worker_command=redact_command(request.worker_command or ""),
        scenarios=compared,
        explored=tuple(explored),
        total=total,
        not_met=tuple(f"{face}: {kind}" for face, kind in not_met),
        speeds=tuple(speeds),
        troubles=tuple(troubles),
        minimum=minimum,
        coverage=coverage,
        machine=machine,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        duration_s=duration_s,
        command=command,
        tool_version=version("poolproof"),
    )


def compare_results(
    scenarios: Sequence[Scenario],
    results: Mapping[tuple[str, int], RunResult],
    more: Mapping[tuple[str, int], Sequence[RunResult]] = {},
) -> tuple[ScenarioComparison, ...]:
    """Compare the results of both pools, with the answers read back from their run folders.

    The answers of each pool's main run are also compared with those of the pool's other runs.
    """
    rows = []
    today = datetime.now(UTC).date().isoformat()
    for scenario in scenarios:
        one, other = results[scenario.name, 0], results[scenario.name, 1]
        read = _Histories()
        answers = Answers()
        beside: list[Beside] = []
        if scenario.compare_answers and one.folder and other.folder:
            try:
                answers = compare_answers(read(one), read(other), scenario.comparing)
            except RecordError as error:
                other = msgspec.structs.replace(other, trouble=str(error))
        others: tuple[list[RunResult], list[RunResult]] = ([], [])
        for side, main in enumerate((one, other)):
            for result in more.get((scenario.name, side), ()):
                told = result
                if scenario.compare_answers and main.folder and result.folder:
                    try:
                        found = compare_answers(read(main), read(result), scenario.comparing)
                        beside.append(Beside(one=main, other=result, answers=found))
                    except RecordError as error:
                        told = msgspec.structs.replace(result, trouble=str(error))
                others[side].append(told)
        rows.append(compare_scenario(scenario, one, other, answers, more=others, beside=beside, today=today))
    return tuple(rows)


class _Histories:
    """Reads each history once, and keeps it for the time of one scenario."""

    def __init__(self) -> None:
        self._read: dict[str, History] = {}

    def __call__(self, result: RunResult) -> History:
        if result.folder not in self._read:
            self._read[result.folder] = RunFolder(Path(result.folder)).read_history()
        return self._read[result.folder]


def describe_machine(load_before: float) -> Machine:
    """Describe the machine of the measurement, and how busy it was."""
    return Machine(
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        cpus=os.cpu_count() or 1,
        load_before=load_before,
        load_after=os.getloadavg()[0],
    )
