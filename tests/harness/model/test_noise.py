"""The baseline's own answers show what varies at which path; only what exceeds that is a difference."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poolproof.harness.model.comparing.comparers import Comparer, tolerance, unordered
from poolproof.harness.model.comparing.noise import Kind, Noise, find_excess, leaves, observe, sign_test, type_name


def learn(*pairs: tuple[Any, Any], comparers: tuple[Comparer, ...] = ()) -> Noise:
    noise = Noise()
    for number, pair in enumerate(pairs):
        noise.add(number, observe(*pair, comparers))
    noise.settle()
    return noise


@pytest.mark.parametrize(
    ("one", "other", "found"),
    [
        (1, 1, set()),
        (1, 2, {("$", "number")}),
        (1, 1.0, {("$", "number")}),
        ("a", "b", {("$", "text")}),
        (True, False, {("$", "value")}),
        (None, "a", {("$", "type")}),
        (1, True, {("$", "type")}),
        ([], {}, {("$", "type")}),
        ({"a": 1}, {"a": 2}, {("$.a", "number")}),
        ({"a": 1}, {}, {("$.a", "presence")}),
        ({"a b": {"c": 1}}, {"a b": {"c": "x"}}, {('$["a b"].c', "type")}),
        ([1, 2], [2, 1], {("$", "order")}),
        ([1, 2], [1, 3], {("$[*]", "number")}),
        ([1, 2], [1], {("$", "elements"), ("$[*]", "value"), ("$[*]", "number")}),
        ([], [1], {("$", "elements"), ("$[*]", "value")}),
        (
            [{"id": 1, "n": "a"}, {"id": 2, "n": "b"}],
            [{"id": 3, "n": "b"}, {"id": 4, "n": "a"}],
            {("$", "order"), ("$[*].id", "number")},
        ),
        (["a", "b"], ["c", "d"], {("$[*]", "text")}),
        (
            [{"a": 1}],
            [{"a": 1}, {"b": 1}],
            {
                ("$", "elements"),
                ("$[*].a", "value"),
                ("$[*].b", "value"),
                ("$[*].a", "presence"),
                ("$[*].b", "presence"),
            },
        ),
    ],
)
def test_a_pair_shows_what_varies_and_how(one: Any, other: Any, found: set[tuple[str, str]]) -> None:
    assert {(seen.path, seen.kind.value) for seen in observe(one, other)} == found
    noise = learn((one, other))
    assert list(find_excess(one, other, noise)) == []
    assert list(find_excess(other, one, noise)) == []


@pytest.mark.parametrize(
    ("pairs", "one", "other", "told"),
    [
        ([({"a": 1, "t": 1}, {"a": 1, "t": 2})], {"a": 1, "t": 1}, {"a": 2, "t": 9}, ["$.a: 1 became 2"]),
        ([({"t": 1}, {"t": 2})], {"t": 1}, {"t": "1"}, ["$.t: 1 became '1'"]),
        ([({"t": 1}, {"t": 2})], {"t": 1}, {"t": None}, ["$.t: 1 became None"]),
        ([({"t": 1}, {"t": 2})], {"t": 1}, {}, ["$.t is missing"]),
        ([({"t": 1}, {"t": 2})], {"t": 1}, {"t": 1, "u": 1}, ["$.u is new"]),
        ([({"t": None}, {"t": "a"})], {"t": "b"}, {"t": None}, []),
        ([({"t": None}, {"t": "a"})], {"t": "b"}, {"t": "c"}, []),
        ([({"t": None}, {"t": "a"})], {"t": "b"}, {"t": 1}, ["$.t: 'b' became 1"]),
        ([({"t": 1}, {})], {"t": 1}, {}, []),
        ([({"t": 1}, {})], {"t": 1}, {"t": 2}, ["$.t: 1 became 2"]),
        ([([1, 2], [2, 1])], [3, 4, 5], [5, 3, 4], []),
        ([([1, 2], [2, 1])], [3, 4, 5], [5, 3], ["$ has 2 elements, not 3"]),
        ([([1, 2], [2, 1])], [3, 4, 4], [4, 3, 3], ["$: 4 has no counterpart, in whatever order"]),
        ([([1, 2], [1, 2])], [3, 4], [4, 3], ["$[*]: 3 became 4", "$[*]: 4 became 3"]),
        ([([1], [1, 2])], [1, 2, 3], [7], []),
        ([([1], [1, 2])], [1, 2, 3], ["a"], ["$: 'a' has no counterpart, in whatever order"]),
        (
            [([{"a": 1}], [{"a": 1}] * 2)],
            [{"a": 1}] * 3,
            [{"a": 1}, {"b": 1}],
            ["$: {'b': 1} has no counterpart, in whatever order"],
        ),
        ([({"x1": 1, "x2": 1}, {"x3": 1})], {"x4": 1}, {"x5": 1}, []),
        (
            [({"x1": 1, "m": 1}, {"x2": 1, "m": 1}), ({"x3": {}}, {"x4": {}})],
            {"x1": 3, "m": 1},
            {"x1": 4, "m": 2},
            ["$.m: 1 became 2"],
        ),
        ([({"a": 1}, {}), ({"a": 1}, {})], {"a": 1, "b": 1}, {}, ["$.b is missing"]),
    ],
)
def test_only_what_exceeds_the_noise_is_found(
    pairs: list[tuple[Any, Any]], one: Any, other: Any, told: list[str]
) -> None:
    assert [excess.text for excess in find_excess(one, other, learn(*pairs))] == told


def test_a_reordered_list_of_noisy_objects_keeps_its_constant_fields() -> None:
    one = [{"id": number, "name": name} for number, name in enumerate("abc")]
    again = [{"id": 10 + number, "name": name} for number, name in enumerate("cab")]
    noise = learn((one, again))
    assert noise.kinds("$[*].name") == set()
    assert list(find_excess(one, [{"id": 7, "name": name} for name in "bca"], noise)) == []
    assert len(list(find_excess(one, [{"id": 7, "name": name} for name in "bcb"], noise))) == 1


def test_what_a_comparer_accepts_is_no_noise() -> None:
    near = (tolerance("$.x", absolute=1),)
    noise = learn(({"x": 1, "y": 1}, {"x": 2, "y": 2}), comparers=near)
    assert noise.paths.keys() == {"$.y"}
    assert list(find_excess({"x": 1, "y": 1}, {"x": 1.5, "y": 9}, noise, near)) == []
    assert [one.path for one in find_excess({"x": 1, "y": 1}, {"x": 5, "y": 9}, noise, near)] == ["$.x"]
    assert observe([1, 2], [2, 1], (unordered(),)) == []


def test_a_number_is_far_outside_only_beyond_three_times_the_range() -> None:
    noise = learn(({"x": 10}, {"x": 12}), ({"x": 11}, {"x": 14}), ({"y": "a"}, {"y": "b"}))
    x = noise.paths["$.x"]
    values: list[Any] = [-3, -2, 26, 27, True, "a", None]
    assert [value for value in values if x.is_far(value)] == [-3, 27]
    assert x.is_far(float("nan"))
    assert not noise.paths["$.y"].is_far(10**400)
    assert x.is_far(10**400)


def test_many_fields_that_come_and_go_have_data_for_names() -> None:
    pairs: list[tuple[Any, Any]] = [({f"d{number}": {"v": 1}}, {}) for number in range(17)] * 2
    assert list(find_excess({"d1": {"v": 1}}, {"d1": {"v": 2}, "new": 1}, learn(*pairs))) == []
    assert learn(*pairs).paths.keys() == {"$", "$.*.v"}
    few = learn(*(pairs[:16] * 2))
    assert [one.path for one in find_excess({"d1": {"v": 1}}, {"d1": {"v": 2}, "new": 1}, few)] == ["$.new", "$.d1.v"]


def test_long_lists_match_equal_elements_in_any_order() -> None:
    one, other = list(range(100)), list(range(99, -1, -1))
    assert {seen.kind for seen in observe(one, other)} == {Kind.ORDER}
    assert {seen.kind for seen in observe(one, [value + 1000 for value in one])} == {Kind.NUMBER}


def test_leaves_types_and_the_sign_test() -> None:
    assert list(leaves({"a": [1, {"b": 2}], "c": {}, "d": []})) == ["$.a[*]", "$.a[*].b", "$.c", "$.d"]
    values: list[Any] = [None, True, 1, 1.5, "", {}, []]
    assert " ".join(map(type_name, values)) == "null boolean number number text object list"
    assert sign_test(3, 0) == 1 / 8
    assert sign_test(3, 1) == 5 / 16
    assert sign_test(2, 2) == sign_test(0, 0) == 1.0
    assert sign_test(5000, 4000) < 1e-9


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('ab .["*', max_size=2), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(JSON, JSON), min_size=1, max_size=4))
def test_the_pairs_that_were_learnt_never_exceed_the_noise(pairs: list[tuple[Any, Any]]) -> None:
    noise = learn(*pairs)
    for one, other in pairs:
        assert list(find_excess(one, other, noise)) == []
        assert list(find_excess(other, one, noise)) == []
        assert list(find_excess(one, one, Noise())) == []


def vary(value: Any, ways: dict[str, str], choice: random.Random, path: str = "") -> Any:
    """The value with the noise of its generator: by path, one way to vary, in every other answer."""
    way = ways.get(path, "") if choice.random() < 0.5 else ""
    if way == "value":
        return choice.random() if isinstance(value, int) else str(choice.random())
    if way == "null":
        return None
    if isinstance(value, dict):
        kept = {key: vary(inner, ways, choice, f"{path}.{key}") for key, inner in value.items()}
        return dict(list(kept.items())[:-1]) if way == "field" else kept
    if isinstance(value, list):
        found = [vary(inner, ways, choice, f"{path}*") for inner in value]
        if way == "order":
            choice.shuffle(found)
        return found[: choice.randint(0, len(found))] if way == "elements" else found
    return value


BASES: st.SearchStrategy[Any] = st.recursive(
    st.integers(0, 9) | st.sampled_from(["x", "y"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(BASES, st.data(), st.integers(0, 2**32))
def test_a_generator_with_noise_of_its_own_never_accuses_itself(base: Any, data: st.DataObject, seed: int) -> None:
    paths = {leaf.replace("$", "").replace("[*]", "*") for leaf in leaves(base)}
    paths |= {path[:end] for path in paths for end in range(len(path) + 1) if path[end : end + 1] in (".", "*")}
    ways = data.draw(
        st.fixed_dictionaries(
            {path: st.sampled_from(["", "value", "null", "field", "order", "elements"]) for path in sorted(paths)}
        )
    )
    choice = random.Random(seed)

    def answer() -> Any:
        return vary(base, ways, choice)

    noise = learn(*((answer(), answer()) for _ in range(400)))
    for _ in range(20):
        assert list(find_excess(answer(), answer(), noise)) == []
