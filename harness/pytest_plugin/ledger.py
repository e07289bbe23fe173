"""The ledger of a pytest session: the planned items, their results, and a check that the two agree.

Every process appends to its own files in the session's folder, so a killed process loses no finished result. Knows
nothing of pytest.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from poolproof.harness.compare.comparison import RunResult
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.run.retention import make_folder

Record = TypeVar("Record")


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """One collected item. `file` defines its scenario."""

    node: str
    scenario: str
    pool: str
    file: str


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one item."""

    node: str
    result: RunResult


class Ledger:
    """The folder of one session, written by the process `who`. The first record makes the folder."""

    def __init__(self, folder: Path, who: str) -> None:
        self.folder = folder
        self.runs = folder / "runs"
        self._who = f"{who}-{os.getpid()}"

    def plan(self, items: Iterable[Planned]) -> None:
        """Record the items that this process has collected."""
        for item in items:
            self._append("plan", item)

    def receive(self, node: str, result: RunResult) -> None:
        """Record a result; it is on disk when this returns."""
        self._append("results", Received(node=node, result=result))

    def _append(self, kind: str, record: Planned | Received) -> None:
        folder = self.folder / "ledger"
        make_folder(self.folder)
        folder.mkdir(exist_ok=True)
        with (folder / f"{kind}-{self._who}.jsonl").open("ab") as file:
            file.write(msgspec.json.encode(record) + b"\n")

    def planned(self) -> dict[str, Planned]:
        """The items that any process has planned, by node."""
        return {item.node: item for line in self._lines("plan") if (item := _decode(line, Planned)) is not None}

    def received(self) -> dict[str, RunResult]:
        """The results that any process has recorded, by node.

        If an item was repeated, a failure counts, even if it did not show again; otherwise the last result counts.
        """
        found: dict[str, RunResult] = {}
        for item in (_decode(line, Received) for line in self._lines("results")):
            if item is not None and (item.node not in found or found[item.node].verdict is not Verdict.FAIL):
                found[item.node] = item.result
        return found

    def _lines(self, kind: str) -> list[bytes]:
        paths = sorted((self.folder / "ledger").glob(f"{kind}-*.jsonl"))
        return [line for path in paths for line in path.read_bytes().splitlines()]


def _decode(line: bytes, kind: type[Record]) -> Record | None:
    try:
        return msgspec.json.decode(line, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None  # incomplete, since the process was killed in the middle of a write


def reconcile(
    planned: Mapping[str, Planned], received: Mapping[str, RunResult], outcomes: Mapping[str, frozenset[str]]
) -> list[str]:
    """A sentence for each item whose plan, result and reported outcomes (by node) do not agree."""
    told = []
    for node in planned:
        seen = outcomes.get(node, frozenset())
        if not seen:
            kept = "its result is on disk" if node in received else "no result is on disk"
            told.append(f"{node} was planned, but pytest received no outcome of it; {kept}")
        elif "passed" in seen and not seen & {"failed", "skipped"} and node not in received:
            told.append(f"{node} is reported as passed, but has no result on disk")
    told += [f"{node} has a result, but was never planned" for node in received if node not in planned]
    return told
