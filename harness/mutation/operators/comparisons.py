"""Operators for comparisons: another boundary, the opposite comparison, a shifted bound. Pure."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from poolproof.harness.mutation.operators.source import Edit, Edits, Source

WORDS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Is: "is",
    ast.IsNot: "is not",
    ast.In: "in",
    ast.NotIn: "not in",
}
BOUNDARIES = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
OPPOSITES = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "is": "is not", "in": "not in"}
OPPOSITES |= {new: old for old, new in list(OPPOSITES.items()) if old in ("==", "is", "in")}


def shift_boundary(source: Source, node: ast.AST) -> Iterator[Edits]:
    """`<` becomes `<=`, `>` becomes `>=`, and the other way round."""
    for edit in _exchange(source, node, BOUNDARIES):
        yield (edit,)


def reverse_comparison(source: Source, node: ast.AST) -> Iterator[Edits]:
    """`<` becomes `>=`, `==` becomes `!=`, `is` becomes `is not`, `in` becomes `not in`, and the other way round."""
    for edit in _exchange(source, node, OPPOSITES):
        yield (edit,)


def shift_bound(source: Source, node: ast.AST) -> Iterator[Edits]:
    """The right side of `<`, `<=`, `>` or `>=` becomes larger by 1, or smaller by 1."""
    if not isinstance(node, ast.Compare):
        return
    for word, right in zip(node.ops, node.comparators, strict=True):
        if isinstance(word, ast.Lt | ast.LtE | ast.Gt | ast.GtE) and not isinstance(right, ast.Tuple | ast.Set):
            if isinstance(right, ast.Constant) and not isinstance(right.value, int | float):
                continue
            for by in ("+ 1", "- 1"):
                yield (source.replace(right, f"(({source.text_of(right)}) {by})"),)


def _exchange(source: Source, node: ast.AST, others: dict[str, str]) -> Iterator[Edit]:
    if not isinstance(node, ast.Compare):
        return
    operands = [node.left, *node.comparators]
    for word, left, right in zip(node.ops, operands, operands[1:], strict=False):
        old = WORDS[type(word)]
        start, end = source.span(left)[1], source.span(right)[0]
        between = source.part(start, end)
        if old in others and old in between and "#" not in between:
            at = start + len(between.partition(old)[0].encode())
            yield source.replace_span(at, at + len(old), others[old])
