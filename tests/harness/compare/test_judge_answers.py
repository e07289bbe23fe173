"""Answers set side by side, op by op: types matter, times and pids do not."""

from __future__ import annotations

from typing import Any

import pytest

from poolproof.harness.compare.differential import compare_answers
from poolproof.harness.model.intended import Comparing, DifferenceKind
from poolproof.harness.oracle.capacity import FULL_LABEL
from poolproof.harness.oracle.limits import LIMITED_LABEL
from poolproof.harness.oracle.status import CROWD_LABEL
from poolproof.harness.oracle.turns import TURN_LABEL
from poolproof.harness.run.pool.limited import HOLDING


def compared(build: Any, one: Any, other: Any) -> Any:
    return compare_answers(build.history(one), build.history(other))


def texts(found: Any) -> tuple[str, ...]:
    return tuple(difference.text for difference in found.differences)


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
        assert texts(found) == (f"operation 0 ({command}): {one!r} became {other!r}",)


def test_times_and_pids_are_not_compared_but_what_is_echoed_is(build: Any) -> None:
    one, other = {"pid": 1, "status": "ok"}, {"pid": 2, "status": "ok"}
    assert not compared(
        build, build.op(0, command="ping", value=one), build.op(0, command="ping", value=other)
    ).differences
    assert compared(build, build.op(0, value=one), build.op(0, value=other)).differences


def test_another_outcome_is_a_difference(build: Any) -> None:
    found = compared(build, build.op(0), build.op(0, outcome="CallTimeout", value=None))
    assert texts(found) == ("operation 0 (echo): the outcome result became CallTimeout",)


def test_the_text_of_a_command_error_is_an_answer(build: Any) -> None:
    one = build.op(0, outcome="CommandError", error="no such key")
    other = build.op(0, outcome="CommandError", error="KeyError")
    assert not compared(build, one, one).differences
    assert "'no such key' became 'KeyError'" in texts(compared(build, one, other))[0]


def test_the_text_of_another_error_is_no_answer(build: Any) -> None:
    pair = (build.op(0, outcome="CallTimeout", value=None, error=text) for text in ("worker 1", "worker 2"))
    assert not compared(build, *pair).differences


def test_an_operation_that_only_one_pool_made_is_a_difference_on_either_side(build: Any) -> None:
    both, one = build.history(build.op(0), build.op(1)), build.history(build.op(0))
    for pair in ((both, one), (one, both)):
        found = compare_answers(*pair)
        assert found.compared == 1
        assert texts(found) == ("operation 1 (echo) was made on one of the two pools only",)


def test_an_operation_of_another_command_is_not_compared(build: Any) -> None:
    found = compared(build, build.op(0), build.op(0, command="ping"))
    assert (found.compared, len(found.differences)) == (0, 1)


def test_a_long_answer_is_told_short(build: Any) -> None:
    found = compared(build, build.op(0, value="a" * 1000), build.op(0, value="b" * 1000))
    assert len(texts(found)[0]) < 200


def test_each_difference_names_its_kind_and_its_label(build: Any) -> None:
    pairs = {
        DifferenceKind.VALUE: (build.op(0, label="a", value=1), build.op(0, label="a", value=2)),
        DifferenceKind.ERROR_CLASS: (
            build.op(0, label="a"),
            build.op(0, label="a", outcome="CommandError", value=None),
        ),
        DifferenceKind.ERROR_TEXT: tuple(
            build.op(0, label="a", outcome="CommandError", value=None, error=text) for text in ("x", "y")
        ),
        DifferenceKind.INDETERMINATE: (build.op(0, label="a"), build.op(0, end=None, label="a", value=None)),
    }
    for kind, (one, other) in pairs.items():
        for before, after in ((one, other), (other, one)):
            (found,) = compared(build, before, after).differences
            assert (found.kind, found.label, found.index) == (kind, "a", 0)
    found = compare_answers(build.history(build.op(0, label="a")), build.history()).differences[0]
    assert (found.kind, found.label) == (DifferenceKind.MISSING, "a")


def test_two_calls_of_which_nobody_knows_are_no_difference(build: Any) -> None:
    one = build.op(0, outcome="CallTimeout", value=None)
    assert compared(build, one, one).differences == ()


def test_hooks_see_whole_operations_and_their_errors(build: Any) -> None:
    crashed, failed = (build.op(0, outcome=o, value=None, error=o) for o in ("WorkerCrashed", "CommandError"))
    both = (build.history(crashed), build.history(failed))
    assert compare_answers(*both).differences

    same = Comparing(compare=lambda one, other: {one.outcome, other.error} == {"WorkerCrashed", "CommandError"})
    found = compare_answers(*both, same)
    assert (found.compared, found.differences, found.ignored) == (1, (), 0)

    found = compare_answers(*both, Comparing(ignore=lambda one, other: "Crashed" in one.error))
    assert (found.compared, found.differences, found.ignored) == (0, (), 1)


def test_a_hook_cleans_values_and_errors_alike(build: Any) -> None:
    comparing = Comparing(clean=lambda op: str(op.value or op.error).lower())
    for pair in (
        [build.op(0, value=text) for text in ("Same", "same")],
        [build.op(0, outcome="CommandError", value=None, error=text) for text in ("Same", "same")],
    ):
        old, new = (build.history(op) for op in pair)
        assert compare_answers(old, new).differences
        assert not compare_answers(old, new, comparing).differences
    old, new = (build.history(build.op(0, value=text)) for text in ("Same", "other"))
    assert compare_answers(old, new, comparing).differences[0].text.endswith("'same' became 'other'")


def test_a_compare_hook_that_says_no_is_a_difference_though_the_values_are_equal(build: Any) -> None:
    history = build.history(build.op(0, value=1))
    (found,) = compare_answers(history, history, Comparing(compare=lambda one, other: False)).differences
    assert found.kind is DifferenceKind.VALUE


def test_a_hook_that_breaks_leaves_its_pair_undecided_and_no_other(build: Any) -> None:
    history = build.history(build.op(0, value="7"), build.op(1, value=None))
    found = compare_answers(history, history, Comparing(clean=lambda op: {"7": 7}[op.value]))
    assert (found.compared, found.differences) == (1, ())
    assert found.undecided == ("operation 1 (echo): a comparing hook of the scenario raised an error: KeyError: None",)


@pytest.mark.parametrize(
    "label", [f"{FULL_LABEL}2", f"{CROWD_LABEL}0", f"{LIMITED_LABEL}1", f"{LIMITED_LABEL}1{HOLDING}", TURN_LABEL]
)
def test_a_busy_machine_gets_more_of_the_calls_that_probe_a_pool(build: Any, label: str) -> None:
    own = build.op(0)
    one, other = (build.op(1, command="sleep", label=label, value={"slept_s": seconds}) for seconds in (0.1, 0.3))
    found = compare_answers(build.history(own, one), build.history(own, other, build.op(2, label=label)))
    assert (found.compared, found.differences) == (1, ())


@pytest.mark.parametrize("label", ["", "fuller", "crowd", "turning", "full0-busy-hours", "turn", "full0"])
def test_a_callers_own_call_is_compared(build: Any, label: str) -> None:
    assert compare_answers(build.history(build.op(0, label=label, value=1)), build.history(build.op(0))).differences
