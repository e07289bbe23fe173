"""A worker's journal: what it was at work on and when, readable though it was killed in the middle of a line."""

from __future__ import annotations

import gzip
import os
import stat
from pathlib import Path

import pytest

from poolproof.bridge.worker import journal
from poolproof.bridge.worker.intervals import read_journals
from poolproof.bridge.worker.journal import Journal


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that shows 10, 20, 30, …"""
    now = iter(range(10, 10_000, 10))
    monkeypatch.setattr(journal, "now_ns", lambda: next(now))


@pytest.mark.usefixtures("ticking")
def test_an_interval_runs_from_begin_to_end(tmp_path: Path) -> None:
    one = Journal(3, str(tmp_path))
    entry = one.begin(7, "echo", "n-1")
    one.end(entry, ok=True)
    (interval,) = read_journals(tmp_path)
    assert (interval.worker_id, interval.pid, interval.request_id, interval.command) == (3, os.getpid(), 7, "echo")
    assert (interval.nonce, interval.start_ns, interval.end_ns, interval.ok) == ("n-1", 10, 20, True)


@pytest.mark.usefixtures("ticking")
def test_a_request_that_was_never_finished_has_no_end(tmp_path: Path) -> None:
    one = Journal(3, str(tmp_path))
    one.end(one.begin(1, "fail", None), ok=False)
    one.begin(2, "sleep", 5)
    failed, unfinished = read_journals(tmp_path)
    assert (failed.request_id, failed.end_ns, failed.ok) == (1, 20, False)
    assert (unfinished.request_id, unfinished.start_ns, unfinished.end_ns, unfinished.ok) == (2, 30, None, None)


@pytest.mark.usefixtures("ticking")
def test_one_request_id_used_twice_is_two_intervals(tmp_path: Path) -> None:
    one = Journal(3, str(tmp_path))
    for _ in range(2):
        one.end(one.begin(1, "echo", None), ok=True)
    assert [(interval.start_ns, interval.end_ns) for interval in read_journals(tmp_path)] == [(10, 20), (30, 40)]


@pytest.mark.parametrize(
    ("nonce", "kept"), [("a", "a"), (5, 5), (0, 0), (None, None), (True, None), (1.5, None), ([1], None), ({}, None)]
)
def test_only_a_nonce_that_can_be_compared_is_kept(tmp_path: Path, nonce: object, kept: object) -> None:
    Journal(1, str(tmp_path)).begin(1, "echo", nonce)
    assert read_journals(tmp_path)[0].nonce == kept
    assert type(read_journals(tmp_path)[0].nonce) is type(kept)


def test_without_a_directory_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for directory in (None, ""):
        silent = Journal(1, directory)
        entry = silent.begin(1, "echo", None)
        assert entry is None
        silent.end(entry, ok=True)
    assert list(tmp_path.iterdir()) == []


def test_a_line_is_in_the_file_at_once(tmp_path: Path) -> None:
    Journal(4, str(tmp_path)).begin(1, "echo", None)
    path = tmp_path / f"{os.getpid()}-4.jsonl"
    assert path.read_bytes().endswith(b"\n")
    assert stat.S_IMODE(path.stat().st_mode) & 0o022 == 0


@pytest.mark.usefixtures("ticking")
def test_intervals_of_all_workers_are_in_order_of_their_start(tmp_path: Path) -> None:
    first, second = Journal(1, str(tmp_path)), Journal(2, str(tmp_path))
    late = second.begin(1, "a", None)
    early = first.begin(2, "b", None)
    second.end(late, ok=True)
    first.end(early, ok=True)
    assert [(interval.worker_id, interval.start_ns) for interval in read_journals(tmp_path)] == [(2, 10), (1, 20)]


@pytest.mark.parametrize("torn", [b'{"request_id":9,"comm', b"", b"\0\0\0", b"[]", b'{"request_id":"x"}', b"\xff\xfe"])
def test_a_torn_line_costs_only_itself(tmp_path: Path, torn: bytes) -> None:
    line = b'{"request_id":1,"command":"echo","nonce":null,"start_ns":5}'
    (tmp_path / "12-3.jsonl").write_bytes(line + b"\n" + torn)
    (interval,) = read_journals(tmp_path)
    assert (interval.pid, interval.worker_id, interval.request_id) == (12, 3, 1)


@pytest.mark.parametrize("name", ["notes-a.jsonl", "a-1.jsonl", "12-x.jsonl", "12-3.json", "12.jsonl", "12-3-4.jsonl"])
def test_files_of_other_names_are_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b'{"request_id":1,"command":"echo","nonce":null,"start_ns":5}\n')
    assert read_journals(tmp_path) == []


def test_no_journals_are_no_intervals(tmp_path: Path) -> None:
    assert read_journals(tmp_path) == []


def test_a_packed_journal_is_read_once_even_beside_the_plain_one(tmp_path: Path) -> None:
    journal = Journal(1, str(tmp_path))
    journal.end(journal.begin(1, "echo", "n"), ok=True)
    journal.close()
    [plain] = tmp_path.iterdir()
    packed = plain.with_name(f"{plain.name}.gz")
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    [both] = read_journals(tmp_path)
    plain.unlink()
    assert read_journals(tmp_path) == [both]
