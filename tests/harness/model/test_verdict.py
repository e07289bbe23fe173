"""The order of verdicts: no data is unknown, and unknown is never a pass."""

from __future__ import annotations

import itertools

import pytest

from poolproof.harness.model.verdict import Decision, Verdict, worst

PASS, UNKNOWN, FAIL = Verdict.PASS, Verdict.UNKNOWN, Verdict.FAIL


def test_fail_is_worse_than_unknown_and_unknown_worse_than_pass() -> None:
    assert PASS.rank < UNKNOWN.rank < FAIL.rank


@pytest.mark.parametrize("verdicts", list(itertools.permutations([PASS, UNKNOWN, FAIL])))
def test_the_worst_does_not_depend_on_the_order(verdicts: tuple[Verdict, ...]) -> None:
    assert worst(verdicts) is FAIL
    assert worst(verdict for verdict in verdicts if verdict is not FAIL) is UNKNOWN


def test_only_passes_pass() -> None:
    assert worst([PASS, PASS]) is PASS
    assert worst([PASS, UNKNOWN, PASS]) is UNKNOWN


def test_no_verdict_at_all_is_unknown() -> None:
    assert worst([]) is UNKNOWN


def test_a_decision_is_one_of_three_words() -> None:
    assert [decision.value for decision in Decision] == ["SAFE", "INCONCLUSIVE", "UNSAFE"]
