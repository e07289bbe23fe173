"""The arithmetic of the kill matrix, on literal cells."""

from __future__ import annotations

from typing import Any

import msgspec

from poolproof.harness.model.verdict import Verdict
from poolproof.harness.mutation.markdown import as_markdown, killers_text, sentences
from poolproof.harness.mutation.matrix import Cell, Judgement, KillMatrix, accusers, build_matrix
from poolproof.harness.mutation.mutant import GUARANTEES, Mutant


def mutant(name: str, *breaks: str, **fields: Any) -> Mutant:
    usual: dict[str, Any] = {"pool": "v2", "about": "literal", "plant": lambda: None, "scenarios": ("s",)}
    return Mutant(name=name, breaks=breaks, **{**usual, **fields})


def cell(name: str = "", *, seed: int = 1, pool: str = "v2", scenario: str = "s", **judged: Any) -> Cell:
    """A run; `judged` are the checkers' verdicts, each "pass", "fail", "unknown" or "declared" (a declared fail)."""
    fields = {key: judged.pop(key) for key in ("trouble", "broken") if key in judged}
    judgements = tuple(
        Judgement(
            checker=checker,
            verdict=Verdict.FAIL if verdict == "declared" else Verdict(verdict.removeprefix("declared ")),
            claim="claimed",
            guarantees=(checker.upper(),),
            declared="as known" if verdict.startswith("declared") else "",
        )
        for checker, verdict in judged.items()
    )
    return Cell(pool=pool, mutant=name, scenario=scenario, seed=seed, judgements=judgements, **fields)


def build(mutants: list[Mutant], *cells: Cell, seeds: tuple[int, ...] = (1,), whole: bool = False) -> KillMatrix:
    return build_matrix(mutants, cells, profile="quick", seeds=seeds, whole=whole)


def accused(one: Cell, control: Cell | None) -> list[str]:
    return [judgement.checker for judgement in accusers(one, control)]


def test_who_fails_the_mutant_and_passes_the_good_pool_accuses() -> None:
    assert accused(cell("m", g1="fail", g2="pass", g3="unknown"), cell(g1="pass", g2="pass", g3="pass")) == ["g1"]


def test_nobody_accuses_without_a_good_run_to_compare_with() -> None:
    bad = cell("m", g1="fail")
    assert accused(bad, None) == []
    assert accused(bad, cell(g1="pass", g2="fail")) == []
    assert accused(bad, cell(g1="pass", g2="unknown")) == []
    assert accused(bad, cell(g1="pass", trouble="the budget was over")) == []
    assert accused(bad, cell()) == []


def test_a_declared_weakness_of_the_good_pool_does_not_hide_the_mutant_and_does_not_accuse_it() -> None:
    control = cell(g1="declared", g2="pass")
    assert accused(cell("m", g1="declared", g2="fail"), control) == ["g2"]
    assert accused(cell("m", g1="declared", g2="pass"), control) == []


def test_a_mutant_that_broke_by_itself_is_not_killed() -> None:
    matrix = build([mutant("m", "G1")], cell("m", g1="fail", broken="AttributeError"), cell(g1="pass"))
    assert (matrix.detection_rate, matrix.rows[0].killed) == (0.0, 0)
    assert "AttributeError" in matrix.rows[0].why
    assert matrix.verdict is Verdict.FAIL


def test_a_mutant_that_broke_in_each_run_with_a_seed_is_an_error() -> None:
    good = [cell(g1="pass"), cell(scenario="t", g1="pass")]
    never = cell("m", g1="pass", broken="never executed")
    matrix = build([mutant("m", "G1")], never, cell("m", scenario="t", g1="pass", broken="never executed"), *good)
    assert matrix.rows[0].broken == "never executed"
    assert "1 mutants are broken: v2.m: never executed" in matrix.shortcomings
    matrix = build([mutant("m", "G1")], never, cell("m", scenario="t", g1="fail"), *good)
    assert matrix.rows[0].broken == ""
    assert matrix.verdict is Verdict.PASS


def test_a_run_is_judged_beside_the_good_run_that_was_made_in_the_same_way() -> None:
    leased, seen = {"face": "lease"}, {"observed": True}
    bad = [_made(cell("m", g1="fail"), **way) for way in (leased, seen)]
    assert build([mutant("m", "G1")], *bad, cell(g1="pass")).rows[0].killed == 0
    for way in (leased, seen):
        matrix = build([mutant("m", "G1")], *bad, _made(cell(g1="pass"), **way), _made(cell(g1="fail"), face="many"))
        assert matrix.rows[0].killed == 1
        assert [alarm.face for alarm in matrix.false_alarms] == ["many"]
    text = as_markdown(build([_made(mutant("m", "G1"), face="lease")], *bad, _made(cell(g1="unknown"), **leased)))
    assert "| v2.m through lease |" in text
    assert "s on v2 through lease, seed 1" in text


def _made(what: Any, **way: Any) -> Any:
    return msgspec.structs.replace(what, **way)


def test_unknown_kills_nobody() -> None:
    matrix = build([mutant("m", "G1")], cell("m", g1="unknown"), cell(g1="pass"))
    assert matrix.rows[0].survived == (1,)
    assert matrix.rows[0].why == "every checker passed"


