"""Lets stored results and plans name code, but only what the user names on the command line is imported or executed.

Results are sent to other people. Reading a result must not run code that its author has chosen.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection
from pathlib import Path

from poolproof.bridge.redaction import redact_command
from poolproof.harness.model.errors import UsageError


class Named:
    """The files, pools and commands that the user has named on the command line."""

    def __init__(self, words: Collection[str]) -> None:
        self._words = frozenset(words)
        self._files = frozenset(_file(word) for word in words)

    def require_scenario(self, word: str) -> None:
        """Raise UsageError if the scenario comes from a Python file that the user has not named."""
        path = _file(word)
        if path.suffix == ".py" and path not in self._files:
            raise UsageError(
                f"the stored results name the scenario file {path}, which would be imported; if you trust it, add "
                f"--import {path}"
            )

    def require_pool(self, name: str) -> None:
        """Raise UsageError for a pool package.module:factory or driver:COMMAND that the user has not named."""
        factory = name
        while factory.startswith("slower:"):
            factory = factory.partition(":")[2].partition(":")[2]
        if ":" in factory and not {name, factory} & self._words:
            raise UsageError(
                f"the stored results name the pool {name!r}, which would be imported or executed; if you trust it, "
                f"add --import {shlex.quote(factory)}"
            )

    def require_command(self, command: str) -> None:
        """Raise UsageError for a worker command that the user has not named. Stored commands have no credentials."""
        if command and command not in {redact_command(word) for word in self._words}:
            raise UsageError(
                f"the stored results name the worker command {command!r}, which would be executed; if you trust it, "
                "give it by --worker-command"
            )


def _file(word: str) -> Path:
    return Path(word.partition("::")[0]).resolve()
