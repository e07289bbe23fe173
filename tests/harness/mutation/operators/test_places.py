"""Each operator on a literal source, and where no operator may touch a source."""

from __future__ import annotations

import pytest

from poolproof.harness.mutation.operators.places import OPERATORS, Place, find_places, mutate


def mutations(operator: str, text: str) -> list[str]:
    """The mutated texts of one operator, each without the text's final line end."""
    places = [place for place in find_places("a.py", text + "\n") if place.operator == operator]
    found = [mutate(text + "\n", place) for place in places]
    return [one.removesuffix("\n") for one in found if one is not None]


@pytest.mark.parametrize(
    ("operator", "before", "after"),
    [
        ("negate_condition", "if a:\n    b()", ["if (not (a)):\n    b()"]),
        ("negate_condition", "while not a:\n    b()", ["while (a):\n    b()"]),
        ("negate_condition", "x = a if b else c", ["x = a if (not (b)) else c"]),
        ("negate_condition", "x = [a for a in b if a]", ["x = [a for a in b if (not (a))]"]),
        ("negate_condition", "while True:\n    b()", []),
        ("swap_and_or", "x = a and b and c", ["x = a or b and c", "x = a and b or c"]),
        ("swap_and_or", "x = a or b", ["x = a and b"]),
        ("shift_boundary", "x = a < b", ["x = a <= b"]),
        ("shift_boundary", "x = a >= b", ["x = a > b"]),
        ("shift_boundary", "x = 0 <= a < b", ["x = 0 < a < b", "x = 0 <= a <= b"]),
        ("shift_boundary", "x = a == b", []),
        ("reverse_comparison", "x = a is not None", ["x = a is None"]),
        ("reverse_comparison", "x = a not in b", ["x = a in b"]),
        ("reverse_comparison", "x = a == b", ["x = a != b"]),
        ("reverse_comparison", "x = a < b", ["x = a >= b"]),
        ("shift_bound", "x = a < b.c", ["x = a < ((b.c) + 1)", "x = a < ((b.c) - 1)"]),
        ("shift_bound", "x = a < (1, 2)", []),
        ("shift_bound", "x = a < 'b'", []),
        ("change_by_one", "x = 1", ["x = 2", "x = 0"]),
        ("change_by_one", "x = 0", ["x = 1", "x = (-1)"]),
        ("change_by_one", "x = True", []),
        ("scale_number", "x = 0.5", ["x = 5.0", "x = 0.05"]),
        ("change_string", "x = 'a'", ["x = 'aX'"]),
        ("change_string", "x = b'a'", ["x = b'aX'"]),
        ("change_string", "raise ValueError('a')", []),
        ("change_string", "x = f'a{b}'", []),
        ("change_string", "def f():\n    'A docstring.'", []),
        ("flip_flag", "f(a=True)", ["f(a=False)"]),
        ("flip_flag", "while True:\n    f()", []),
        (
            "change_default",
            "def f(a, b=1, *, c=None): g()",
            ["def f(a, b=2, *, c=None): g()", "def f(a, b=1, *, c=0): g()"],
        ),
        ("change_default", "class A:\n    b: bool = False", ["class A:\n    b: bool = True"]),
        ("change_default", "class A:\n    b: float = 0.5", ["class A:\n    b: float = 5.0"]),
        ("change_default", "class A:\n    b: str = 'c'", ["class A:\n    b: str = None"]),
        ("drop_statement", "f()\ng()", ["pass\ng()", "f()\npass"]),
        ("drop_statement", "a.b = 1", ["pass"]),
        ("drop_statement", "a[b] += 1", ["pass"]),
        ("drop_statement", "del a.b", ["pass"]),
        ("drop_statement", "a = 1", []),
        ("drop_raise", "if a:\n    raise B from c", ["if a:\n    pass"]),
        (
            "drop_return",
            "def f(a):\n    if a:\n        return 1\n    return 2",
            ["def f(a):\n    if a:\n        pass\n    return 2"],
        ),
        ("swap_break_continue", "for a in b:\n    break", ["for a in b:\n    continue"]),
        ("swap_break_continue", "for a in b:\n    continue", ["for a in b:\n    break"]),
        ("remove_lock", "with self._lock:\n    f()", ["if True:\n    f()"]),
        ("remove_lock", "with changed_condition:\n    f()", ["if True:\n    f()"]),
        ("remove_lock", "with open(a) as lock:\n    f()", []),
        ("remove_lock", "with self.lock, b:\n    f()", []),
        ("empty_finally", "try:\n    f()\nfinally:\n    g()\n    h()", ["try:\n    f()\nfinally:\n    pass\n"]),
        ("swap_arguments", "f(a, b, c=d)", ["f(b, a, c=d)"]),
        ("swap_arguments", "f(a, b, c)", ["f(b, a, c)", "f(a, c, b)"]),
        ("swap_arguments", "f(a, *b)", []),
        ("swap_arguments", "f(a, a)", []),
    ],
)
def test_an_operator_makes_these_mutations_of_a_source(operator: str, before: str, after: list[str]) -> None:
    assert mutations(operator, before) == after


def test_every_operator_is_tried_above() -> None:
    marks = test_an_operator_makes_these_mutations_of_a_source.pytestmark  # type: ignore[attr-defined]
    tried = {operator for operator, _, after in marks[0].args[1] if after}
    assert tried == OPERATORS.keys()


@pytest.mark.parametrize(
    "text",
    [
        "assert a < 1, 'b'",
        "__all__ = ['a', 'b']",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    a(1)",
        "x: Literal['a', 1]",
        "def f(a: Literal['b']) -> Literal['c']: ...",
        "@g(1)\ndef f(): ...",
        "class A(B, frozen=True): ...",
        "'''A docstring.'''",
    ],
)
def test_what_shows_in_no_run_is_left_alone(text: str) -> None:
    assert find_places("a.py", text) == []


def test_lines_stay_where_they_are() -> None:
    text = "def f(a):\n    g(\n        a,\n        1,\n    )\n    return (\n        a\n    )  # ä\n\n\nx = 'ä'; y = 2\n"
    places = find_places("a.py", text)
    assert len(places) > 5
    for place in places:
        mutated = mutate(text, place)
        assert mutated is not None
        assert mutated.count("\n") == text.count("\n")
        assert mutated.splitlines()[10:] == text.splitlines()[10:] or place.line == 11


def test_a_place_says_what_becomes_of_which_statement() -> None:
    text = (
        "class A:\n    def f(self, a=1):\n        if a:\n            self.g(\n                a, 2)\n        return a\n"
    )
    told = {(place.operator, place.line): place for place in find_places("pool_v2/a.py", text)}
    dropped = told["drop_statement", 4]
    assert (dropped.package, dropped.statement) == ("pool_v2", "self.g( a, 2)")
    assert dropped.change == "self.g( a, 2) -> pass"
    assert dropped.shown_by == (4,)
    assert told["change_by_one", 5].shown_by == (4,)
    assert told["negate_condition", 3].statement == "if a:"
    assert told["change_default", 2].shown_by == (3, 4, 6)
    assert dropped.key == ("drop_statement", "pool_v2/a.py", "self.g( a, 2)", "self.g( a, 2) -> pass")


def test_a_mutation_that_is_not_python_is_none() -> None:
    place = Place("drop_raise", "a.py", 1, "", "", edits=find_places("a.py", "f()\n")[0].edits, shown_by=(1,))
    assert mutate("f()\n", place) == "pass\n"
    assert mutate("x=1\nbreak\n", Place("x", "a.py", 1, "", "", edits=(), shown_by=(1,))) is None
