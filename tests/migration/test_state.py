"""The state file: whole or v1, numbered, locked, and every change in the log."""

from __future__ import annotations

import errno
import itertools
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

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
        b"[" * 60_000,
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


def test_a_stamp_changes_with_the_content_and_with_the_permissions(state: StateFile) -> None:
    stamps = [state.stamp()]
    state.write(Position(Mode.SHADOW), who="anna", why="one")
    stamps.append(state.stamp())
    state.path.chmod(0)
    stamps.append(state.stamp())
    assert stamps[0] is None
    assert len(set(stamps)) == 3


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


def _no_space(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(("call", "done"), [("write", 0), ("write", 1), ("fsync", 0), ("fsync", 1), ("replace", 0)])
def test_a_change_that_a_full_disk_prevented_is_not_in_the_log(
    state: StateFile, monkeypatch: pytest.MonkeyPatch, call: str, done: int
) -> None:
    state.write(Position(Mode.SHADOW), who="anna", why="one")
    before = {path.name: path.read_bytes() for path in state.path.parent.iterdir()}
    real, calls = getattr(os, call), itertools.count()

    def fill(*args: Any, **options: Any) -> Any:
        return real(*args, **options) if next(calls) < done else _no_space()

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fill)
        with pytest.raises(StateError, match="cannot be written: No space left on device"):
            state.write(Position(Mode.V2), who="ben", why="two")
    assert {path.name: path.read_bytes() for path in state.path.parent.iterdir()} == before
    entry = state.read()
    assert entry is not None
    assert [change.sequence for change in state.log()] == [entry.sequence]


def test_a_log_that_takes_only_a_part_of_a_line_keeps_no_part(state: StateFile) -> None:
    state.write(Position(Mode.SHADOW), who="anna", why="one")
    for _ in range(3):  # so that the log is longer than a state file
        state.write(Position(Mode.SHADOW), who="anna", why="w" * 200)
    size = state.log_path.stat().st_size
    # The kernel refuses what goes beyond this size: the new state file fits, the log does not.
    code = f"""if True:
        import resource, signal, sys
        from poolproof.migration import Mode, Position, StateError, StateFile
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, ({size + 40}, {size + 40}))
        try:
            StateFile(sys.argv[1]).write(Position(Mode.V2), who="", why="x" * 20)
        except StateError as error:
            print(error)"""
    done = subprocess.run([sys.executable, "-c", code, state.path], capture_output=True, text=True, timeout=60)
    assert "cannot be written: File too large" in done.stdout, done.stderr
    assert state.log_path.stat().st_size == size
    entry = state.read()
    assert entry is not None
    assert (entry.mode, entry.sequence) == (Mode.SHADOW, 4)


def _plant(path: Path, kind: str) -> None:
    match kind:
        case "FIFO":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
        case "link":
            target = path.with_name("target")
            target.write_text("precious")
            path.symlink_to(target)
        case "device":
            path.symlink_to("/dev/zero")
        case "huge":
            with path.open("wb") as file:
                file.truncate(2**40)


KINDS = ["FIFO", "directory", "link", "device", "huge"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_can_be_no_state_file_is_v1_and_is_left_alone(state: StateFile, kind: str) -> None:
    _plant(state.path, kind)
    entry = state.read()
    assert entry is not None
    assert (entry.mode, entry.sequence) == (Mode.V1, 0)
    assert "cannot be read" in entry.trouble
    before = state.stamp()
    with pytest.raises(StateError):
        state.write(Position(Mode.V2), who="anna", why="one")
    assert state.stamp() == before
    assert not state.log_path.exists()
    assert kind == "huge" or not state.lock_path.exists(), "nothing is created beside a device"
    if kind == "link":
        assert state.path.with_name("target").read_text() == "precious"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", [".log", ".lock"])
def test_a_log_or_lock_that_is_something_else_ends_in_an_error(state: StateFile, kind: str, suffix: str) -> None:
    state.write(Position(Mode.SHADOW), who="anna", why="one")
    path = state.path.with_name(state.path.name + suffix)
    path.unlink()
    _plant(path, kind)
    if suffix == ".lock" and kind in ("FIFO", "huge"):
        state.write(Position(Mode.V2), who="anna", why="a lock needs no content")
        return
    with pytest.raises(StateError, match="cannot be"):
        state.write(Position(Mode.V2), who="anna", why="two")
    entry = state.read()
    assert entry is not None
    assert entry.mode is Mode.SHADOW
    if kind == "link":
        assert state.path.with_name("target").read_text() == "precious"


def test_what_a_narrow_umask_would_forbid_others_stays_lockable(state: StateFile) -> None:
    before = os.umask(0o077)
    try:
        state.write(Position(Mode.SHADOW), who="root", why="one")
    finally:
        os.umask(before)
    assert state.path.with_name("state.json.lock").stat().st_mode & 0o444 == 0o444
    assert state.path.stat().st_mode & 0o777 == 0o644


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files for others")
def test_a_change_by_root_leaves_every_file_to_the_applications_user(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 12345)
    state = StateFile(tmp_path / "state.json")
    for reason in ("begun", "changed"):
        state.write(Position(Mode.SHADOW), who="root", why=reason)
        assert {path.name: path.stat().st_uid for path in tmp_path.iterdir()} == dict.fromkeys(
            ("state.json", "state.json.lock", "state.json.log"), 12345
        )
