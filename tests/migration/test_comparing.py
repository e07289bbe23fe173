"""What a copy's answer is compared with, and what a copy of a value costs."""

from __future__ import annotations

from typing import Any

import pytest

from poolproof.bridge import CallTimeout, CircuitOpen, CommandError, Sent
from poolproof.harness.history.history import Op
from poolproof.harness.model.comparing.comparers import ignore, tolerance
from poolproof.harness.model.intended import Comparing
from poolproof.migration.shadowing.comparing import Answer, Compared, TooLarge, compare_answers, copy_value

GOOD = Answer("result", {"value": 1, "pid": 7})
REFUSED = Answer.of_error(CommandError("no such key"))


def _compare(one: Answer, other: Answer, **hooks: Any) -> Compared:
    return compare_answers("get", {"key": "k"}, one, other, Comparing(**hooks))


def test_answers_are_compared_by_type_and_value_without_what_is_volatile() -> None:
    assert _compare(GOOD, Answer("result", {"value": 1, "pid": 8})) == Compared()
    assert _compare(GOOD, Answer("result", {"value": 1.0})).mismatch == "get: {'value': 1} became {'value': 1.0}"
    assert _compare(GOOD, REFUSED).mismatch == "get: the outcome result became CommandError"
    assert _compare(REFUSED, REFUSED) == Compared()
    assert "the error 'no such key' became 'gone'" in _compare(REFUSED, Answer.of_error(CommandError("gone"))).mismatch


def test_comparers_decide_about_copies_too() -> None:
    other = Answer("result", {"value": 2})
    assert _compare(GOOD, other, comparers=(tolerance("$.value", absolute=1),)) == Compared()
    assert _compare(GOOD, other, comparers=(ignore("$.id"),)).mismatch == "get: at $.value: 1 became 2"


@pytest.mark.parametrize("error", [CallTimeout("late", sent=Sent.YES), CircuitOpen("no workers"), ValueError("a bug")])
def test_an_error_of_the_pool_itself_is_no_mismatch(error: Exception) -> None:
    assert _compare(GOOD, Answer.of_error(error)) == Compared()


def test_hooks_see_whole_operations() -> None:
    def ignore(one: Op, other: Op) -> bool:
        return one.command == "get" and one.args == {"key": "k"} and other.outcome == "CallTimeout"

    assert _compare(GOOD, Answer.of_error(CallTimeout("late", sent=Sent.YES)), ignore=ignore).ignored
    assert _compare(GOOD, REFUSED, compare=lambda one, other: True) == Compared()
    assert _compare(GOOD, Answer("result", {"value": 2}), clean=lambda op: "same") == Compared()
    assert ("a comparing hook raised an error: ZeroDivisionError") in _compare(
        GOOD, GOOD, clean=lambda op: 1 / 0
    ).mismatch


def test_a_copy_is_reached_by_no_later_change_and_has_a_bounded_cost() -> None:
    value: dict[str, Any] = {"a": [1, {"b": 2}], "text": "x" * 10**6}
    copied = copy_value(value)
    value["a"][1]["b"] = 3
    assert copied["a"] == [1, {"b": 2}]
    assert copied["text"] is value["text"]
    for large in (list(range(1000)), {str(n): n for n in range(300)}, [[0] * 20] * 20):
        with pytest.raises(TooLarge):
            copy_value(large)
