"""The ledger keeps what any process has written, and reconciling finds every disagreement."""

from __future__ import annotations

from pathlib import Path

import msgspec

from poolproof.harness.compare.comparison import RunResult
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.pytest_plugin.ledger import Ledger, Planned, reconcile

ONE = Planned(node="f.py::one[v2]", scenario="one", pool="v2", file="f.py")
TWO = Planned(node="f.py::two[v2]", scenario="two", pool="v2", file="f.py")
RESULT = RunResult(scenario="one", pool="v2", seed=1, verdict=Verdict.PASS)


def test_what_several_processes_wrote_is_read_as_one(tmp_path: Path) -> None:
    first, second = Ledger(tmp_path, "gw0"), Ledger(tmp_path, "gw1")
    first.plan([ONE, TWO])
    second.plan([ONE, TWO])
    second.receive(ONE.node, RESULT)
    assert Ledger(tmp_path, "main").planned() == {ONE.node: ONE, TWO.node: TWO}
    assert Ledger(tmp_path, "main").received() == {ONE.node: RESULT}


def test_a_line_that_was_torn_by_a_kill_costs_itself_alone(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "gw0")
    ledger.receive(ONE.node, RESULT)
    ledger.receive(TWO.node, RESULT)
    [path] = (tmp_path / "ledger").iterdir()
    path.write_bytes(path.read_bytes()[:-9])
    assert ledger.received() == {ONE.node: RESULT}


def test_a_failure_stays_one_when_the_item_is_repeated(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "gw0")
    results = {each: msgspec.structs.replace(RESULT, verdict=each) for each in Verdict}
    for verdict in (Verdict.UNKNOWN, Verdict.PASS):
        ledger.receive(ONE.node, results[verdict])
        assert ledger.received() == {ONE.node: results[verdict]}
    for verdict in (Verdict.FAIL, Verdict.PASS):
        ledger.receive(ONE.node, results[verdict])
        assert ledger.received() == {ONE.node: results[Verdict.FAIL]}


def test_an_empty_ledger_makes_no_folder(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "none", "main")
    ledger.plan([])
    assert ledger.planned() == ledger.received() == {}
    assert not (tmp_path / "none").exists()


def test_plan_results_and_outcomes_that_agree_are_no_problem() -> None:
    planned = {ONE.node: ONE, TWO.node: TWO}
    outcomes = {ONE.node: frozenset({"passed"}), TWO.node: frozenset({"passed", "skipped"})}
    assert reconcile(planned, {ONE.node: RESULT}, outcomes) == []


def test_a_crashed_item_is_reported_as_failed_and_so_not_missing() -> None:
    assert reconcile({ONE.node: ONE}, {}, {ONE.node: frozenset({"failed"})}) == []


def test_every_disagreement_is_told() -> None:
    planned = {ONE.node: ONE, TWO.node: TWO}
    assert reconcile(planned, {ONE.node: RESULT}, {TWO.node: frozenset({"passed"})}) == [
        "f.py::one[v2] was planned, but pytest received no outcome of it; its result is on disk",
        "f.py::two[v2] is reported as passed, but has no result on disk",
    ]
    assert reconcile({}, {ONE.node: RESULT}, {}) == ["f.py::one[v2] has a result, but was never planned"]
