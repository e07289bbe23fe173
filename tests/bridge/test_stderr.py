"""The drain of stderr: a flood never blocks a worker, the last bytes stay, and a lost log costs only the log."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poolproof.bridge.processes.output.logs import MOST_LINE_BYTES, Log, Logs
from poolproof.bridge.processes.output.stderr import StderrDrain, StderrTail
from poolproof.bridge.processes.process import WorkerProcess
from tests.waiting import Holdings

Spawn = Callable[..., WorkerProcess]
Fake = Callable[[str], tuple[str, ...]]


def test_the_last_lines_are_given_as_text() -> None:
    tail = StderrTail(ring_bytes=1000)
    tail.append(b"".join(b"line %d\n" % number for number in range(20)))
    assert tail.text(lines=2) == "line 18\nline 19"
    assert len(tail.text().splitlines()) == 12


def test_a_tail_that_got_nothing_is_empty() -> None:
    assert StderrTail(ring_bytes=10).text() == ""
    assert StderrTail(ring_bytes=0).text() == ""


def test_a_short_last_line_does_not_push_out_what_still_fits() -> None:
    tail = StderrTail(ring_bytes=10)
    tail.append(b"12345678")
    tail.append(b"abc")
    assert tail.text() == "2345678abc"


@settings(deadline=None, database=None, max_examples=60)
@given(st.lists(st.text("abcdef", max_size=40)), st.integers(1, 50))
def test_the_ring_holds_exactly_the_last_bytes_however_they_came(pieces: list[str], ring_bytes: int) -> None:
    tail = StderrTail(ring_bytes=ring_bytes)
    for piece in pieces:
        tail.append(piece.encode())
    assert tail.text() == "".join(pieces)[-ring_bytes:]
    assert tail.total_bytes == len("".join(pieces))


@pytest.mark.parametrize("ring_bytes", [0, 1, 1000])
def test_a_ring_does_not_grow_without_end(ring_bytes: int) -> None:
    tail = StderrTail(ring_bytes=ring_bytes)
    for _ in range(5000):
        tail.append(b"x")
    assert tail.text() == "x" * ring_bytes
    assert len(tail._chunks) <= ring_bytes + 1


def test_what_is_no_text_is_shown_all_the_same() -> None:
    tail = StderrTail(ring_bytes=3)
    tail.append("aé".encode() + b"\xff")
    assert tail.text() == "é\ufffd"
    tail.append(b"b")
    assert tail.text() == "\ufffd\ufffdb", "a cut may fall into a letter"


def test_the_log_holds_the_first_bytes_and_is_capped(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    log = Logs(tmp_path, file_bytes=10).begin(path.name)
    tail = StderrTail(ring_bytes=4, log=log)
    for piece in (b"1234\n678", b"abc\nef", b"late"):
        tail.append(piece)
    assert path.read_bytes() == b"1234\n678ab"
    tail.finish()
    assert path.read_bytes() == b"1234\n678ab"
    assert tail.text() == "late"
    assert log.errors == 0
    assert tail.total_bytes == 18


def test_a_log_of_no_bytes_is_never_made(tmp_path: Path) -> None:
    tail = StderrTail(ring_bytes=4, log=Logs(tmp_path, file_bytes=0).begin("a.log"))
    tail.append(b"abc\n")
    tail.finish()
    assert not (tmp_path / "a.log").exists()


def test_a_log_that_cannot_be_written_costs_only_the_log(tmp_path: Path) -> None:
    log = Logs(tmp_path / "missing", file_bytes=1000).begin("a.log")
    tail = StderrTail(ring_bytes=100, log=log)
    tail.append(b"one\n")
    tail.append(b"two\n")
    assert tail.text() == "one\ntwo"
    assert log.errors == 2


@pytest.fixture
def folder_fd(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def _printed(logs: Logs, name: str, size_bytes: int) -> Log:
    log = logs.begin(name)
    log.write(b"x" * (size_bytes - 1) + b"\n"[:size_bytes])
    return log


def test_the_logs_of_the_living_and_of_the_last_ended_workers_stay(folder_fd: int, tmp_path: Path) -> None:
    logs = Logs(folder_fd, file_bytes=1000, kept=2, most_bytes=10_000)
    living = _printed(logs, "living.log", 5)
    for number in range(50):
        _printed(logs, f"{number}.log", 5).end()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["48.log", "49.log", "living.log"]
    living.write(b"mor\n")
    assert (tmp_path / "living.log").stat().st_size == 9


def test_all_logs_together_are_limited_and_old_ones_make_room(folder_fd: int, tmp_path: Path) -> None:
    logs = Logs(folder_fd, file_bytes=1000, kept=10, most_bytes=100)
    _printed(logs, "old.log", 40).end()
    _printed(logs, "recent.log", 40).end()
    living = _printed(logs, "living.log", 50)
    assert {path.name: path.stat().st_size for path in tmp_path.iterdir()} == {"recent.log": 40, "living.log": 50}
    living.write(b"y" * 499 + b"\n")
    other = _printed(logs, "other.log", 7)
    assert {path.name: path.stat().st_size for path in tmp_path.iterdir()} == {"living.log": 100}
    living.end()
    other.write(b"z" * 29 + b"\n")
    assert {path.name: path.stat().st_size for path in tmp_path.iterdir()} == {"other.log": 30}
    assert (living.errors, other.errors) == (0, 0)


def test_a_worker_that_printed_nothing_takes_no_place_among_the_logs(folder_fd: int, tmp_path: Path) -> None:
    logs = Logs(folder_fd, file_bytes=1000, kept=1, most_bytes=100)
    _printed(logs, "words.log", 5).end()
    for number in range(3):
        _printed(logs, f"{number}.log", 0).end()
    assert [path.name for path in tmp_path.iterdir()] == ["words.log"]


def test_a_log_has_no_credential_however_it_came(tmp_path: Path) -> None:
    logs = Logs(tmp_path, file_bytes=1_000_000, secrets=lambda: {"tr0ub4dor&3"})
    words = b"login with tr0ub4dor&3\nAuthorization: Bearer abcdefgh12345\npassword=hunter22 \xff\n"
    whole, bytewise = logs.begin("whole"), logs.begin("bytewise")
    whole.write(words)
    for place in range(len(words)):
        bytewise.write(words[place : place + 1])
    for log in (whole, bytewise):
        log.write(b"unended tr0ub4dor&3")
        log.end()
    hidden = b"login with [redacted]\nAuthorization: [redacted]\npassword=[redacted] \xff\nunended [redacted]"
    assert [(tmp_path / name).read_bytes() for name in ("whole", "bytewise")] == [hidden, hidden]


def test_a_line_without_an_end_is_written_in_parts(tmp_path: Path) -> None:
    log = Logs(tmp_path, file_bytes=1_000_000).begin("a.log")
    words = b"word " * (MOST_LINE_BYTES // 4)
    for part in (words, words, b"x" * 2 * MOST_LINE_BYTES):
        log.write(part)
    assert (tmp_path / "a.log").stat().st_size > 2 * len(words)
    log.end()
    assert (tmp_path / "a.log").read_bytes() == 2 * words + b"x" * 2 * MOST_LINE_BYTES


@pytest.mark.parametrize("kind", ["link", "FIFO"])
def test_a_log_is_never_written_through_a_link_and_a_pipe_does_not_block(tmp_path: Path, kind: str) -> None:
    (tmp_path / "victim").write_text("")
    path = tmp_path / "a.log"
    path.symlink_to(tmp_path / "victim") if kind == "link" else os.mkfifo(path)
    log = Logs(tmp_path, file_bytes=1000).begin(path.name)
    log.write(b"words\n")
    assert (tmp_path / "victim").read_text() == ""
    assert log.errors == 1


def test_a_reader_waits_for_the_end_but_not_for_longer(drain: StderrDrain) -> None:
    read_fd, write_fd = os.pipe()
    tail = StderrTail(ring_bytes=100)
    drain.watch(read_fd, tail)
    os.write(write_fd, b"before the end\n")
    closer = threading.Thread(target=os.close, args=(write_fd,))
    closer.start()
    assert tail.text(wait_s=10) == "before the end"
    closer.join(10)
    assert StderrTail(ring_bytes=100).text(wait_s=0.01) == ""


def test_a_flood_never_blocks_a_worker_and_its_last_words_stay(
    spawn: Spawn, fake: Fake, drain: StderrDrain, tmp_path: Path
) -> None:
    flood = 40_000_000
    body = f"""
