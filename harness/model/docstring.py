"""Reads docstrings, also where the interpreter drops them (-OO): then from the source. Pure."""

from __future__ import annotations

import ast
import inspect
import textwrap


def docstring_of(thing: object) -> str:
    """Return the docstring of a function or class, or of its base class; empty if there is none."""
    document = vars(thing).get("__doc__") if isinstance(thing, type) else getattr(thing, "__doc__", None)
    if document is None:
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(thing)))  # type: ignore[arg-type]
        except (OSError, TypeError, SyntaxError):
            tree = ast.Module([], [])
        for node in tree.body[:1]:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                document = ast.get_docstring(node)
    return inspect.cleandoc(document) if document else inspect.getdoc(thing) or ""


def summary_of(thing: object, default: str = "") -> str:
    """Return the first line of the docstring, or `default`."""
    return next(iter(docstring_of(thing).splitlines()), default)
