"""Operators for statements: one that is left out, and `break` and `continue` in each other's place. Pure."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from poolproof.harness.mutation.operators.source import Edits, Source


def drop_statement(source: Source, node: ast.AST) -> Iterator[Edits]:
    """A call, or a change of an attribute or of an item, is left out."""
    match node:
        case ast.Expr(value=ast.Constant()):
            return
        case ast.Assign(targets=targets) if not all(
            isinstance(each, ast.Attribute | ast.Subscript) for each in targets
        ):
            return
        case ast.Expr() | ast.AugAssign() | ast.Delete() | ast.Assign():
            yield (source.replace(node, "pass"),)


def drop_raise(source: Source, node: ast.AST) -> Iterator[Edits]:
    """An error is not raised."""
    if isinstance(node, ast.Raise):
        yield (source.replace(node, "pass"),)


def drop_return(source: Source, node: ast.AST) -> Iterator[Edits]:
    """A function goes on where it would have returned early."""
    function = source.function(node)
    if isinstance(node, ast.Return) and function is not None and function.body[-1] is not node:
        yield (source.replace(node, "pass"),)


def swap_break_continue(source: Source, node: ast.AST) -> Iterator[Edits]:
    """`break` becomes `continue`, and the other way round."""
    if isinstance(node, ast.Break | ast.Continue):
        yield (source.replace(node, "continue" if isinstance(node, ast.Break) else "break"),)
