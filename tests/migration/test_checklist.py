"""The checklist: each line has its evidence, and what was not run is not passed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from poolproof.harness.compare.comparison import (
    Comparison,
    Difference,
    Machine,
    Metrics,
    RunResult,
    ScenarioComparison,
    Speed,
)
from poolproof.harness.model.checker import Finding
from poolproof.harness.model.verdict import Decision, Verdict
from poolproof.harness.readiness.checklist import Checklist, Documents, Item, Preparation, Soak, build_items
from poolproof.harness.readiness.documents import examine_documents
from poolproof.harness.readiness.preparation import examine_plan
from poolproof.harness.readiness.renderer import render_checklist
from poolproof.harness.readiness.soak import soak
from poolproof.migration.plan import Guardrails, Plan, field_names

SAMPLES = tuple((n / 10, 50e6) for n in range(50))


def _result(pool: str, verdict: Verdict, checker: str) -> RunResult:
    overlap = {"v1": 1, "v2": 4}[pool]
    return RunResult(
        scenario="s",
        pool=pool,
        seed=1,
        verdict=verdict,
        findings=(Finding(checker=checker, verdict=verdict, claim="a claim"),),
        metrics=Metrics(overlap_max=overlap),
    )


def _row(
    name: str = "bursts", verdict: Verdict = Verdict.PASS, checker: str = "overlap", **fields: Any
) -> ScenarioComparison:
    usual: dict[str, Any] = {
        "name": name,
        "summary": "",
        "failures": (),
        "guarantees": ("G17",),
        "baseline": _result("v1", Verdict.PASS, checker),
        "candidate": _result("v2", verdict, checker),
        "answers_compared": 10,
    }
    return ScenarioComparison(**{**usual, **fields})


def _comparison(*rows: ScenarioComparison, low: float = 1.5, high: float = 2.5) -> Comparison:
    speed = Speed(scenario="s", metric="throughput", baseline=1, candidate=2, ratio=2, low=low, high=high, blocks=6)
    return Comparison(
        decision=Decision.SAFE,
        reasons=(),
        baseline="v1",
        candidate="v2",
        seed=1,
        workers=2,
        clients=2,
        profile="quick",
        scenarios=rows,
        speeds=(speed,),
        machine=Machine(system="", python="", cpus=2, load_before=0, load_after=0),
        created_at="",
        duration_s=1,
        tool_version="",
    )


def _soak(pool: str, **fields: Any) -> Soak:
    usual: dict[str, Any] = {
        "pool": pool,
        "seconds": 5.0,
        "outcomes": {"result": 1000},
        "looks": 50,
        "samples": SAMPLES,
    }
    return Soak(**{**usual, **fields})


SOAKS = (_soak("v1"), _soak("v2"))
DOCUMENTS = Documents(pages=3, looked_for=30)


READY = Preparation(facts=("state: s.json",))


def _words(items: tuple[Item, ...]) -> dict[str, str]:
    return {item.name: item.word for item in items}


def test_all_lines_pass_with_all_evidence() -> None:
    items = build_items(_comparison(_row()), SOAKS, DOCUMENTS, plan=READY)
    assert set(_words(items).values()) == {"pass"}
    assert len(items) == 12
    assert all(item.evidence for item in items)


def test_nothing_that_was_not_run_passes() -> None:
    items = build_items(None, (), None)
    assert set(_words(items).values()) == {"not run"}
    checklist = Checklist(baseline="v1", candidate="v2", created_at="now", command="c", items=items)
    assert checklist.verdict is Verdict.UNKNOWN
    page = render_checklist(checklist)
    assert "**UNKNOWN**. At least one line was not decided or not run. Such a line does not count as passed." in page
    assert page.count("| not run |") == 12


BAD = Difference(kind="finding", pool="v2", checker="overlap", text="it fails")
ANSWER = Difference(kind="answers", pool="v2", checker="answers", text="1 of 10 answers differ")


@pytest.mark.parametrize(
    ("line", "comparison", "soaks", "word"),
    [
        ("scenarios pass on the candidate", _comparison(_row(differences=(BAD,))), SOAKS, "fail"),
        ("scenarios pass on the candidate", _comparison(_row(verdict=Verdict.UNKNOWN)), SOAKS, "unknown"),
        ("sessions are isolated and survive", _comparison(_row(differences=(BAD,))), SOAKS, "fail"),
        ("sessions are isolated and survive", _comparison(_row(guarantees=())), SOAKS, "not run"),
        ("concurrency is proven", _comparison(_row(verdict=Verdict.FAIL)), SOAKS, "fail"),
        ("concurrency is proven", _comparison(_row(checker="other")), SOAKS, "not run"),
        ("performance is no worse", _comparison(_row(), low=0.5, high=0.9), SOAKS, "fail"),
        ("performance is no worse", _comparison(_row(), low=0.9, high=1.2), SOAKS, "unknown"),
        ("load without errors", _comparison(_row()), (), "unknown"),
        ("load without errors", _comparison(_row()), (SOAKS[0], _soak("v2", wrong=("x",))), "fail"),
        ("errors are handled alike, or as declared", _comparison(_row(differences=(ANSWER,))), SOAKS, "fail"),
        ("errors are handled alike, or as declared", _comparison(_row(answers_compared=0)), SOAKS, "not run"),
        ("errors are handled alike, or as declared", _comparison(_row(undecided=("x",))), SOAKS, "unknown"),
        ("monitoring is stable", _comparison(_row()), (SOAKS[0], _soak("v2", alarms=("x",))), "fail"),
        (
            "error rate",
            _comparison(_row()),
            (SOAKS[0], _soak("v2", outcomes={"result": 990, "CallTimeout": 10})),
            "fail",
        ),
        ("error rate", _comparison(_row()), (SOAKS[0], _soak("v2", outcomes={"result": 10})), "unknown"),
        ("memory does not grow", _comparison(_row()), (SOAKS[0], _soak("v2", samples=SAMPLES[:20])), "unknown"),
        (
            "memory does not grow",
            _comparison(_row()),
            (SOAKS[0], _soak("v2", samples=tuple((s, b + s * 5e6) for s, b in SAMPLES))),
            "fail",
        ),
    ],
)
def test_each_line_fails_or_stays_open_for_its_own_reason(
    line: str, comparison: Comparison, soaks: tuple[Soak, ...], word: str
) -> None:
    assert _words(build_items(comparison, soaks, DOCUMENTS))[line] == word


def test_a_declared_weakness_excuses_the_baseline_and_not_the_candidate_alone() -> None:
    declared = Difference(kind="finding", pool="v1", checker="overlap", text="serial", reason="by design")
    words = _words(build_items(_comparison(_row(differences=(declared,))), SOAKS, DOCUMENTS))
    assert words["scenarios pass on the baseline"] == "pass"
    own = Difference(kind="finding", pool="v2", checker="overlap", text="serial", reason="by design")
    words = _words(build_items(_comparison(_row(differences=(own,))), SOAKS, DOCUMENTS))
    assert words["scenarios pass on the candidate"] == "fail"


def test_the_plan_is_judged_by_what_the_project_has(tmp_path: Path) -> None:
    def found(**options: Any) -> Preparation:
        return examine_plan(Plan(**options))

    ready = found(state_file=str(tmp_path / "s.json"), idempotent=frozenset({"echo"}))
    assert (ready.problems, ready.doubts) == ((), ())
    assert "0 processes follow" in ready.facts
    assert "shadow mode would compare nothing" in found(state_file=str(tmp_path / "s.json")).doubts[0]
    assert "cannot be written" in found(state_file=str(tmp_path / "none" / "s.json")).problems[0]
    assert found().problems == ("no command can change it",)
    (tmp_path / "s.json").write_text("{")
    assert "is damaged" in found(state_file=str(tmp_path / "s.json")).problems[0]
    bad = build_items(None, (), None, plan=Preparation(facts=(), problems=("x",)))
    assert _words(bad)["the plan is ready"] == "fail"


def test_documents_that_do_not_name_what_there_is_are_not_current(tmp_path: Path) -> None:
    assert examine_documents(tmp_path, ["status"]) is None
    guide = tmp_path / "how-to" / "migration-guide.md"
    guide.parent.mkdir()
    named = " ".join(["migrate status", *field_names(Plan), *field_names(Guardrails)])
    guide.write_text(f"{named}\n")
    found = examine_documents(tmp_path, ["status"])
    assert found is not None
    assert found.problems == ()
    guide.write_text(f"{named}\n[x](nowhere.md)\n$ poolproof migrate fly\n".replace("poll_s", ""))
    found = examine_documents(tmp_path, ["status"])
    assert found is not None
    assert found.problems == (
        "migration-guide.md does not name poll_s",
        "migration-guide.md shows `poolproof migrate fly`",
        "migration-guide.md links to nowhere.md",
    )


def test_a_soak_checks_every_answer_and_looks_at_the_pool(fake_pool: Any, fake_subject: Any) -> None:
    assert soak(fake_subject(), workers=1, clients=2, seconds=0.0).calls >= 2, "each client calls at least once"
    found = soak(fake_subject(), workers=1, clients=2, seconds=0.3)
    assert (found.failed, found.wrong, found.alarms) == (0, (), ())
    assert found.looks >= 1
    lying = fake_subject(make=lambda config, observer: fake_pool(observer, answer=lambda command, args: "a lie"))
    assert (
        "'a lie' was returned in place of the call's own answer"
        in soak(lying, workers=1, clients=1, seconds=0.1).wrong[0]
    )
