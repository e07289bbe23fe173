"""Reply pipes as the worker program uses them: small answers go through, all others are told to come by stdout."""

from __future__ import annotations

import errno
import os
import select
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from poolproof.bridge.wire.framing import HEADER_BYTES
from poolproof.bridge.wire.messages import encode_request
from poolproof.bridge.wire.replies import ELSEWHERE, LARGEST_REPLY_BYTES, REPLY_DIR_VARIABLE, ReplyWriters, reply_path
from tests.waiting import Holdings

LIMIT_BYTES = 16 * 1024 * 1024
LIMIT_S = 10.0


class Pipe:
    """A client's end of a reply pipe."""

    def __init__(self, directory: Path, number: int) -> None:
        path = reply_path(str(directory), number)
        os.mkfifo(path)
        self.fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)

    def receive(self) -> bytes:
        """What comes next, as it was written."""
        assert select.select([self.fd], [], [], LIMIT_S)[0], "nothing has come"
        return os.read(self.fd, 1 << 20)

    def answer(self) -> dict[str, Any]:
        """The answer that comes next."""
        frame = self.receive()
        assert int.from_bytes(frame[:HEADER_BYTES], "big") == len(frame) - HEADER_BYTES
        found = msgspec.json.decode(frame[HEADER_BYTES:])
        assert isinstance(found, dict)
        return found

    def silent(self) -> bool:
        """Whether nothing is to be read."""
        return not select.select([self.fd], [], [], 0)[0]


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Pipe]:
    one = Pipe(tmp_path, 3)
    yield one
    os.close(one.fd)


@pytest.fixture
def worker(program: Callable[..., Any], tmp_path: Path) -> Any:
    """A worker that finds its reply pipes in `tmp_path`."""
    return program(env={REPLY_DIR_VARIABLE: str(tmp_path)})


def asking(command: str, number: int = 3, **args: Any) -> bytearray:
    return encode_request(9, command, args, limit_bytes=LIMIT_BYTES, reply_to=number)


def test_an_answer_comes_through_the_pipe_that_its_request_says(worker: Any, pipe: Pipe, tmp_path: Path) -> None:
    other = Pipe(tmp_path, 4)
    for number, each in ((3, pipe), (4, other), (3, pipe)):
        worker.send_raw(asking("echo", number, value=number))
        assert each.answer()["result"] == number
    assert worker.result("echo", value="as ever") == "as ever"
    worker.send_raw(asking("fail", message="no"))
    assert pipe.answer()["success"] is False
    worker.send_raw(asking("ehco"))
    assert "did you mean 'echo'" in pipe.answer()["error"]
    assert other.silent()
    os.close(other.fd)


@pytest.mark.parametrize("over", [0, 1, 100_000, 2_000_000])
def test_an_answer_that_might_be_torn_comes_by_stdout_and_the_pipe_tells(worker: Any, pipe: Pipe, over: int) -> None:
    worker.send_raw(asking("echo", value=""))
    bare = len(pipe.receive())
    size = LARGEST_REPLY_BYTES - bare + over
    worker.send_raw(asking("echo", value="x" * size))
    if over == 0:
        assert pipe.answer()["result"] == "x" * size
    else:
        assert pipe.receive() == ELSEWHERE
        assert worker.receive()["result"] == "x" * size
    assert pipe.silent()
    assert worker.result("echo", value=1) == 1


@pytest.mark.parametrize("command", ["not_json", "blob"])
def test_what_cannot_be_sent_is_told_through_the_pipe(
    program: Callable[..., Any], tmp_path: Path, pipe: Pipe, command: str
) -> None:
    worker = program(env={REPLY_DIR_VARIABLE: str(tmp_path), "POOLPROOF_MAX_FRAME_BYTES": "1024"})
    worker.send_raw(asking(command, bytes=1024))

    assert pipe.answer()["success"] is False
    assert worker.result("echo", value=1) == 1


