"""Reads the records of failed runs, and picks the calls that show the failures.

Reads files and decides nothing. What cannot be read is left out; the report says which folder has the records.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from poolproof.harness.compare.comparison import Comparison, RunResult, ScenarioComparison
from poolproof.harness.history.history import History
from poolproof.harness.model.errors import RecordError
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.run.store import RunFolder
from poolproof.reports.evidence.call import CallView, Recorded, build_call

MOST_RUNS = 4
"""Single calls are shown of at most this many runs of a scenario."""
MOST_CALLS = 3
MOST_STDERR_LINES = 5
MOST_STDERR_BYTES = 1_000_000
_NUMBER = re.compile(r"\b(?:call|operation) (\d+)\b")


def read_evidence(comparison: Comparison, home: Path) -> dict[str, tuple[CallView, ...]]:
    """The calls that show the failures, by scenario; `home` is the folder of the comparison."""
    return {row.name: found for row in comparison.scenarios if (found := tuple(_of_scenario(row, home)))}


def _of_scenario(row: ScenarioComparison, home: Path) -> Iterator[CallView]:
    @lru_cache(maxsize=3)
    def history_of(folder: str) -> History | None:
        try:
            return _folder(home, folder).read_history()
        except RecordError:
            return None

    number = 0
    for results, wanted in _cases(row):
        read = [(result, history) for result in results if (history := history_of(result.folder)) is not None]
        recorded = [[_recorded(result, history, index, home) for result, history in read] for index in wanted]
        for (index, why), found in zip(wanted.items(), recorded, strict=True):
            same = [one for one in found if one is not None]
            if same:
                alike = [one for one in same if one.op.command == same[0].op.command]
                yield build_call(f"call-{row.name}-{number}-{index}", why, alike)
        number += bool(read)
        if number == MOST_RUNS:
            return


def _cases(row: ScenarioComparison) -> Iterator[tuple[list[RunResult], dict[int, str]]]:
    # The runs that show a failure, with the numbers of the calls that do and why: first answers that differ, then
    # undeclared failures of the candidate, then all other runs that did not pass.
    runs = {one.made_in: one for one in row.all_runs if one.folder}
    answers = [found for found in row.differences if found.kind == "answers"]
    for found in sorted(answers, key=lambda found: bool(found.reason)):
        names = found.made_in.split(" and ") if found.made_in else [row.baseline.made_in, row.candidate.made_in]
        texts = " ".join((found.text, *found.examples))
        numbers = dict.fromkeys(int(number) for number in _NUMBER.findall(texts))
        yield (
            [runs[name] for name in names if name in runs],
            dict.fromkeys(list(numbers)[:MOST_CALLS], "the answers differ" + (", as declared" if found.reason else "")),
        )
    declared = {(found.made_in, found.checker) for found in row.differences if found.reason}

    def weight(one: RunResult) -> tuple[bool, bool]:
        failed = {(one.made_in, each.checker) for each in one.findings if each.verdict is Verdict.FAIL}
        return failed <= declared, one.pool != row.candidate.pool

    for one in sorted((one for one in runs.values() if one.verdict is not Verdict.PASS), key=weight):
        named = [each for each in one.picture.noted if each.why != "slowest"] or one.picture.noted
        other = _counterpart(row, one)
        pair = [one] if other is None else [other, one] if one.pool == row.candidate.pool else [one, other]
        yield pair, {each.index: each.why for each in named[:MOST_CALLS]}


def _counterpart(row: ScenarioComparison, result: RunResult) -> RunResult | None:
    # The other pool's run through the same face, or else its main run: one seed gives all runs the same calls.
    (baseline, more), (candidate, others) = row.runs
    runs = (baseline, *more) if result.pool == candidate.pool else (candidate, *others)
    alike = [one for one in runs if one.face == result.face and one.observed == result.observed]
    found = (alike or list(runs))[0]
    return found if found.folder and found is not result else None


def _recorded(result: RunResult, history: History, index: int, home: Path) -> Recorded | None:
    rows = np.flatnonzero(history.ops.index == index)
    if not len(rows):
        return None
    op = history.ops[int(rows[0])]
    events = [] if op.call is None else list(history.events.take(history.events.call == op.call))
    return Recorded(
        made_in=result.made_in,
        op=op,
        events=events,
        observed=result.observed,
        stderr=_stderr(_folder(home, result.folder), op.worker),
        replay=result.replay,
        folder=result.folder,
    )


def _folder(home: Path, folder: str) -> RunFolder:
    moved = home / "runs" / Path(folder).name
    return RunFolder(moved if moved.is_dir() else Path(folder))


def _stderr(folder: RunFolder, worker: int | None) -> tuple[str, ...]:
    plain = folder.stderr / f"worker-{worker}.stderr.log"
    try:
        with plain.open("rb") if plain.exists() else gzip.open(f"{plain}.gz", "rb") as file:
            text = file.read(MOST_STDERR_BYTES).decode(errors="replace")
    except (OSError, EOFError, zlib.error):
        return ()
    return tuple(text.splitlines()[-MOST_STDERR_LINES:])