def test_rates_are_over_mutants_and_seeds_and_the_worst_seed_decides() -> None:
    one, other = mutant("one", "G1"), mutant("other", "G2")
    cells = [cell(seed=seed, g1="pass", g2="pass") for seed in (1, 2)]
    cells += [cell("one", seed=seed, g1="fail", g2="pass") for seed in (1, 2)]
    cells += [cell("other", seed=1, g1="pass", g2="fail"), cell("other", seed=2, g1="pass", g2="pass")]
    matrix = build([one, other], *cells, seeds=(1, 2))
    assert (matrix.detection_rate, matrix.lowest_detection_rate) == (0.75, 0.5)
    assert [(row.killed, row.survived) for row in matrix.rows] == [(2, ()), (1, (2,))]
    assert matrix.rows[0].killers == {"s:g1": 2}
    assert matrix.guarantees == {"G1": ("v2.one",), "G2": ()}
    assert [(row.shows, row.aimed, row.by_its_guarantee) for row in matrix.rows] == [(("G1",), 2, True), ((), 1, False)]
    assert len(matrix.shortcomings) == 2
    assert matrix.verdict is Verdict.FAIL


def test_a_row_says_whether_its_own_guarantee_was_what_gave_it_away() -> None:
    good = cell(g1="pass", g2="pass")
    row = build([mutant("m", "G1")], cell("m", g1="fail", g2="pass"), good).rows[0]
    assert row.by_its_guarantee
    row = build([mutant("m", "G1")], cell("m", g1="pass", g2="fail"), good).rows[0]
    assert row.killed
    assert not row.by_its_guarantee


def test_a_guarantee_is_shown_only_by_a_checker_that_decides_it() -> None:
    matrix = build([mutant("m", "G1", "G2")], cell("m", g1="pass", g2="fail", g3="fail"), cell(g1="pass", g2="pass"))
    assert matrix.rows[0].shows == ("G2",)
    assert matrix.guarantees == {"G1": (), "G2": ("v2.m",)}
    assert matrix.shortcomings == ("no mutant was found that breaks these guarantees or undoes these fixes: G1",)


def test_pools_are_told_apart() -> None:
    both = [mutant("m", "G1"), mutant("m", "G1", pool="v1")]
    cells = (cell("m", g1="fail"), cell(g1="pass"), cell("m", pool="v1", g1="pass"), cell(pool="v1", g1="pass"))
    assert [row.killed for row in build(both, *cells).rows] == [1, 0]


def test_every_undeclared_failure_of_a_good_pool_is_a_false_alarm() -> None:
    same = mutant("same")
    matrix = build([same, mutant("m", "G1")], cell("same", g1="fail", g2="fail"), cell(g1="pass"), cell("m", g1="fail"))
    assert [(alarm.equivalent, alarm.checker) for alarm in matrix.false_alarms] == [("same", "g1"), ("same", "g2")]
    assert (matrix.good_runs, matrix.false_alarm_rate) == (2, 0.5)
    assert matrix.detection_rate == 1.0
    assert matrix.verdict is Verdict.FAIL


def test_a_good_run_that_nobody_could_decide_leaves_the_whole_undecided() -> None:
    matrix = build([mutant("same")], cell("same", g1="unknown"), cell(g1="pass"))
    assert matrix.undecided == ("s on v2.same, seed 1: g1",)
    assert matrix.verdict is Verdict.UNKNOWN


def test_a_declared_weakness_that_never_showed_is_told() -> None:
    matrix = build([], cell(pool="v1", g1="declared pass"), cell(pool="v1", scenario="t", g1="declared"))
    assert matrix.unseen == ("v1: s:g1",)
    assert sentences(matrix)[-1] == "declared weaknesses that no run showed: v1: s:g1"
    assert matrix.verdict is Verdict.PASS


def test_the_whole_check_wants_every_guarantee_and_every_fix() -> None:
    matrix = build([mutant("m", "G1")], cell("m", g1="fail"), cell(g1="pass"), whole=True)
    assert set(matrix.guarantees) == set(GUARANTEES)
    assert "G2" in matrix.shortcomings[0]
    assert "unframed write" in matrix.shortcomings[0]
    assert build([mutant("m", "G1")], cell("m", g1="fail"), cell(g1="pass")).verdict is Verdict.PASS


def test_nothing_was_run_is_no_pass() -> None:
    assert build([]).verdict is Verdict.UNKNOWN


def test_the_matrix_survives_json_and_markdown() -> None:
    mutants = [mutant("m", "G1", fix="init not filtered"), mutant("lives", "G2"), mutant("same")]
    cells = (cell("m", g1="fail", g2="pass"), cell("lives", g1="pass", g2="pass"), cell("same", g1="fail", g2="pass"))
    matrix = build(mutants, *cells, cell(g1="pass", g2="pass"))
    assert msgspec.json.decode(msgspec.json.encode(matrix), type=KillMatrix) == matrix
    text = as_markdown(matrix)
    assert "| v2.m | G1 | 1/1 | s:g1 |" in text
    assert "| G2 | **none** |" in text
    assert "| fix: init not filtered | v2.m |" in text
    assert "## False alarms" in text
    assert "survived seed 1: every checker passed" in killers_text(matrix.rows[1])
    assert sentences(matrix)[0].startswith("detection: 50.0% of 2 mutants")
