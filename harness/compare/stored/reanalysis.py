"""Judges a stored comparison again from its run folders: the same histories, by the checkers of today."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from poolproof.harness.compare.assembling import Main, More, compare_results
from poolproof.harness.compare.cells import shortfalls
from poolproof.harness.compare.comparison import SCHEMA_VERSION, Comparison, RunResult
from poolproof.harness.compare.judge import judge
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.run.analysis import analyze
from poolproof.harness.run.store import RunFolder

Find = Callable[[str], Sequence[Scenario]]


def reanalyze(comparison: Comparison, home: Path, find: Find) -> Comparison:
    """Judge a comparison again from its run folders; `home` is the folder from which the comparison was read.

    Timings are taken over unchanged. Raises RecordError for a missing run folder, UsageError for a missing scenario.
    """
    scenarios = {scenario.name: scenario for row in comparison.scenarios for scenario in find(row.file or row.name)}
    results: Main = {}
    more: More = {}

    for row in comparison.scenarios:
        for side, (main, others) in enumerate(row.runs):
            results[row.name, side] = _judge_again(scenarios[row.name], home, main)
            more[row.name, side] = [_judge_again(scenarios[row.name], home, result) for result in others]
    ordered = [scenarios[row.name] for row in comparison.scenarios]
    compared = compare_results(ordered, results, more)
    missed = shortfalls(compared, comparison.coverage, comparison.minimum)
    explored = tuple(_analyze_again(find, home, result) for result in comparison.explored)
    troubles = (*comparison.troubles, *missed)
    judgement = judge(compared, speeds=comparison.speeds, troubles=troubles, explored=explored, total=comparison.total)
    return msgspec.structs.replace(
        comparison,
        decision=judgement.decision,
        reasons=judgement.reasons,
        warnings=judgement.warnings,
        scenarios=compared,
        explored=explored,
        schema_version=SCHEMA_VERSION,
    )


def _judge_again(scenario: Scenario, home: Path, result: RunResult) -> RunResult:
    if not result.folder:
        return result
    moved = home / "runs" / Path(result.folder).name
    folder = RunFolder(moved if moved.is_dir() else Path(result.folder))
    return msgspec.structs.replace(analyze(scenario, folder), duration_s=result.duration_s)


def _analyze_again(find: Find, home: Path, result: RunResult) -> RunResult:
    (scenario,) = find(result.scenario)
    return _judge_again(scenario, home, result)
