"""Operators for constants: numbers, strings, flags, and the default values of parameters and fields. Pure."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from poolproof.harness.mutation.operators.source import Edits, Source

TIMES = 10


def change_by_one(source: Source, node: ast.AST) -> Iterator[Edits]:
    """A whole number becomes larger by 1, or smaller by 1."""
    if _is_plain(source, node) and isinstance(node, ast.Constant) and type(node.value) is int:
        for number in (node.value + 1, node.value - 1):
            yield (source.replace(node, f"({number})" if number < 0 else str(number)),)


def scale_number(source: Source, node: ast.AST) -> Iterator[Edits]:
    """A number with a decimal point, which mostly is a duration, becomes ten times as large, or a tenth."""
    if _is_plain(source, node) and isinstance(node, ast.Constant) and type(node.value) is float and node.value:
        for number in (node.value * TIMES, node.value / TIMES):
            yield (source.replace(node, repr(number)),)


def change_string(source: Source, node: ast.AST) -> Iterator[Edits]:
    """A string gets one letter more. Docstrings, type names, parts of f-strings and texts of errors stay."""
    if _is_plain(source, node) and not any(isinstance(above, ast.Raise) for above in source.ancestors(node)):
        match node:
            case ast.Constant(value=str() as text):
                yield (source.replace(node, repr(text + "X")),)
            case ast.Constant(value=bytes() as data):
                yield (source.replace(node, repr(data + b"X")),)


def flip_flag(source: Source, node: ast.AST) -> Iterator[Edits]:
    """True becomes False, and the other way round."""
    if _is_plain(source, node) and isinstance(node, ast.Constant) and isinstance(node.value, bool):
        whole = source.parent(node)
        if not (isinstance(whole, ast.While) and whole.test is node):
            yield (source.replace(node, str(not node.value)),)


def change_default(source: Source, node: ast.AST) -> Iterator[Edits]:
    """The default of a parameter or of a class's field becomes another: None for a value, 1 more, the other flag."""
    defaults: list[ast.expr] = []
    if isinstance(node, ast.arguments):
        defaults = [*node.defaults, *(default for default in node.kw_defaults if default is not None)]
    elif isinstance(node, ast.AnnAssign) and isinstance(source.parent(node), ast.ClassDef) and node.value is not None:
        defaults = [node.value]
    for default in defaults:
        if isinstance(default, ast.Constant):
            match default.value:
                case bool():
                    yield (source.replace(default, str(not default.value)),)
                case int():
                    yield (source.replace(default, str(default.value + 1)),)
                case float():
                    yield (source.replace(default, repr(default.value * TIMES)),)
                case None:
                    yield (source.replace(default, "0"),)
                case _:
                    yield (source.replace(default, "None"),)


def _is_plain(source: Source, node: ast.AST) -> bool:
    # Whether a constant's value counts: it is no docstring, default, type name or part of an f-string.
    if not isinstance(node, ast.Constant):
        return False
    parent = source.parent(node)
    if isinstance(parent, ast.arguments | ast.Expr):
        return False
    if isinstance(parent, ast.AnnAssign) and isinstance(source.parent(parent), ast.ClassDef):
        return False
    return not any(isinstance(above, ast.JoinedStr) for above in source.ancestors(node))
