"""Running a checker: one that breaks is unknown, never a pass."""

from __future__ import annotations

from typing import Any

import pytest

from poolproof.harness.checkers import OneOutcome
from poolproof.harness.history.history import History
from poolproof.harness.model.checker import MAX_EXAMPLES, Finding, finding, run_checker
from poolproof.harness.model.verdict import Verdict


class Breaking:
    """A checker with a bug."""

    name = "breaking"
    guarantees = ("G1",)

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def check(self, history: History) -> Finding:
        raise self._error


@pytest.mark.parametrize("error", [KeyError("x"), ZeroDivisionError("by zero"), AssertionError("no")])
def test_a_checker_that_breaks_is_unknown_with_the_reason(build: Any, error: Exception) -> None:
    found = run_checker(Breaking(error), build.history())
    assert found.verdict is Verdict.UNKNOWN
    assert found.claim == f"the checker itself failed with an error: {type(error).__name__}: {error}"
    assert found.checker == "breaking"


def test_an_interrupt_is_not_taken_for_a_broken_checker(build: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_checker(Breaking(KeyboardInterrupt()), build.history())


def test_a_checker_that_works_gives_its_own_finding(build: Any) -> None:
    history = build.history(build.op(0))
    assert run_checker(OneOutcome(), history) == OneOutcome().check(history)


def test_a_finding_keeps_its_first_few_examples() -> None:
    found = finding(OneOutcome(), Verdict.FAIL, "many", examples=[str(n) for n in range(20)])
    assert found.examples == tuple(str(n) for n in range(MAX_EXAMPLES))
    assert finding(OneOutcome(), Verdict.PASS, "none").examples == ()
