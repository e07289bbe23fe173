"""The check of the checkers: a loosened checker is asked again about a recorded run, and its tests are run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from poolproof.harness.checkers import CORE, Deadlines, FaultLanded, LabelledOutcome, OneOutcome, Seen
from poolproof.harness.cli.app import main
from poolproof.harness.history.history import RunInfo
from poolproof.harness.model.fault import Fault, FaultKind
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.model.workload import Step
from poolproof.harness.mutation.generated.equivalents import Equivalent, find_stale
from poolproof.harness.mutation.generated.tree import package_folder
from poolproof.harness.mutation.loosened.check import check_checkers, check_pairs, find_tests, read_checkers
from poolproof.harness.mutation.loosened.command import verdict_of
from poolproof.harness.mutation.loosened.findings import CheckerFindings, Loosening, Pair, as_markdown, sentences
from poolproof.harness.mutation.loosened.kills import Kill, find_kills, find_lost
from poolproof.harness.mutation.loosened.loosenings import find_loosenings
from poolproof.harness.mutation.loosened.pairs import broken_rules, without
from poolproof.harness.mutation.loosened.reasons import HARMLESS
from poolproof.harness.mutation.matrix import Cell, Judgement, build_matrix
from poolproof.harness.mutation.registry import all_stages, find_mutants
from poolproof.harness.run.recording.recorder import Recorder
from poolproof.harness.run.recording.worker_tracker import WorkerTracker
from poolproof.harness.run.store import RunFolder

CLOSING = "harness/checkers/pools/closing.py"
FILE = "harness/checkers/calls/deadlines.py"
TEST = """
from poolproof.harness.checkers import Deadlines

def test_the_slack_is_what_was_given():
    assert Deadlines(slack_s=1.0).slack_s == 1.0

def test_the_module_is_as_shipped():
    from poolproof.harness.checkers.calls import deadlines
    assert deadlines.EARLY_S == 0.02
