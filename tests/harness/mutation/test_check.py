"""How far a bug is led: to the first checker that decides what it breaks, and no further unless that is wished."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from poolproof.harness.model.verdict import Verdict
from poolproof.harness.mutation import check
from poolproof.harness.mutation.check import AND_S, LONGEST_BUDGET_S, TIMES_AS_LONG, Task, selfcheck
from poolproof.harness.mutation.matrix import Cell, Judgement, KillMatrix
from poolproof.harness.mutation.registry import find_mutants
from poolproof.harness.run.runner import Request

ROUTE = ("any_json", "few_calls", "one_by_one", "fair_queue")
ACCUSED = {"few_calls": "G3", "one_by_one": "G1"}
"""Where the bug is accused in these tests, and what the accuser decides; the bug breaks G1."""
GOOD_RUN_S = 1.5


class Silent:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.total = self.ended_runs = 0

    def planned(self, total: int) -> None:
        self.total = total

    def began(self, what: str) -> None:
        pass

    def ended(self, what: str, outcome: str) -> None:
        self.ended_runs += 1


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Task, float | None]]:
    """The runs that were asked for, with their budgets; none is really made."""
    asked: list[tuple[Task, float | None]] = []

    def run(self: object, task: Task, budget_s: float | None = None) -> list[Cell]:
        asked.append((task, budget_s))
        guarantee = ACCUSED.get(task.scenario, "G2")
        bad = task.mutant and task.scenario in ACCUSED
        verdict = Verdict.FAIL if bad else Verdict.PASS
        judged = Judgement(checker="literal", verdict=verdict, claim="claimed", guarantees=(guarantee,))
        return [
            Cell(
                pool=task.pool,
                mutant=task.mutant,
                scenario=task.scenario,
                seed=task.seed,
                judgements=(judged,),
                duration_s=GOOD_RUN_S,
            )
        ]

    monkeypatch.setattr(check._Check, "_run", run)
    return asked


def _check(out: Path, *, exhaustive: bool) -> KillMatrix:
    (bug,) = find_mutants(["v2.double_unwrapping"])
    bug = msgspec.structs.replace(bug, scenarios=ROUTE)
    return selfcheck([bug], [1, 2], Request(), out, jobs=2, progress=Silent(), exhaustive=exhaustive)


def test_a_bug_goes_no_further_than_to_a_checker_of_what_it_breaks(
    made: list[tuple[Task, float | None]], tmp_path: Path
) -> None:
    matrix = _check(tmp_path, exhaustive=False)
    for seed in (1, 2):
        assert [task.scenario for task, _ in made if task.mutant and task.seed == seed] == list(ROUTE[:3])
    assert sum(not task.mutant for task, _ in made) == 2 * len(ROUTE)
    assert matrix.rows[0].killers == {"few_calls:literal": 2, "one_by_one:literal": 2}
    assert matrix.rows[0].shows == ("G1",)


def test_an_exhaustive_check_leads_it_everywhere(made: list[tuple[Task, float | None]], tmp_path: Path) -> None:
    matrix = _check(tmp_path, exhaustive=True)
    assert sum(bool(task.mutant) for task, _ in made) == 2 * len(ROUTE)
    assert len(matrix.cells) == 4 * len(ROUTE)


def test_a_mutant_is_given_little_more_time_than_its_good_pool(
    made: list[tuple[Task, float | None]], tmp_path: Path
) -> None:
    _check(tmp_path, exhaustive=False)
    assert {budget for task, budget in made if not task.mutant} == {None}
    assert {budget for task, budget in made if task.mutant} == {TIMES_AS_LONG * GOOD_RUN_S + AND_S}
    assert TIMES_AS_LONG * GOOD_RUN_S + AND_S < LONGEST_BUDGET_S