chunk = b"f" * 100_000
for _ in range({flood} // len(chunk)):
    os.write(2, chunk)
os.write(2, b"\\nlast words\\n")
"""
    process = spawn(*fake(body))
    tail = StderrTail(ring_bytes=5000, log=Logs(tmp_path, file_bytes=1_000_000).begin("a.log"))
    drain.watch(process.stderr_fd, tail)
    assert process.exited(20)
    assert tail.text(wait_s=10).endswith("\nlast words")
    assert tail.total_bytes == flood + len("\nlast words\n")
    assert (tmp_path / "a.log").stat().st_size == 1_000_000
    assert len(tail.text()) == 5000 - len("\n")


def test_a_flood_of_one_worker_does_not_keep_anothers_words(spawn: Spawn, fake: Fake, drain: StderrDrain) -> None:
    noisy = spawn(*fake("while True: os.write(2, b'n' * 65536)"))
    drain.watch(noisy.stderr_fd, StderrTail(ring_bytes=100))
    quiet = spawn(*fake("os.write(2, b'quiet\\n')"), worker_id=2)
    tail = StderrTail(ring_bytes=100)
    drain.watch(quiet.stderr_fd, tail)
    assert tail.text(wait_s=10) == "quiet"


def test_a_drain_closes_a_descriptor_at_its_end(drain: StderrDrain) -> None:
    before = Holdings()
    read_fd, write_fd = os.pipe()
    tail = StderrTail(ring_bytes=100)
    drain.watch(read_fd, tail)
    os.close(write_fd)
    assert tail.text(wait_s=10) == ""
    before.require_none_gained()


def test_a_drain_that_is_closed_reads_once_more_and_leaves_nothing() -> None:
    before = Holdings()
    drain = StderrDrain("short")
    tails = [StderrTail(ring_bytes=100) for _ in range(3)]
    ends = []
    for number, tail in enumerate(tails):
        read_fd, write_fd = os.pipe()
        drain.watch(read_fd, tail)
        os.write(write_fd, b"words of %d" % number)
        ends.append(write_fd)
    os.close(ends[0])
    drain.close()
    drain.close()
    assert [tail.text() for tail in tails] == ["words of 0", "words of 1", "words of 2"]
    for fd in ends[1:]:
        os.close(fd)
    before.require_none_gained()


def test_an_empty_pipe_does_not_hold_up_the_close() -> None:
    before = Holdings()
    drain = StderrDrain("short")
    read_fd, write_fd = os.pipe()
    tail = StderrTail(ring_bytes=100)
    drain.watch(read_fd, tail)
    drain.close()
    assert tail.text(wait_s=10) == ""
    os.close(write_fd)
    before.require_none_gained()


def test_a_forked_child_closes_its_copies_and_the_parent_still_reads(
    run_script: Callable[..., object],
) -> None:
    script = run_script("""
import os
from poolproof.bridge.processes.output.stderr import StderrDrain, StderrTail
before = set(os.listdir("/proc/self/fd"))
drain = StderrDrain("a")
tail = StderrTail(ring_bytes=100)
read_fd, write_fd = os.pipe()
drain.watch(read_fd, tail)
child = os.fork()
if child == 0:
    os.close(write_fd)
    drain.close_in_child()
    os._exit(set(os.listdir("/proc/self/fd")) != before)
print(os.waitpid(child, 0)[1])
os.write(write_fd, b"still here")
os.close(write_fd)
print(tail.text(wait_s=10))
drain.close()
""")
    output, errors = script.communicate(timeout=30)  # type: ignore[attr-defined]
    assert (output, errors) == ("0\nstill here\n", "")


def test_what_was_written_is_there_at_once_although_the_drain_has_not_come_to_it() -> None:
    drain = StderrDrain("late")
    tail = StderrTail(ring_bytes=1000)
    read_fd, write_fd = os.pipe()
    try:
        drain.watch(read_fd, tail)
        for number in range(300):
            os.write(write_fd, f"line {number}\n".encode())
            assert tail.text(lines=1) == f"line {number}"
        os.close(write_fd)
        assert tail.await_end(0.0)
    finally:
        drain.close()
