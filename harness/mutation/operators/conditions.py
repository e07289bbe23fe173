"""Operators for conditions: a negated condition, and `and` and `or` in each other's place. Pure."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from poolproof.harness.mutation.operators.source import Edits, Source


def negate_condition(source: Source, node: ast.AST) -> Iterator[Edits]:
    """`if x` becomes `if not (x)`; so do the conditions of `while`, of `x if y else z` and of comprehensions."""
    conditions: list[ast.expr] = []
    if isinstance(node, ast.If | ast.While | ast.IfExp):
        conditions = [node.test]
    elif isinstance(node, ast.comprehension):
        conditions = node.ifs
    for condition in conditions:
        if isinstance(node, ast.While) and isinstance(condition, ast.Constant):
            continue  # `while not True` drops the loop, which is another operator's change
        if isinstance(condition, ast.UnaryOp) and isinstance(condition.op, ast.Not):
            yield (source.replace(condition, f"({source.text_of(condition.operand)})"),)
        else:
            yield (source.replace(condition, f"(not ({source.text_of(condition)}))"),)


def swap_and_or(source: Source, node: ast.AST) -> Iterator[Edits]:
    """`x and y` becomes `x or y`, and the other way round, one word at a time."""
    if not isinstance(node, ast.BoolOp):
        return
    old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
    for left, right in zip(node.values, node.values[1:], strict=False):
        start, end = source.span(left)[1], source.span(right)[0]
        between = source.part(start, end)
        if between.split().count(old) == 1 and "#" not in between:
            at = start + len(between.partition(old)[0].encode())
            yield (source.replace_span(at, at + len(old), new),)
