"""Operators for blocks: a block that runs without its lock, and a `finally` that does nothing. Pure."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from poolproof.harness.mutation.operators.source import Edits, Source

LOCKS = ("lock", "mutex", "condition", "guard")
"""A name that ends with one of these words is the name of a lock."""


def remove_lock(source: Source, node: ast.AST) -> Iterator[Edits]:
    """The body of `with lock:` runs without the lock."""
    if not isinstance(node, ast.With) or len(node.items) != 1:
        return
    lock = node.items[0].context_expr
    name = lock.attr if isinstance(lock, ast.Attribute) else lock.id if isinstance(lock, ast.Name) else ""
    if name.lower().endswith(LOCKS) and node.items[0].optional_vars is None:
        yield (source.replace_span(source.span(node)[0], source.span(lock)[1], "if True"),)


def empty_finally(source: Source, node: ast.AST) -> Iterator[Edits]:
    """The body of `finally` does nothing."""
    if isinstance(node, ast.Try) and node.finalbody:
        start, end = source.span(node.finalbody[0])[0], source.span(node.finalbody[-1])[1]
        yield (source.replace_span(start, end, "pass"),)
