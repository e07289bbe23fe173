"""Operators that loosen a checker: a comparison that always has the same result, and a bound ten times as far.

Pure. A checker compares numbers or whole columns, so a constant result has the shape of the comparison's own. Which of
two results is the loose one depends on the code around it, so both are tried; so are both directions of a bound.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from poolproof.harness.mutation.operators.places import Operator, Place, find_places
from poolproof.harness.mutation.operators.source import Edits, Source

FOLDER = "harness/checkers"
OTHERS = ("harness/model/timing/budget.py", "harness/oracle")
"""The files and folders that are loosened besides the folder of the checkers."""


def always_true(source: Source, node: ast.AST) -> Iterator[Edits]:
    """A comparison is always true."""
    if isinstance(node, ast.Compare):
        yield (source.replace(node, f"(({source.text_of(node)}) | True)"),)


def always_false(source: Source, node: ast.AST) -> Iterator[Edits]:
    """A comparison is always false."""
    if isinstance(node, ast.Compare):
        yield (source.replace(node, f"(({source.text_of(node)}) & False)"),)


def ten_times(source: Source, node: ast.AST) -> Iterator[Edits]:
    """A bound (a numeric field of the checker where it is used, a default or a constant) becomes ten times as large."""
    for bound in _bounds(source, node):
        yield (source.replace(bound, f"(({source.text_of(bound)}) * 10)"),)


def a_tenth(source: Source, node: ast.AST) -> Iterator[Edits]:
    """A bound becomes a tenth of what it was."""
    for bound in _bounds(source, node):
        yield (source.replace(bound, f"(({source.text_of(bound)}) / 10)"),)


LOOSENINGS: dict[str, Operator] = {
    operator.__name__: operator for operator in (always_true, always_false, ten_times, a_tenth)
}


def find_loosenings(files: Mapping[str, str]) -> list[Place]:
    """Every loosening of these files, by file and line."""
    return [place for file in sorted(files) for place in find_places(file, files[file], LOOSENINGS)]


def _bounds(source: Source, node: ast.AST) -> Iterator[ast.expr]:
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
        above = source.parent(node)
        counted = isinstance(above, ast.Compare | ast.BinOp | ast.Call | ast.keyword | ast.IfExp)
        if isinstance(above, ast.Compare) and isinstance(above.ops[0], ast.Is | ast.IsNot):
            return  # a bound that is None is no number
        if counted and node.attr in _numeric_fields(source, node) and isinstance(node.ctx, ast.Load):
            yield node
    elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
        outside = isinstance(source.parent(node), ast.Module | ast.ClassDef)  # of a function
        if outside and _is_number(node.value):
            yield node.value


def _numeric_fields(source: Source, node: ast.AST) -> set[str]:
    # The names of the fields of the surrounding class whose type is a number, or a number or None.
    for above in source.ancestors(node):
        if isinstance(above, ast.ClassDef):
            return {
                field.target.id
                for field in above.body
                if isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and set(source.text_of(field.annotation).replace("|", " ").split()) & {"int", "float"}
            }
    return set()


def _is_number(value: ast.expr) -> bool:
    if isinstance(value, ast.BinOp):
        return _is_number(value.left) and _is_number(value.right)
    return isinstance(value, ast.Constant) and type(value.value) in (int, float) and value.value != 0
