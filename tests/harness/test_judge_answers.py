"""Answers set side by side, op by op: types matter, times and pids do not."""

from __future__ import annotations

from typing import Any

import pytest

from harness.judge import compare_answers


def compared(build: Any, one: Any, other: Any) -> Any:
    return compare_answers(build.history(one), build.history(other))


@pytest.mark.parametrize("value", [None, 0, "", [], {}, {"result": 1}, 1.5, True])
def test_the_same_answers_do_not_differ(build: Any, value: Any) -> None:
    found = compared(build, build.op(0, value=value), build.op(0, 50, 70, value=value, worker=3))
    assert (found.compared, found.differences) == (1, ())


@pytest.mark.parametrize(
    ("one", "other"), [(1, 1.0), (1, True), (0, False), (None, {}), ([1, 2], [2, 1]), ({"result": 1}, 1), ("1", 1)]
)
def test_answers_of_another_value_or_type_differ(build: Any, one: Any, other: Any) -> None:
    for command in ("echo", "get"):
        pair = (build.op(0, command=command, value=value) for value in (one, other))
        found = compared(build, *pair)
        assert found.compared == 1
        assert found.differences == (f"operation 0 ({command}): {one!r} became {other!r}",)


def test_times_and_pids_are_not_compared_but_what_is_echoed_is(build: Any) -> None:
    one, other = {"pid": 1, "status": "ok"}, {"pid": 2, "status": "ok"}
    assert not compared(
        build, build.op(0, command="ping", value=one), build.op(0, command="ping", value=other)
    ).differences
    assert compared(build, build.op(0, value=one), build.op(0, value=other)).differences


def test_another_outcome_is_a_difference(build: Any) -> None:
    found = compared(build, build.op(0), build.op(0, outcome="CallTimeout", value=None))
    assert found.differences == ("operation 0 (echo): result became CallTimeout",)


def test_the_text_of_a_command_error_is_an_answer(build: Any) -> None:
    one = build.op(0, outcome="CommandError", error="no such key")
    other = build.op(0, outcome="CommandError", error="KeyError")
    assert not compared(build, one, one).differences
    assert "'no such key' became 'KeyError'" in compared(build, one, other).differences[0]


def test_the_text_of_another_error_is_no_answer(build: Any) -> None:
    pair = (build.op(0, outcome="CallTimeout", value=None, error=text) for text in ("worker 1", "worker 2"))
    assert not compared(build, *pair).differences


def test_an_operation_that_only_one_pool_made_is_a_difference_on_either_side(build: Any) -> None:
    both, one = build.history(build.op(0), build.op(1)), build.history(build.op(0))
    for pair in ((both, one), (one, both)):
        found = compare_answers(*pair)
        assert found.compared == 1
        assert found.differences == ("operation 1 (echo) was not made on both pools",)


def test_an_operation_of_another_command_is_not_compared(build: Any) -> None:
    found = compared(build, build.op(0), build.op(0, command="ping"))
    assert (found.compared, len(found.differences)) == (0, 1)


def test_a_long_answer_is_told_short(build: Any) -> None:
    found = compared(build, build.op(0, value="a" * 1000), build.op(0, value="b" * 1000))
    assert len(found.differences[0]) < 200
