"""Deals the calls outside sessions of a canary: of each hundred calls of a command, each rank 0 to 99 comes once.

Pure; the caller gives the random numbers. A call with a rank below the canary's percentage goes to v2. Each hundred of
each command has an order of its own, drawn at random: so neither the first calls of many processes nor commands that
take turns are all on one pool, and a larger percentage keeps the calls of a smaller one.
"""

from __future__ import annotations

from random import Random

MOST_COMMANDS = 1000
"""How many commands have an order of their own; all further commands share one order."""
OTHERS = ""


class Spread:
    """The order of one process. Not thread-safe: the caller holds a lock."""

    def __init__(self, numbers: Random) -> None:
        self._numbers = numbers
        self._left: dict[str, list[int]] = {}

    def rank(self, command: str) -> int:
        """Return the rank of the next call of `command`."""
        left = self._left.get(command)
        if not left:
            if left is None and len(self._left) >= MOST_COMMANDS:
                command = OTHERS
                left = self._left.get(command)
            if not left:
                left = list(range(100))
                self._numbers.shuffle(left)
                self._left[command] = left
        return left.pop()
