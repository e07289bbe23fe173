"""Each comparer decides at its paths and for its types; what none decides is compared by type and value."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from poolproof.harness.compare.differential import compare_ops
from poolproof.harness.model.comparing.comparers import (
    Comparer,
    compare_by,
    exact,
    find_unequal,
    ignore,
    leave_out,
    match_elements,
    similar_text,
    tolerance,
    unordered,
)
from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.intended import Comparing, DifferenceKind


@pytest.mark.parametrize(
    ("path", "covered", "others"),
    [
        ("$", ["$"], ["$.a", "$[*]"]),
        (
            "$.usage.created",
            ["$.usage.created"],
            ["$.usage", "$.usage.created.at", "$.a.usage.created", "$.usageXcreated"],
        ),
        ("$.items[*].id", ["$.items[*].id"], ["$.items.id", "$.items[*][*].id"]),
        ("$..id", ["$.id", "$.a.id", "$.a[*].b.id"], ["$", "$.id.x", "$.aid"]),
        ("$.*.id", ["$.a.id", '$["a b"].id'], ["$.id", "$.a.b.id", "$[*].id"]),
        ('$["a b"]["*"]', ['$["a b"]["*"]'], ["$.a b", '$["a b"].x']),
        ('$["plain"]', ["$.plain"], []),
        ("$..[*]", ["$[*]", "$.a[*]"], ["$.a"]),
        ("", ["$", "$.a[*]"], []),
    ],
)
def test_a_path_covers_what_it_says(path: str, covered: list[str], others: list[str]) -> None:
    comparer = exact(path)
    assert all(map(comparer.covers, covered))
    assert not any(map(comparer.covers, others))


@pytest.mark.parametrize("path", ["a", "$a", "$.", "$.a[0]", "$[a]", "$.a b", "$...a", '$["a]', ".a"])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(UsageError, match="is not a path such as"):
        ignore(path)


ONE: dict[str, Any] = {"answer": "the cat sat", "score": 1.0, "items": [{"id": 1, "n": 1}, {"id": 2, "n": 2}], "at": 5}


@pytest.mark.parametrize(
    ("comparers", "change", "told"),
    [
        ([], {}, ""),
        ([], {"at": 5.0}, "at $.at: 5 became 5.0"),
        ([], {"items": []}, "at $.items: [{'id': 1, 'n': 1}, {'id': 2, 'n': 2}] became []"),
        ([], {"more": 1}, "$.more is new"),
        ([tolerance("$.score", absolute=0.1)], {"score": 1.05}, ""),
        ([tolerance("$.score", absolute=0.1)], {"score": 1.2}, "at $.score: 1.0 became 1.2"),
        ([tolerance("$.score", absolute=0.1)], {"at": 5.01}, "at $.at: 5 became 5.01"),
        ([tolerance(relative=0.01)], {"score": 1.005, "at": 5.0}, ""),
        ([tolerance(absolute=1)], {"at": True}, "at $.at: 5 became True"),
        ([similar_text("$.answer", ratio=0.8)], {"answer": "the cat sits"}, ""),
        ([similar_text("$.answer", ratio=0.8)], {"answer": "no"}, "at $.answer: 'the cat sat' became 'no'"),
        ([similar_text(ratio=0)], {"answer": None}, "at $.answer: 'the cat sat' became None"),
        ([unordered("$.items")], {"items": ONE["items"][::-1]}, ""),
        (
            [unordered("$.items")],
            {"items": ONE["items"][:1] * 2},
            f"at $.items: {ONE['items']} became {ONE['items'][:1] * 2}",
        ),
        ([unordered()], {"items": ONE["items"][:1]}, f"at $.items: {ONE['items']} became {ONE['items'][:1]}"),
        ([unordered("$.items"), tolerance(absolute=3)], {"items": [{"id": 4, "n": 1}, {"id": 0, "n": 2}]}, ""),
        ([exact("$.at"), tolerance(absolute=9)], {"at": 6}, "at $.at: 5 became 6"),
        ([tolerance(absolute=9), exact("$.at")], {"at": 6}, ""),
        ([compare_by("$.at", lambda one, other: one % 5 == other % 5)], {"at": 10}, ""),
        ([compare_by("$.at", lambda one, other: one % 5 == other % 5)], {"at": 11}, "at $.at: 5 became 11"),
    ],
)
def test_comparers_decide_by_path_and_type(comparers: list[Comparer], change: dict[str, Any], told: str) -> None:
    assert find_unequal(ONE, {**ONE, **change}, comparers) == told


def test_what_is_ignored_is_left_out_at_every_depth() -> None:
    value = {"id": 1, "items": [{"id": 2, "n": {"id": 3}}, 4]}
    assert leave_out(value, [ignore("$..id")]) == {"items": [{"n": {}}, 4]}
    assert leave_out(value, [ignore("$.items[*]")]) == {"id": 1, "items": []}
    assert leave_out(value, [ignore("$")]) is None
    assert leave_out(value, [exact("$.id")]) is value


def test_elements_are_matched_even_if_the_first_choice_is_wrong() -> None:
    assert match_elements([2, 1], [3, 1], lambda one, other: abs(one - other) < 1.6) == [0, 1]
    assert match_elements([1, 1], [1, 5], lambda one, other: one == other) == [0, None]


@pytest.mark.parametrize(("absolute", "relative"), [(-1.0, 0.0), (0.0, float("nan")), (float("inf"), 0.0)])
def test_wrong_limits_are_refused(absolute: float, relative: float) -> None:
    with pytest.raises(UsageError, match="must not be negative"):
        tolerance(absolute=absolute, relative=relative)
    with pytest.raises(UsageError, match="from 0 to 1"):
        similar_text(ratio=1.1)


def test_operations_are_compared_by_the_comparers_of_a_scenario(build: Any) -> None:
    an_op = partial(build.op, 0, 0.0, command="get")
    one, other = an_op(value={"id": 1, "x": 1.0}), an_op(value={"id": 2, "x": 1.01})
    assert compare_ops(one, other, Comparing(comparers=(ignore("$.id"), tolerance(absolute=0.1)))) is None
    found = compare_ops(one, other, Comparing(comparers=(ignore("$.id"),)))
    assert found is not None
    assert found.text.endswith("at $.x: 1.0 became 1.01")
    seven, eight = (an_op(outcome="CommandError", error=text) for text in ("no key 7", "no key 8"))
    found = compare_ops(seven, eight, Comparing(comparers=(ignore("$.id"),)))
    assert found is not None
    assert found.kind is DifferenceKind.ERROR_TEXT
    assert compare_ops(seven, eight, Comparing(comparers=(similar_text(ratio=0.8),))) is None
    hook = Comparing(compare=lambda one, other: False, comparers=(ignore("$"),))
    assert compare_ops(one, one, hook) is not None, "the hook decides before the comparers"