"""


class Silent:
    def planned(self, total: int) -> None: ...

    def began(self, what: str) -> None: ...

    def ended(self, what: str, outcome: str) -> None: ...


@pytest.fixture
def slow_close(build: Any, tmp_path: Path) -> Path:
    """The folder of a run whose close took some time."""
    info: RunInfo = build.info(scenario="slow_close", observed=False)
    folder = RunFolder.create(tmp_path / "runs", info)
    recorder = Recorder(folder.history, WorkerTracker())
    for mark in ("begun", "close_began", "close_ended", "finished"):
        recorder.mark(mark)
    recorder.close()
    return folder.path


def kill(folder: Path, checker: str = "close_bounded", *, aimed: bool = True) -> Kill:
    return Kill(
        mutant="v2.late",
        stage="slow_close",
        checker=checker,
        folder=str(folder),
        aimed=aimed,
        module="poolproof.harness.checkers.pools.closing",
        kind="CloseBounded",
        fields={"within_s": 0.0},
    )


def test_a_mutant_is_lost_when_nobody_who_decides_what_it_breaks_accuses_it() -> None:
    here = Path("here")
    one, other = kill(here), kill(here, checker="prompt:late")
    beside = kill(here, checker="one_outcome", aimed=False)
    assert find_lost([one, other, beside], [one]) == ()
    assert find_lost([one, other, beside], [one, other]) == ("v2.late",)
    assert find_lost([beside], [one]) == ()
    assert find_lost([beside], [beside]) == ("v2.late",)


def test_accusations_are_read_from_a_matrix_and_its_folders(slow_close: Path) -> None:
    mutant = find_mutants([])[0]
    stage = mutant.scenarios[0]
    scenario = all_stages()[stage]
    assert isinstance(scenario, Scenario)
    checker: Any = scenario.checkers[0]
    told = Judgement(checker=checker.name, verdict=Verdict.FAIL, claim="", guarantees=mutant.breaks)
    fine = msgspec.structs.replace(told, verdict=Verdict.PASS)
    good = Cell(pool=mutant.pool, scenario=stage, seed=1, judgements=(fine,))
    folder = str(Path("/elsewhere") / slow_close.name)
    bad = msgspec.structs.replace(good, mutant=mutant.name, judgements=(told,), folder=folder)
    matrix = build_matrix([mutant], [good, bad], profile="quick", seeds=[1], whole=False)
    (found,) = find_kills(matrix, slow_close.parent)
    assert (found.mutant, found.stage, found.aimed) == (mutant.key, stage, True)
    assert (found.again, found.folder) == (True, str(slow_close))
    assert type(checker)(**found.fields) == checker
    (gone,) = find_kills(matrix, slow_close)
    assert not gone.again


def test_only_what_a_test_or_a_recorded_run_shows_is_noticed(tmp_path: Path) -> None:
    tests = tmp_path / "checkers"
    tests.mkdir()
    (tests / "test_deadlines.py").write_text(TEST)
    text = (package_folder() / FILE).read_text()
    found = check_checkers({FILE: text}, [], tests, jobs=1, progress=Silent())
    noticed = {one.change: one.failed for one in found.loosenings if one.noticed}
    changes = ("0.02 -> ((0.02) * 10)", "0.02 -> ((0.02) / 10)")
    assert noticed == dict.fromkeys(changes, "test_deadlines.py::test_the_module_is_as_shipped")
    assert len(found.unnoticed) == len(found.loosenings) - 2
    assert verdict_of(found) is Verdict.FAIL


def test_a_recorded_run_is_asked_again(slow_close: Path) -> None:
    text = (package_folder() / CLOSING).read_text()
    found = check_checkers({CLOSING: text}, [kill(slow_close)], None, jobs=1, progress=Silent())
    silencing = {one.change for one in found.loosenings if one.lost == ("v2.late",)}
    limit = "took_s > self.within_s"
    assert f"{limit} -> (({limit}) & False)" in silencing
    assert f"{limit} -> (({limit}) | True)" not in silencing
    assert "self.within_s -> ((self.within_s) * 10)" not in silencing  # ten times nothing
    assert not any("Conserved" in one.statement for one in found.loosenings if one.lost)
    assert (found.asked_again, found.tested) == (1, False)


def test_a_loosening_that_is_argued_to_be_harmless_is_no_finding() -> None:
    told = Loosening(operator="a", file="b", line=1, statement="c", change="d")
    argued = msgspec.structs.replace(told, reason="it changes nothing")
    noticed = msgspec.structs.replace(told, failed="a test")
    lost = msgspec.structs.replace(told, lost=("v2.late",))
    found = CheckerFindings(
        loosenings=(told, argued, noticed, lost),
        pairs=(Pair(scenario="e", checker="f"), Pair(scenario="e", checker="g", rules=("a rule",))),
        mutants=3,
        asked_again=2,
        tested=True,
    )
    assert found.unnoticed == (told,)
    assert [pair.checker for pair in found.unneeded] == ["f"]
    page = as_markdown(found)
    assert "| b:1 a | c | d |" in page
    assert "| b:1 a | d | it changes nothing |" in page
    assert "| b:1 a | d | v2.late |" in page
    assert "| e | f | **nothing** |" in page
    assert sentences(found)[0].startswith("loosened checkers: 2 of 4 are noticed; a test fails with 1")
    assert verdict_of(msgspec.structs.replace(found, loosenings=(argued, noticed))) is Verdict.PASS
    assert verdict_of(msgspec.structs.replace(found, loosenings=(noticed,), tested=False)) is Verdict.UNKNOWN
    assert verdict_of(msgspec.structs.replace(found, loosenings=(noticed,), stale=("x",))) is Verdict.FAIL


def test_every_reason_fits_a_place_and_says_why() -> None:
    places = find_loosenings(read_checkers(package_folder()))
    assert find_stale(places, HARMLESS) == ()
    assert all(isinstance(entry, Equivalent) and len(entry.reason.split()) >= 6 for entry in HARMLESS)
    assert len({entry.key for entry in HARMLESS}) == len(HARMLESS)


def test_a_scenario_needs_its_checkers_by_rules() -> None:
    steps = ((Step(command="echo", label="victim"), Step(command="echo", label="other")),)
    scenario = Scenario(
        name="literal",
        summary="",
        workload=lambda _, __: steps,
        guarantees=("G3", "G11"),
        faults=(Fault(kind=FaultKind.KILL, when="victim:sent"), Fault(kind=FaultKind.FORK)),
        checkers=(
            OneOutcome(),
            Deadlines(slack_s=1.0),
            FaultLanded(kinds=(FaultKind.KILL, FaultKind.FORK)),
            Seen(kind=FaultKind.FORK, allowed=frozenset({"ForkError"})),
            LabelledOutcome(label="victim", outcomes=frozenset({"WorkerCrashed"})),
            LabelledOutcome(label="other", outcomes=frozenset({"result"})),
            *CORE,
        ),
    )
    assert broken_rules(scenario, steps) == ()
    told = {checker.name: broken_rules(without(scenario, checker), steps) for checker in scenario.checkers}
    assert told["one_outcome"] == ("nobody says which outcomes are allowed",)
    assert told["deadlines"] == ("no checker decides G11",)
    assert told["fault_landed"] == (
        "nobody checks that the fault fork lands",
        "nobody checks that the fault kill lands",
    )
    assert told["seen:fork"] == ("nobody judges what the victim of the fault fork saw",)
    assert told["outcome:victim"] == ("nobody judges the calls victim, which a fault hits",)
    assert told["outcome:other"] == ("nobody judges or waits for a call other",)
    assert told["own_answer"] == ("the checker own_answer of every scenario is missing",)


def test_the_reference_model_is_loosened_too() -> None:
    files = read_checkers(package_folder())
    assert {"harness/oracle/options.py", "harness/oracle/status.py", "harness/model/timing/budget.py"} <= files.keys()
    assert find_tests("harness/oracle/status.py", Path(__file__).parents[2] / "checkers", files, ())[0].endswith(
        "oracle/test_status.py"
    )


def test_each_pair_of_the_catalogue_is_left_out_once() -> None:
    pairs = check_pairs([])
    assert len({(pair.scenario, pair.checker) for pair in pairs}) == len(pairs) > 400
    assert all(pair.noticed for pair in pairs if pair.checker in {checker.name for checker in CORE})


def test_a_checkers_own_tests_are_run_first_and_then_those_that_name_what_it_affects(tmp_path: Path) -> None:
    tests = tmp_path / "checkers"
    tests.mkdir()
    for name, text in (("own", "Own"), ("a_user", "import User"), ("all", "for checker in ALL"), ("other", "Other")):
        (tests / f"test_{name}.py").write_text(text)
    budget = tmp_path / "bench"
    budget.mkdir()
    (budget / "test_budget.py").touch()
    files = {
        "harness/checkers/own.py": "class Own: ...\n",
        "harness/checkers/user.py": "class User: ...\n",
        "harness/checkers/other.py": "class Other: ...\n",
    }
    affected = {"poolproof.harness.checkers.own", "poolproof.harness.checkers.user"}
    found = find_tests("harness/checkers/own.py", tests, files, affected)
    assert [Path(path).name for path in found] == ["test_own.py", "test_a_user.py", "test_all.py"]
    assert find_tests("harness/model/timing/budget.py", tests, files, ()) == (str(budget / "test_budget.py"),)
    assert find_tests("harness/model/timing/budget.py", None, files, ()) == ()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--recorded", "gone"], "are for --checkers"),
        (["--checkers", "--recorded", "gone"], "cannot read"),
        (["--checkers", "--recorded", "gone", "--tests", "gone"], "--tests gone: there is no such folder"),
        (["--checkers", "--generated", "3"], "makes none"),
    ],
)
def test_a_wrong_option_is_one_line(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["selfcheck", "--out", str(tmp_path), *words]) != 0
    errors = capsys.readouterr().err
    assert told in errors
    assert errors.count("\n") == 1
