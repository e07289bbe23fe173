"""The journal reader: each look returns what workers have written since the last one, whole lines only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from poolproof.bridge.worker.journal import Entry
from poolproof.harness.run.recording.journal_reader import JournalReader
from poolproof.harness.run.recording.worker_tracker import WorkerTracker


class Ear:
    """Writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[object, ...]] = []

    def begun(self, nonce: str, *, pid: int, worker: int, at_ns: int) -> None:
        self.heard.append(("begun", nonce, pid, worker, at_ns))

    def answered(self, nonce: str, at_ns: int) -> None:
        self.heard.append(("answered", nonce, at_ns))


@pytest.fixture
def ear() -> Ear:
    return Ear()


@pytest.fixture
def roll() -> WorkerTracker:
    return WorkerTracker()


@pytest.fixture
def follower(tmp_path: Path, roll: WorkerTracker, ear: Ear) -> Iterator[JournalReader]:
    """A follower that is always stopped."""
    follower = JournalReader(tmp_path, roll, ear)
    yield follower
    follower.stop()


def line(nonce: str | int | None, start_ns: int, end_ns: int | None = None) -> bytes:
    return msgspec.json.encode(Entry(1, "echo", nonce, start_ns, end_ns, None if end_ns is None else True)) + b"\n"


def write(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_a_begin_and_an_end_are_told_once_each(
    tmp_path: Path, follower: JournalReader, roll: WorkerTracker, ear: Ear
) -> None:
    journal = tmp_path / "33-3.jsonl"
    write(journal, line("a", 10))
    follower.look()
    assert ear.heard == [("begun", "a", 33, 3, 10)]
    assert (roll.busiest(), roll.journalled, roll.seen) == ((33, 3), True, {33})
    write(journal, line("a", 10, 20))
    follower.look()
    follower.look()
    assert ear.heard == [("begun", "a", 33, 3, 10), ("answered", "a", 20)]
    assert roll.busiest() is None


def test_a_line_counts_when_it_is_whole(tmp_path: Path, follower: JournalReader, ear: Ear) -> None:
    whole = line("a", 10) + line("b", 11)
    for place in range(len(whole)):
        write(tmp_path / "33-3.jsonl", whole[place : place + 1])
        follower.look()
        assert len(ear.heard) == whole[: place + 1].count(b"\n")
    assert [heard[1] for heard in ear.heard] == ["a", "b"]


def test_lines_that_are_none_and_other_files_are_left_alone(
    tmp_path: Path, follower: JournalReader, roll: WorkerTracker, ear: Ear
) -> None:
    for name in ("notes.txt", "x-1.jsonl", "1-.jsonl"):
        write(tmp_path / name, line("a", 10))
    follower.look()
    assert (ear.heard, roll.journalled) == ([], False)
    write(tmp_path / "33-3.jsonl", b"\xff{\n[]\n" + line(None, 10) + line(7, 10) + line("b", 12))
    follower.look()
    assert ear.heard == [("begun", "b", 33, 3, 12)]


def test_the_thread_looks_by_itself_and_a_stop_tells_the_rest(
    tmp_path: Path, follower: JournalReader, ear: Ear, roll: WorkerTracker
) -> None:
    follower.start()
    write(tmp_path / "33-3.jsonl", line("a", 10))
    write(tmp_path / "34-4.jsonl", line("b", 11))
    follower.stop()
    assert {heard[1] for heard in ear.heard} == {"a", "b"}
    write(tmp_path / "33-3.jsonl", line("c", 12))
    follower.look()
    follower.stop()
    assert len(ear.heard) == 2
