"""Edits of a source by bytes."""

from __future__ import annotations

import ast

import pytest

from poolproof.harness.mutation.operators.source import Edit, Source


def test_edits_are_made_at_bytes_and_not_at_characters() -> None:
    source = Source("x = 'ä' + y\n")
    value = source.tree.body[0]
    assert isinstance(value, ast.Assign)
    assert isinstance(value.value, ast.BinOp)
    edit = source.replace(value.value.right, "z")
    assert source.apply([edit]) == "x = 'ä' + z\n"
    assert source.text_of(value.value.left) == "'ä'"


def test_edits_that_overlap_are_an_error() -> None:
    source = Source("abc\n")
    assert source.apply([Edit(1, 2, "x"), Edit(0, 1, "y")]) == "yxc\n"
    with pytest.raises(ValueError, match="overlap"):
        source.apply([Edit(0, 2, "x"), Edit(1, 3, "y")])


def test_a_line_is_found_by_its_byte() -> None:
    source = Source("a\nbc\n")
    assert [source.line_of(start) for start in (0, 1, 2, 4)] == [1, 1, 2, 2]


def test_what_contains_a_node_is_known() -> None:
    source = Source("def f():\n    return g(1)\nx = 2\n")
    one = next(node for node in ast.walk(source.tree) if isinstance(node, ast.Constant) and node.value == 1)
    function = source.function(one)
    assert function is not None
    assert function.name == "f"
    assert isinstance(source.statement(one), ast.Return)
    assert source.function(source.tree.body[1]) is None
    with pytest.raises(ValueError):
        source.statement(source.tree)
