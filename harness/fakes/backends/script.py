"""A script: what a worker is to answer to which request, in place of what its handlers would.

Pure. Lines are tried in their order; one that has been used as often as it may is passed over.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from poolproof.harness.history.equality import same_json
from poolproof.harness.model.errors import UsageError


class ScriptLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """To `command` with at least these `args` say `answer`, or fail with `error`; at most `times` (0: always)."""

    command: str
    args: dict[str, Any] = {}
    answer: Any = None
    error: str = ""
    times: int = 0

    def fits(self, command: str, args: dict[str, Any]) -> bool:
        """Whether it speaks of this request."""
        if command != self.command:
            return False
        return all(name in args and same_json(value, args[name]) for name, value in self.args.items())


class Script:
    """The lines, and how often each was used."""

    def __init__(self, lines: Sequence[ScriptLine] = ()) -> None:
        self.lines = tuple(lines)
        self._used = [0] * len(self.lines)

    def find(self, command: str, args: dict[str, Any]) -> ScriptLine | None:
        """The first line for this request that may still be used; it is used now."""
        for number, line in enumerate(self.lines):
            if line.fits(command, args) and (not line.times or self._used[number] < line.times):
                self._used[number] += 1
                return line
        return None

    def to_json(self) -> bytes:
        """For `read_script` in another process."""
        return msgspec.json.encode(self.lines)


def read_script(text: bytes, where: str) -> Script:
    """The script in this JSON. Raises UsageError that names `where` and what is wrong."""
    try:
        return Script(msgspec.json.decode(text, type=tuple[ScriptLine, ...]))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{where} is no script: {error}") from error
