"""OneOutcome and LabelledOutcome: every call ends once, in a way that was promised."""

from __future__ import annotations

from typing import Any

import pytest

from poolproof.harness.checkers import LabelledOutcome, OneOutcome
from poolproof.harness.model.verdict import Verdict

BOTH = frozenset({"result", "WorkerCrashed"})


def test_one_allowed_outcome_a_call_passes(build: Any) -> None:
    ops = (build.op(0), build.op(1, outcome="WorkerCrashed"))
    found = OneOutcome(allowed=BOTH, at_least={"result": 1}, at_most={"WorkerCrashed": 1}).check(build.history(*ops))
    assert found.verdict is Verdict.PASS
    assert found.figures == {"calls": 2, "result": 1, "WorkerCrashed": 1}


@pytest.mark.parametrize(
    "fields",
    [
        {"outcome": "WorkerCrashed"},
        {"outcome": "foreign ValueError"},
        {"end": None},
        {"completions": 2},
        {"completions": 0},
    ],
    ids=str,
)
def test_a_call_without_exactly_one_allowed_outcome_fails(build: Any, fields: dict[str, Any]) -> None:
    found = OneOutcome().check(build.history(build.op(0), build.op(1, **fields)))
    assert found.verdict is Verdict.FAIL
    assert "call 1" in found.examples[0]


def test_an_outcome_that_no_pool_promises_fails_even_if_it_is_allowed(build: Any) -> None:
    checker = OneOutcome(allowed=frozenset({"result", "foreign KeyError"}))
    assert checker.check(build.history(build.op(0, outcome="foreign KeyError"))).verdict is Verdict.FAIL


def test_too_few_or_too_many_of_an_outcome_fail(build: Any) -> None:
    history = build.history(build.op(0), build.op(1, outcome="WorkerCrashed"))
    few = OneOutcome(allowed=BOTH, at_least={"result": 2}).check(history)
    many = OneOutcome(allowed=BOTH, at_most={"WorkerCrashed": 0}).check(history)
    assert few.verdict is many.verdict is Verdict.FAIL
    assert few.examples == ("1 calls ended as result; at least 2 calls must end so",)
    assert many.examples == ("1 calls ended as WorkerCrashed; at most 0 calls may end so",)


def test_examples_are_few_however_many_calls_failed(build: Any) -> None:
    found = OneOutcome().check(build.history(*(build.op(n, outcome="QueueFull") for n in range(50))))
    assert len(found.examples) == 5
    assert found.claim.startswith("50 violations")


def test_calls_that_were_under_way_when_the_run_was_cut_off_are_nobodys_fault(build: Any) -> None:
    ops = (build.op(0), build.op(1, end=None, label="victim"))
    cut_off, whole = build.history(*ops, finished=False), build.history(*ops)
    outcome = OneOutcome(at_least={"result": 2})
    labelled = LabelledOutcome(label="victim", outcomes=BOTH)
    assert [checker.check(cut_off).verdict for checker in (outcome, labelled)] == [Verdict.PASS, Verdict.UNKNOWN]
    assert [checker.check(whole).verdict for checker in (outcome, labelled)] == [Verdict.FAIL, Verdict.FAIL]


def test_a_forbidden_outcome_fails_in_a_run_that_was_cut_off_too(build: Any) -> None:
    history = build.history(build.op(0, outcome="WorkerCrashed"), build.op(1, end=None), finished=False)
    assert OneOutcome().check(history).verdict is Verdict.FAIL


def test_labelled_calls_that_end_as_meant_pass(build: Any) -> None:
    ops = (build.op(0, outcome="WorkerCrashed", label="victim"), build.op(1, label="other"))
    found = LabelledOutcome(label="victim", outcomes=frozenset({"WorkerCrashed"})).check(build.history(*ops))
    assert found.verdict is Verdict.PASS
    assert found.checker == "outcome:victim"


def test_a_labelled_call_that_ends_otherwise_fails(build: Any) -> None:
    ops = (build.op(0, label="victim"), build.op(1, outcome="WorkerCrashed", label="victim"))
    found = LabelledOutcome(label="victim", outcomes=frozenset({"WorkerCrashed"})).check(build.history(*ops))
    assert found.verdict is Verdict.FAIL
    assert "call 0 ended as result" in found.examples[0]


def test_a_label_that_no_call_has_is_unknown(build: Any) -> None:
    found = LabelledOutcome(label="victim", outcomes=BOTH).check(build.history(build.op(0)))
    assert found.verdict is Verdict.UNKNOWN


def test_a_checker_demands_what_it_cannot_pass_without() -> None:
    assert LabelledOutcome(label="a", outcomes=BOTH).demands == (BOTH,)
    assert OneOutcome(allowed=BOTH, at_most={"result": 1}).demands == (BOTH,)
    assert OneOutcome(allowed=BOTH, at_least={"result": 1, "WorkerCrashed": 0}).demands == (BOTH, frozenset({"result"}))