def test_bytes_without_a_frame_come_by_stdout(worker: Any, pipe: Pipe) -> None:
    worker.send_raw(asking("odd_answer", kind="double"))

    assert pipe.receive() == ELSEWHERE
    assert [worker.receive()["result"]["kind"], worker.receive()["result"]["kind"]] == ["double", "double"]


@pytest.mark.parametrize(
    "payload",
    [b'{"id":9,"command":5,"args":{},"reply_to":3}', b'{"id":-9,"command":"echo","args":{},"reply_to":3}'],
)
def test_a_request_that_is_none_is_refused_through_its_pipe(worker: Any, pipe: Pipe, payload: bytes) -> None:
    worker.send(payload)

    assert "not a request" in pipe.answer()["error"]
    assert worker.result("echo", value=1) == 1


@pytest.mark.parametrize("answers", ["echo", "bad"])
def test_without_its_pipe_a_worker_answers_by_stdout_and_leaves(worker: Any, tmp_path: Path, answers: str) -> None:
    worker.send_raw(
        asking("echo", 8, value="kept") if answers == "echo" else bytes(asking("echo", 8)).replace(b"9", b"x")
    )
    response = worker.receive()

    assert response["success"] == (answers == "echo")
    assert worker.process.wait(LIMIT_S) == 0
    assert "cannot open reply pipe 8: No such file or directory" in (tmp_path / "worker.stderr").read_text()


@pytest.mark.parametrize("size", [20_000, 40_000, 3_000_000])
def test_without_its_pipe_it_leaves_whatever_the_size_of_the_answer(worker: Any, tmp_path: Path, size: int) -> None:
    worker.send_raw(asking("echo", 8, value="x" * size))

    assert worker.process.wait(LIMIT_S) == 0, "though nobody reads yet"
    response = worker.receive()
    assert response["success"] == (size == 20_000)
    assert response["success"] or "without its reply pipe 32768 can be sent" in response["error"]


def test_a_worker_whose_client_has_left_ends_quietly(worker: Any, tmp_path: Path) -> None:
    pipe = Pipe(tmp_path, 3)
    worker.send_raw(asking("echo", value=1))
    pipe.receive()
    os.close(pipe.fd)
    worker.send_raw(asking("echo", value=2))

    assert worker.process.wait(LIMIT_S) == 0
    assert (tmp_path / "worker.stderr").read_text() == ""


# The worker's ends.


def test_each_pipe_is_opened_once_and_few_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poolproof.bridge.wire.replies.MOST_OPEN", 3)
    before = Holdings()
    made = [Pipe(tmp_path, number) for number in range(5)]
    pipes = ReplyWriters(str(tmp_path))
    assert pipes[0] == pipes[0]
    for number in range(5):
        assert os.get_blocking(pipes[number])
        os.write(pipes[number], b"x")
        assert len(pipes) <= 3
    assert [each.receive() for each in made] == [b"x"] * 5
    assert len(before.gained()) <= 5 + 3
    for fd in (*pipes.values(), *(each.fd for each in made)):
        os.close(fd)


def test_where_no_descriptor_is_left_the_other_pipes_are_closed_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [Pipe(tmp_path, number) for number in range(3)]
    pipes = ReplyWriters(str(tmp_path))
    first, real = pipes[0], os.open

    def full(path: str, flags: int) -> int:
        if not pipes:
            return real(path, flags)
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "open", full)
    assert pipes[1] == first, "which is free again"
    assert list(pipes) == [1]
    monkeypatch.setattr(os, "open", lambda *_: full("", 0) if pipes.clear() else real("/nowhere", 0))
    with pytest.raises(FileNotFoundError):
        pipes[2]
    for fd in (first, *(each.fd for each in made)):
        os.close(fd)


def test_a_pipe_that_nobody_reads_from_is_refused_at_once(tmp_path: Path) -> None:
    pipes = ReplyWriters(str(tmp_path))
    with pytest.raises(FileNotFoundError):
        pipes[1]
    os.mkfifo(tmp_path / "reply-1")
    with pytest.raises(OSError, match="No such device"):
        pipes[1]
    assert not pipes
