"""JSON values are the same by type and value, all the way down."""

from __future__ import annotations

from typing import Any

import pytest

from poolproof.harness.history.equality import VOLATILE, same_json, without

VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    1.0,
    0.0,
    "",
    "1",
    [],
    {},
    [1],
    [1.0],
    {"a": 1},
    {"a": None},
    [None],
)


@pytest.mark.parametrize("index", range(len(VALUES)))
def test_a_value_is_the_same_as_itself_and_as_no_other(index: int) -> None:
    for other, value in enumerate(VALUES):
        assert same_json(VALUES[index], value) is (index == other)


def test_nesting_is_compared_all_the_way_down() -> None:
    one = {"a": [{"b": [1, 2, {"c": None}]}]}
    assert same_json(one, {"a": [{"b": [1, 2, {"c": None}]}]})
    assert not same_json(one, {"a": [{"b": [1, 2, {"c": False}]}]})
    assert not same_json([1, 2], [1, 2, 3])


def test_the_order_of_a_list_counts_and_that_of_an_objects_keys_does_not() -> None:
    assert not same_json([1, 2], [2, 1])
    assert same_json({"a": 1, "b": 2}, {"b": 2, "a": 1})


def test_without_drops_fields_at_any_depth_and_leaves_the_original() -> None:
    value = {"pid": 1, "kept": [{"pid": 2, "value": "pid"}], "other": {"uptime": 3.0}}
    assert without(value, VOLATILE) == {"kept": [{"value": "pid"}], "other": {}}
    assert value["pid"] == 1


def test_without_leaves_scalars_alone() -> None:
    assert without("pid", VOLATILE) == "pid"
    assert without(None, VOLATILE) is None


def test_what_identifies_an_answer_is_not_volatile() -> None:
    assert not VOLATILE & {"nonce", "value", "values", "keys", "outputs", "program_id", "status", "result"}
