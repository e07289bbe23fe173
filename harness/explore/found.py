"""Remembers generated scenarios that a pool has failed, so that later runs try them first.

One file of lines `POOL SCENARIO`, next to the index of benches; the newest lines are last.
"""

from __future__ import annotations

import os
from pathlib import Path

from poolproof.harness.bench.records.index import store_folder
from poolproof.harness.explore.generated import NAME

FOUND_FILE = "explored.txt"
MOST_FIRST = 5
"""How many remembered scenarios a run tries first."""


class Found:
    """The remembered scenarios in this folder; without one, in that of the baselines."""

    def __init__(self, folder: Path | None = None) -> None:
        self._path = (folder or store_folder()) / FOUND_FILE

    def of(self, pool: str) -> list[str]:
        """Return the names of the scenarios that found something in this pool, the newest first, at most MOST_FIRST."""
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            return []
        pairs = [line.rpartition(" ")[::2] for line in reversed(lines)]
        names = [name for of, name in pairs if of == pool and NAME.fullmatch(name)]
        return list(dict.fromkeys(names))[:MOST_FIRST]

    def add(self, pool: str, scenario: str) -> None:
        """Remember a scenario for this pool. Does nothing if the folder cannot be written."""
        if scenario in self.of(pool)[:1]:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError:
            return
        try:
            os.write(fd, f"{pool} {scenario}\n".encode())
        finally:
            os.close(fd)
