"""A Python source with its syntax tree, and edits of its text that keep every line where it is.

Pure. Edits replace spans of bytes, so that all the rest of the file, its comments and its line numbers stay unchanged.
"""

from __future__ import annotations

import ast
import bisect
from collections.abc import Iterable, Iterator

import msgspec


class Edit(msgspec.Struct, frozen=True, order=True):
    """The bytes from `start` to `end` of a source are replaced by `text`."""

    start: int
    end: int
    text: str


Edits = tuple[Edit, ...]
"""The edits of one mutation. Their spans do not overlap."""


class Source:
    """One file. Raises SyntaxError if the text is not Python."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tree = ast.parse(text)
        self._data = text.encode()
        self._starts = [0]
        for line in self._data.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))
        self._parents = {child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)}

    def span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        """The first byte of the node and the byte after its last."""
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return (
            self._starts[node.lineno - 1] + node.col_offset,
            self._starts[node.end_lineno - 1] + node.end_col_offset,
        )

    def part(self, start: int, end: int) -> str:
        """The text between two bytes."""
        return self._data[start:end].decode()

    def text_of(self, node: ast.expr | ast.stmt) -> str:
        """The node's text as it stands in the file."""
        return self.part(*self.span(node))

    def line_of(self, start: int) -> int:
        """The number of the line with this byte."""
        return bisect.bisect_right(self._starts, start)

    def parent(self, node: ast.AST) -> ast.AST | None:
        """The node that contains this one; None for the module."""
        return self._parents.get(node)

    def ancestors(self, node: ast.AST) -> Iterator[ast.AST]:
        """The nodes that contain this one, the nearest first."""
        found = self.parent(node)
        while found is not None:
            yield found
            found = self.parent(found)

    def statement(self, node: ast.AST) -> ast.stmt:
        """The nearest statement that the node is, or is a part of."""
        for found in (node, *self.ancestors(node)):
            if isinstance(found, ast.stmt):
                return found
        raise ValueError("a module is part of no statement")

    def function(self, node: ast.AST) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
        """The nearest function that contains the node; None outside functions."""
        for found in self.ancestors(node):
            if isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef):
                return found
        return None

    def replace(self, node: ast.expr | ast.stmt, text: str) -> Edit:
        """Replace the node's text; line ends are added so that what follows stays on its line."""
        return self.replace_span(*self.span(node), text)

    def replace_span(self, start: int, end: int, text: str) -> Edit:
        """Replace the bytes from `start` to `end`; line ends are added so that what follows stays on its line."""
        missing = self._data[start:end].count(b"\n") - text.count("\n")
        return Edit(start, end, text + "\n" * missing)

    def apply(self, edits: Iterable[Edit]) -> str:
        """The text with the edits made. Raises ValueError if two of them overlap."""
        data, place = bytearray(), 0
        for edit in sorted(edits):
            if edit.start < place:
                raise ValueError("two edits overlap")
            data += self._data[place : edit.start] + edit.text.encode()
            place = edit.end
        return (data + self._data[place:]).decode()
