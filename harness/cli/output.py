"""Writes to the terminal: no text that a worker, a pool, a stored file or a file's name has chosen can control it.

Every command of the command line writes by these functions, so no command has to know where a text comes from.
"""

from __future__ import annotations

import sys
from typing import Any

import msgspec
from rich.console import Console
from rich.markup import escape

from poolproof.bridge.safe_text import json_text, one_line


class Terminal(Console):
    """A console on which each printed text is one line that is shown as it is, except the console's own markup."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - as rich has it
        super().__init__(emoji=False, **options)  # a pool may be called own:new:one

    def print(self, *objects: Any, **options: Any) -> None:  # noqa: ANN401 - as rich has it
        """Print renderables, or texts of one line."""
        super().print(*(one_line(given) if isinstance(given, str) else given for given in objects), **options)


def shown(text: object) -> str:
    """Return the text as one line that is not read as markup, to be part of a text with markup or of a table."""
    return escape(one_line(text))


def say(*lines: object) -> None:
    """Write each text as one line to stdout."""
    sys.stdout.writelines(f"{one_line(line)}\n" for line in lines)


def warn(*lines: object) -> None:
    """Write each text as one line to stderr."""
    sys.stderr.writelines(f"{one_line(line)}\n" for line in lines)


def say_json(value: Any, *, indent: int = 0) -> None:  # noqa: ANN401 - what msgspec can encode
    """Write a value as JSON to stdout, in one line unless `indent` is above 0."""
    encoded = msgspec.json.encode(value)
    if indent:
        encoded = msgspec.json.format(encoded, indent=indent)
    sys.stdout.write(json_text(encoded) + "\n")


def say_stored_json(data: bytes) -> None:
    """Write stored JSON to stdout as it is, but for characters that are not printable."""
    sys.stdout.write(json_text(data))
