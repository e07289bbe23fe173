"""The hunt: which mutants are planted, how they are led past the killers, and what the report says of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from poolproof.harness.cli.app import main
from poolproof.harness.compare.comparison import Difference, RunResult, ScenarioComparison
from poolproof.harness.model.checker import Finding
from poolproof.harness.model.errors import RecordError, UsageError
from poolproof.harness.model.scenario import IntendedDifference, Scenario
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.mutation.generated.command import verdict_of
from poolproof.harness.mutation.generated.draw import all_places, digest
from poolproof.harness.mutation.generated.equivalents import EQUIVALENTS, Equivalent, find_stale, reason_of
from poolproof.harness.mutation.generated.hunt import choose, count_places, describe, lead
from poolproof.harness.mutation.generated.hunted import Attack, Hunt, Outcome
from poolproof.harness.mutation.generated.killers import all_killers, choose_related
from poolproof.harness.mutation.generated.page import as_markdown, sentences
from poolproof.harness.mutation.generated.survey import SURVEY_FILE, Survey, SurveyedRun, read_sources, read_survey
from poolproof.harness.mutation.generated.target import worst_of
from poolproof.harness.mutation.generated.verdicts import judge_answers, judge_run
from poolproof.harness.mutation.operators.places import mutate
from poolproof.harness.run.runner import Request

FILE = "pool_v2/a.py"
TEXT = "def f(a):\n    if a < 1:\n        g(a)\n    h()\n\n\ndef never(a):\n    g(a)\n"
PLACES = all_places({FILE: TEXT})


def surveyed(key: str, lines: Sequence[int], *, other: Sequence[int] = (), duration_s: float = 1.0) -> SurveyedRun:
    scenario = key.split("/")[0]
    result = RunResult(scenario=scenario, pool="v2", seed=1, verdict=Verdict.PASS, duration_s=duration_s)
    return SurveyedRun(key=key, result=result, lines={FILE: frozenset(lines), "bridge/b.py": frozenset(other)})


def survey(*runs: SurveyedRun) -> Survey:
    return Survey(sources=digest({FILE: TEXT}), profile="quick", seed=1, runs=runs)


SURVEY = survey(
    surveyed("one/v2/execute/shipped", [1, 2, 3, 4], other=range(96)),
    surveyed("one/v2/lease/shipped", [1, 2, 4], other=range(3)),
    surveyed("two/v2/execute/shipped", [1, 2], other=range(98)),
)


def test_only_executed_places_are_planted_and_the_others_are_counted() -> None:
    chosen, passed_over, argued = choose(PLACES, {FILE: TEXT}, SURVEY, seed=1, count=1000)
    assert {place.line for place, _ in chosen} == {2, 3, 4}
    assert passed_over == (f"{FILE}:8 drop_statement: no run executes it",)
    assert argued == []
    assert all(text == mutate(TEXT, place) for place, text in chosen)
    counted = {each.operator: (each.places, each.executed) for each in count_places(PLACES, SURVEY)}
    assert counted["drop_statement"] == (3, 2)
    assert len(choose(PLACES, {FILE: TEXT}, SURVEY, seed=1, count=2)[0]) == 2


def test_an_argued_equivalent_is_not_planted_and_holds_when_lines_move() -> None:
    entry = Equivalent(
        operator="drop_statement", file=FILE, statement="h()", change="h() -> pass", reason="h does nothing"
    )
    moved = "# a line more\n" + TEXT
    for text in (TEXT, moved):
        places = all_places({FILE: text})
        runs = survey(surveyed("one/v2/execute/shipped", range(1, 6)))
        chosen, _, argued = choose(places, {FILE: text}, runs, seed=1, count=1000, equivalents=[entry])
        assert [(one.outcome, one.reason) for one in argued] == [(Outcome.EQUIVALENT, "h does nothing")]
        assert all(place.key != entry.key for place, _ in chosen)
        assert find_stale(places, [entry]) == ()
    gone = all_places({FILE: TEXT.replace("h()", "i()")})
    assert find_stale(gone, [entry]) == (f"{FILE} drop_statement: 'h()' (h() -> pass)",)
    assert reason_of(PLACES[0], [entry]) == ""


def test_every_equivalent_of_the_product_has_a_reason_and_a_place() -> None:
    files = {entry.file for entry in EQUIVALENTS}
    assert find_stale(all_places({file: text for file, text in read_sources().items() if file in files})) == ()
    assert all(len(entry.reason.split()) >= 8 for entry in EQUIVALENTS)
    assert len({entry.key for entry in EQUIVALENTS}) == len(EQUIVALENTS)


def test_the_runs_that_are_most_about_the_file_come_first_and_one_of_each_scenario() -> None:
    executing = SURVEY.executing(FILE, [2])
    assert [run.key for run in executing] == [
        "one/v2/lease/shipped",
        "one/v2/execute/shipped",
        "two/v2/execute/shipped",
    ]
    assert [run.key for run in choose_related(executing, 2)] == ["one/v2/lease/shipped", "two/v2/execute/shipped"]
    assert [run.key for run in SURVEY.executing(FILE, [3, 8])] == ["one/v2/execute/shipped"]


SCENARIO = Scenario(
    name="one",
    summary="literal",
    workload=lambda _, __: (),
    checkers=(object(),),  # type: ignore[arg-type]
    intended_differences=(IntendedDifference(pool="v1", checker="overlap", reason="it is serial"),),
)


def result(*findings: tuple[str, Verdict], pool: str = "v2", trouble: str = "") -> RunResult:
    found = tuple(Finding(checker=checker, verdict=verdict, claim="a claim") for checker, verdict in findings)
    verdict = found[0].verdict if found else Verdict.UNKNOWN
    return RunResult(scenario="one", pool=pool, seed=1, verdict=verdict, findings=found, trouble=trouble)


GOOD = result(("fifo", Verdict.PASS), ("lives", Verdict.PASS))


@pytest.mark.parametrize(
    ("mutant", "good", "outcome"),
    [
        (GOOD, GOOD, Outcome.SURVIVED),
        (result(("fifo", Verdict.FAIL)), GOOD, Outcome.KILLED),
        (result(("face", Verdict.FAIL)), GOOD, Outcome.KILLED),
        (result(("fifo", Verdict.FAIL)), result(("fifo", Verdict.FAIL)), Outcome.SURVIVED),
        (result(("fifo", Verdict.FAIL)), result(("fifo", Verdict.UNKNOWN)), Outcome.SURVIVED),
        (result(("fifo", Verdict.FAIL)), result(trouble="cut off"), Outcome.SURVIVED),
        (result(("overlap", Verdict.FAIL), pool="v1"), result(pool="v1"), Outcome.SURVIVED),
        (result(("overlap", Verdict.FAIL)), GOOD, Outcome.KILLED),
        (result(("fifo", Verdict.UNKNOWN)), GOOD, Outcome.UNDECIDED),
        (result(("fifo", Verdict.UNKNOWN)), result(("fifo", Verdict.UNKNOWN)), Outcome.SURVIVED),
        (result(trouble="the run took longer than 9 s"), GOOD, Outcome.TIMEOUT),
        (result(trouble="the run's process broke: x"), GOOD, Outcome.UNDECIDED),
        (result(("fifo", Verdict.FAIL), trouble="the budget of 30 s was over before client 1"), GOOD, Outcome.KILLED),
    ],
)
def test_a_run_kills_only_by_what_the_unmutated_pool_does_not_show(
    mutant: RunResult, good: RunResult, outcome: Outcome
) -> None:
    assert judge_run(SCENARIO, mutant, good)[0] is outcome


def compared(*differences: Difference) -> ScenarioComparison:
    return ScenarioComparison(
        name="one",
        summary="",
        failures=(),
        guarantees=(),
        baseline=GOOD,
        candidate=GOOD,
        differences=differences,
    )


def test_other_answers_kill_unless_they_are_declared_or_the_unmutated_pools_differ_too() -> None:
    other = Difference(kind="answers", pool="v2", checker="answers", text="1 of 2 answers differ")
    declared = msgspec.structs.replace(other, reason="as it should")
    finding = msgspec.structs.replace(other, kind="finding")
    assert judge_answers(compared(other), compared())[0] is Outcome.KILLED
    assert judge_answers(compared(declared), compared())[0] is Outcome.SURVIVED
    assert judge_answers(compared(finding), compared())[0] is Outcome.SURVIVED
    assert judge_answers(compared(other), compared(other))[0] is Outcome.SURVIVED


def test_the_worst_of_many_runs_decides() -> None:
    found = [(Outcome.SURVIVED, ""), (Outcome.UNDECIDED, "b"), (Outcome.TIMEOUT, "c"), (Outcome.KILLED, "d")]
    assert worst_of(found) == (Outcome.KILLED, "d")
    assert worst_of(found[:3]) == (Outcome.TIMEOUT, "c")
    assert worst_of(found[:2]) == (Outcome.UNDECIDED, "b")
    assert worst_of([]) == (Outcome.SURVIVED, "")


class Literal:
    """A killer with a given outcome, which counts its attacks."""

    def __init__(self, name: str, outcome: Outcome) -> None:
        self.name = name
        self.outcome = outcome
        self.attacks = 0

    def attack(self, _: Any) -> Attack:
        self.attacks += 1
        return Attack(killer=self.name, outcome=self.outcome, why="as told")


def test_the_first_killer_that_decides_is_the_last_that_is_tried() -> None:
    order = (Outcome.ABSENT, Outcome.UNDECIDED, Outcome.KILLED, Outcome.SURVIVED)
    killers = [Literal(outcome.value, outcome) for outcome in order]
    attacks = lead(None, killers)  # type: ignore[arg-type]
    assert [killer.attacks for killer in killers] == [1, 1, 1, 0]
    mutant = describe(PLACES[0], TEXT, mutate(TEXT, PLACES[0]) or "", attacks, 3)
    assert mutant.outcome is Outcome.KILLED
    assert mutant.killer is not None
    assert mutant.killer.killer == "killed"
    assert len(lead(None, killers, every_killer=True)) == 4  # type: ignore[arg-type]


def test_the_cheapest_killer_comes_first() -> None:
    assert [killer.name for killer in all_killers(1)] == ["smoke", "simulator", "related runs", "comparison"]


def report(*outcomes: Outcome) -> Hunt:
    mutants = []
    for place, outcome in zip(PLACES, outcomes, strict=False):
        attacks = (
            Attack(killer="smoke", outcome=Outcome.SURVIVED, runs=1),
            Attack(killer="comparison", outcome=outcome, why="because|so", runs=7),
        )
        mutants.append(describe(place, TEXT, mutate(TEXT, place) or "", attacks, 3))
    return Hunt(
        seed=1,
        asked=len(outcomes),
        packages=("pool_v2",),
        sources="x",
        profile="quick",
        killers=("smoke", "comparison"),
        mutants=tuple(mutants),
        places=count_places(PLACES, SURVEY),
        survey_runs=3,
    )


def test_a_report_counts_by_operator_and_package_with_an_interval() -> None:
    found = report(Outcome.KILLED, Outcome.KILLED, Outcome.TIMEOUT, Outcome.SURVIVED, Outcome.UNDECIDED)
    whole = found.tallies("package")[-1]
    assert (whole.killed, whole.timeouts, whole.survived, whole.undecided) == (2, 1, 1, 1)
    assert (whole.detected.count, whole.detected.total) == (3, 5)
    assert (round(whole.detected.low, 2), round(whole.detected.high, 2)) == (0.23, 0.88)
    assert whole.not_executed == 1
    groups = [tally.group for tally in found.tallies("operator")]
    assert groups == [*sorted({place.operator for place in PLACES}), "all"]
    assert verdict_of(found) is Verdict.FAIL
    assert verdict_of(report(Outcome.KILLED, Outcome.UNDECIDED)) is Verdict.UNKNOWN
    assert verdict_of(report(Outcome.KILLED, Outcome.TIMEOUT)) is Verdict.PASS
    assert verdict_of(report()) is Verdict.UNKNOWN
    assert verdict_of(msgspec.structs.replace(report(Outcome.KILLED), stale=("an entry",))) is Verdict.FAIL


def test_a_survivor_is_shown_with_its_diff_and_what_was_tried() -> None:
    found = report(Outcome.SURVIVED, Outcome.KILLED)
    page = as_markdown(found)
    first = found.mutants[0]
    assert f"### {first.name}\n\n```diff\n{first.diff}\n```" in page
    assert "3 runs execute it. smoke: survived in 1 runs; comparison: survived in 7 runs (because\\|so)" in page
    assert "| all | 1 | 0 | 0 | 1 | 0 | 50%, 9% to 91% | 1/" in page
    assert "| comparison | 2 | 1 | 0 | 0 |" in page
    assert any("none of 3 runs" in sentence for sentence in sentences(found))
    assert msgspec.json.decode(msgspec.json.encode(found), type=Hunt) == found


def test_a_survey_of_other_sources_or_options_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        read_survey(tmp_path, Request())
    file = tmp_path / SURVEY_FILE
    file.write_text("{")
    with pytest.raises(RecordError, match="damaged"):
        read_survey(tmp_path, Request())
    file.write_bytes(msgspec.json.encode(SURVEY))
    with pytest.raises(UsageError, match="sources have changed"):
        read_survey(tmp_path, Request())
    now = msgspec.structs.replace(SURVEY, sources=digest(read_sources()))
    file.write_bytes(msgspec.json.encode(now))
    assert read_survey(tmp_path, Request()) == now
    with pytest.raises(UsageError, match="profile quick and the seed 1"):
        read_survey(tmp_path, Request(seed=2))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--generated", "0"], "--generated 0: a whole number from 1 to 10000"),
        (
            ["--generated", "3", "--package", "harness"],
            "--package 'harness': one of pool_v2, bridge, pool_v1, migration",
        ),
        (["--generated", "3", "--mutant", "lifo_queue"], "are not for --generated"),
        (["--package", "bridge"], "are for --generated"),
    ],
)
def test_a_wrong_option_is_one_line(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["selfcheck", *words]) == 2
    errors = capsys.readouterr().err
    assert told in errors
    assert errors.count("\n") == 1
