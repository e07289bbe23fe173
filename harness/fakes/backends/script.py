"""A script: the answers of a worker to certain requests, in place of the answers of its handlers.

Pure. Lines are tried in their order; a line that was used up is skipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from poolproof.harness.history.equality import same_json
from poolproof.harness.model.errors import UsageError


class ScriptLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Answers `command` with at least these `args` by `answer`, or fails it with `error`, at most `times` times (0:
    always).
    """

    command: str
    args: dict[str, Any] = {}
    answer: Any = None
    error: str = ""
    times: int = 0

    def fits(self, command: str, args: dict[str, Any]) -> bool:
        """Return whether the line applies to this request."""
        if command != self.command:
            return False
        return all(name in args and same_json(value, args[name]) for name, value in self.args.items())


class Script:
    """The lines of a script, and how often each was used."""

    def __init__(self, lines: Sequence[ScriptLine] = ()) -> None:
        self.lines = tuple(lines)
        self._used = [0] * len(self.lines)

    def find(self, command: str, args: dict[str, Any]) -> ScriptLine | None:
        """Return the first line that applies to this request and is not used up, and count the use."""
        for number, line in enumerate(self.lines):
            if line.fits(command, args) and (not line.times or self._used[number] < line.times):
                self._used[number] += 1
                return line
        return None

    def to_json(self) -> bytes:
        """Encode the script for `read_script` in another process."""
        return msgspec.json.encode(self.lines)


def read_script(text: bytes, where: str) -> Script:
    """Read a script from JSON. Raises UsageError, which names `where` and what is wrong."""
    try:
        return Script(msgspec.json.decode(text, type=tuple[ScriptLine, ...]))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{where} is no script: {error}") from error
