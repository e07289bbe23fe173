"""The state file: whole or v1, numbered, locked, and every change in the log."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from poolproof.migration import Mode, Position, StateConflict, StateError, StateFile


@pytest.fixture
def state(tmp_path: Path) -> StateFile:
    """A state file that is not there yet."""
    return StateFile(tmp_path / "state.json")


def test_what_is_written_is_read_with_who_and_why(state: StateFile) -> None:
    assert state.read() is None
    state.write(Position(Mode.SHADOW), who="anna", why="we begin", expected=0)
    state.write(Position.canary(25), who="ben", why="all agreed")
    entry = state.read()
    assert entry is not None
    assert (entry.position, entry.sequence, entry.who, entry.why) == (Position.canary(25), 2, "ben", "all agreed")
    told = [(change.sequence, change.before, change.after, change.who, change.why) for change in state.log()]
    assert told == [(1, "none", "shadow", "anna", "we begin"), (2, "shadow", "canary:25", "ben", "all agreed")]


def test_a_change_that_somebody_else_came_before_is_refused(state: StateFile) -> None:
    state.write(Position(Mode.SHADOW), who="anna", why="first")
    with pytest.raises(StateConflict, match="its entry has the number 1, not 0"):
        state.write(Position(Mode.V2), who="ben", why="late", expected=0)
    assert len(state.log()) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 200,
        b'{"format":1,"sequence":3,"mode":"can',
        b'{"format":1,"sequence":3,"mode":"canary","percent":0}',
        b'{"format":1,"sequence":3,"mode":"v3"}',
        b'{"format":2,"sequence":3,"mode":"v2"}',
        b'{"format":1,"sequence":0,"mode":"v2"}',
        b'{"format":1,"sequence":3,"mode":"v2","colour":"red"}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_file_is_v1_and_says_so_and_the_next_change_mends_it(state: StateFile, content: bytes) -> None:
    state.write(Position(Mode.V2), who="anna", why="before")
    state.path.write_bytes(content)
    entry = state.read()
    assert entry is not None
    assert entry.position == Position()
    assert "is damaged" in entry.trouble
    mended = state.write(Position(Mode.SHADOW), who="ben", why="mended")
    assert (mended.sequence, state.read()) == (2, mended)
    assert state.log()[-1].before == "damaged"


def test_every_prefix_of_a_file_is_damaged_and_none_is_another_position(state: StateFile) -> None:
    state.write(Position.canary(25), who="anna", why="a reason")
    data = state.path.read_bytes()
    for size in range(len(data) - 2):
        state.path.write_bytes(data[:size])
        entry = state.read()
        assert entry is not None
        assert entry.trouble
        assert entry.position == Position()


def test_a_log_line_that_was_cut_off_spoils_no_other(state: StateFile) -> None:
    state.write(Position(Mode.SHADOW), who="anna", why="one")
    with state.log_path.open("ab") as log:
        log.write(b'{"sequence": 2, "at"')
    state.write(Position(Mode.V2), who="anna", why="two")
    assert [change.why for change in state.log()] == ["one", "two"]


def test_a_file_that_cannot_be_written_changes_nothing_and_leaves_nothing(state: StateFile) -> None:
    state.write(Position(Mode.SHADOW), who="anna", why="one")
    gone = StateFile(state.path.parent / "nowhere" / "state.json")
    with pytest.raises(StateError, match=r"cannot be written: there is no folder .*nowhere"):
        gone.write(Position(), who="anna", why="two")
    assert sorted(path.name for path in state.path.parent.iterdir()) == [
        "state.json",
        "state.json.lock",
        "state.json.log",
    ]


def test_a_locked_file_is_an_error_after_a_while(state: StateFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poolproof.migration.state.LOCK_WAIT_S", 0.05)
    with state._locked(), pytest.raises(StateError, match=r"was locked by another process for 0\.05 s"):
        state.write(Position(), who="anna", why="two")


def test_readers_see_whole_files_while_processes_write_and_no_number_comes_twice(state: StateFile) -> None:
    code = (
        "import sys\n"
        "from poolproof.migration.state import StateFile\n"
        "from poolproof.migration.plan import Position\n"
        "for n in range(1, 16): StateFile(sys.argv[1]).write(Position.canary(n), who=sys.argv[2], why='w' * 50 * n)"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, os.fspath(state.path), name], stderr=subprocess.PIPE)
        for name in ("a", "b")
    ]
    troubles: list[str] = []
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            entry = state.read()
            if entry is not None and entry.trouble:
                troubles.append(entry.trouble)

    reader = threading.Thread(target=read)
    reader.start()
    told = [writer.communicate(timeout=60)[1] for writer in writers]
    over.set()
    reader.join()
    assert [writer.returncode for writer in writers] == [0, 0], told
    assert not troubles
    assert [change.sequence for change in state.log()] == list(range(1, 31))
