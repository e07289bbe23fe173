"""Finds every place of a source that an operator can change, in the order of the text.

Pure. Type names, code for type checkers only, decorators, assertions and `__all__` are left alone: a change there
has no effect in any run, or is no bug of the product.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

import msgspec

from poolproof.harness.mutation.operators.arguments import swap_arguments
from poolproof.harness.mutation.operators.blocks import empty_finally, remove_lock
from poolproof.harness.mutation.operators.comparisons import reverse_comparison, shift_bound, shift_boundary
from poolproof.harness.mutation.operators.conditions import negate_condition, swap_and_or
from poolproof.harness.mutation.operators.constants import (
    change_by_one,
    change_default,
    change_string,
    flip_flag,
    scale_number,
)
from poolproof.harness.mutation.operators.source import Edits, Source
from poolproof.harness.mutation.operators.statements import (
    drop_raise,
    drop_return,
    drop_statement,
    swap_break_continue,
)

Operator = Callable[[Source, ast.AST], Iterator[Edits]]
"""Yields the edits of each mutation of a node; nothing if the operator does not apply to it."""

OPERATORS: dict[str, Operator] = {
    operator.__name__: operator
    for operator in (
        negate_condition,
        swap_and_or,
        shift_boundary,
        reverse_comparison,
        shift_bound,
        change_by_one,
        scale_number,
        change_string,
        flip_flag,
        change_default,
        drop_statement,
        drop_raise,
        drop_return,
        swap_break_continue,
        remove_lock,
        empty_finally,
        swap_arguments,
    )
}


class Place(msgspec.Struct, frozen=True):
    """One mutation of one file.

    `statement` is the text of the statement on one line, and `change` the old and the new text of the changed part.
    `shown_by` are the lines of which one must run for the mutation to take effect: the statement's own first line, or
    for the default of a parameter the lines of its function.
    """

    operator: str
    file: str
    line: int
    statement: str
    change: str
    edits: Edits
    shown_by: tuple[int, ...]

    @property
    def package(self) -> str:
        """The top-level folder of the file."""
        return self.file.partition("/")[0]

    @property
    def key(self) -> tuple[str, str, str, str]:
        """The key that identifies the mutation even when lines have moved."""
        return self.operator, self.file, self.statement, self.change


def find_places(file: str, text: str, operators: Mapping[str, Operator] = MappingProxyType(OPERATORS)) -> list[Place]:
    """Find all mutations of a file. A few may not be valid Python; `mutate` finds these."""
    source = Source(text)
    found = [
        _as_place(source, file, name, node, edits)
        for node in _walk(source.tree)
        for name, operator in operators.items()
        for edits in operator(source, node)
    ]
    return sorted(found, key=lambda place: (place.line, place.operator, place.edits[0].start))


def mutate(text: str, place: Place) -> str | None:
    """The text of the file with the mutation; None if that is not valid Python."""
    mutated = Source(text).apply(place.edits)
    try:
        compile(mutated, place.file, "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return None
    return mutated


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    left_out: list[object] = []
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            left_out = [*node.decorator_list, node.returns]
        case ast.ClassDef():
            left_out = [*node.decorator_list, *node.bases, *node.keywords]
        case ast.arg() | ast.AnnAssign():
            left_out = [node.annotation]
        case ast.Assert():
            return
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return
        case ast.Assign(targets=[ast.Name(id="__all__")]):
            return
    yield node
    for child in ast.iter_child_nodes(node):
        if not any(child is each for each in left_out):
            yield from _walk(child)


def _as_place(source: Source, file: str, operator: str, node: ast.AST, edits: Edits) -> Place:
    if isinstance(node, ast.arguments):
        function = source.parent(node)
        assert isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        body: list[ast.stmt] = function.body if isinstance(function.body, list) else [source.statement(function)]
        lines = tuple(
            sorted({inner.lineno for outer in body for inner in ast.walk(outer) if isinstance(inner, ast.stmt)})
        )
    else:
        lines = (source.statement(node).lineno,)
    statement = source.statement(node)
    start, end = source.span(statement)
    inner = getattr(statement, "body", None)
    if isinstance(inner, list) and inner and isinstance(inner[0], ast.stmt):  # of a block, what is before its body
        end = source.span(inner[0])[0]
    before = " … ".join(source.part(edit.start, edit.end) for edit in edits)
    after = " … ".join(edit.text for edit in edits)
    line = source.line_of(min(edits).start)
    return Place(
        operator=operator,
        file=file,
        line=line,
        statement=_on_one_line(source.part(start, end)),
        change=f"{_on_one_line(before)} -> {_on_one_line(after)}",
        edits=edits,
        shown_by=lines,
    )


def _on_one_line(text: str) -> str:
    return " ".join(text.split())
