"""The operator for the arguments of a call: two neighbours change their places. Pure."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from poolproof.harness.mutation.operators.source import Edit, Edits, Source


def swap_arguments(source: Source, node: ast.AST) -> Iterator[Edits]:
    """`f(x, y)` becomes `f(y, x)`, for each pair of neighbours without a name or a star."""
    if not isinstance(node, ast.Call):
        return
    for one, other in zip(node.args, node.args[1:], strict=False):
        if isinstance(one, ast.Starred) or isinstance(other, ast.Starred):
            continue
        texts = source.text_of(one), source.text_of(other)
        if texts[0] != texts[1]:
            yield (
                Edit(*source.span(one), _in_place(other, texts[1])),
                Edit(*source.span(other), _in_place(one, texts[0])),
            )


def _in_place(node: ast.expr, text: str) -> str:
    # A generator without its own parentheses may be the only argument of a call alone.
    return f"({text})" if isinstance(node, ast.GeneratorExp) and not text.startswith("(") else text
