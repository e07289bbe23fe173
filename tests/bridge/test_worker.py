"""The worker program as a process of its own: what crosses its pipes, and when and how it leaves."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from poolproof.bridge.errors import ProtocolError
from poolproof.bridge.wire.messages import Request, decode_request, decode_response
from poolproof.bridge.worker.handlers import COMMANDS, Context
from poolproof.bridge.worker.intervals import read_journals
from poolproof.bridge.worker.journal import JOURNAL_VARIABLE, Journal
from poolproof.bridge.worker.program import _answer
from poolproof.harness.faults.commands import BROKEN
from tests.waiting import HANG_GUARD_S

Program = Callable[..., Any]
VALUES: list[Any] = [None, 0, False, "", [], {}, -1.5, {"result": 1}, {"result": {"result": None}}, "é\n\0", 2**70]
LONG_S = 60


def _stderr(tmp_path: Path) -> str:
    return (tmp_path / "worker.stderr").read_text()


def test_an_init_ping_is_answered_with_id_zero(program: Program) -> None:
    worker = program("--mode", "tests")
    worker.send(b'{"id": 0, "command": "ping", "args": {}, "timestamp": "2026-01-01T00:00:00Z"}')
    response = worker.receive()
    assert (response["id"], response["success"]) == (0, True)
    assert (response["result"]["status"], response["result"]["worker_id"]) == ("ok", 7)
    assert response["result"]["mode"] == "tests"


def test_any_json_value_crosses_verbatim(program: Program) -> None:
    worker = program()
    answers = [worker.result("echo", value=value) for value in VALUES]
    assert answers == VALUES
    assert [type(answer) for answer in answers] == [type(value) for value in VALUES]


def test_a_session_of_many_calls_runs_in_one_worker(program: Program) -> None:
    worker = program()
    assert worker.result("put", session_id="s", key="k", value=[1]) == {"stored": True}
    assert worker.result("append", session_id="s", key="k", value=2) == {"values": [1, 2]}
    assert worker.result("list", session_id="s") == {"keys": ["k"]}
    assert worker.result("get", session_id="other", key="k") == {"value": None, "found": False}
    assert worker.result("pid")["pid"] == worker.process.pid
    assert worker.result("get_stats")["command_count"] == 6


def test_every_command_can_be_asked_for_and_answers_or_ends(program: Program) -> None:
    worker = program()
    for command in sorted(COMMANDS.keys() - {"exit", "bad_frame", "shutdown"}):
        response = worker.ask(command)
        assert response["success"] or response["error"], command
    assert worker.result("shutdown") == {"status": "shutting_down", "worker_id": 7}
    assert worker.process.wait(HANG_GUARD_S) == 0


def test_an_unknown_command_is_an_error_that_names_it(program: Program) -> None:
    worker = program()
    assert worker.error("ehco") == "unknown command 'ehco'; did you mean 'echo'?"
    assert worker.result("echo", value=1) == 1


@pytest.mark.parametrize(
    ("payload", "request_id"),
    [
        (b"", 0),
        (b"no json", 0),
        (b"[1]", 0),
        (b'{"command": "echo", "args": {}}', 0),
        (b'{"id": 12, "args": {}}', 12),
        (b'{"id" : 12, "command": "echo", "args": {', 12),
        (b'{"id": "x", "command": "echo", "args": {}}', 0),
        (b'{"id": -4, "command": "echo", "args": {}}', 0),
        (b'{"id": 12, "command": "echo", "args": {"value": "\xff"}}', 12),
    ],
)
def test_a_bad_request_gets_its_reason_and_the_worker_goes_on(
    program: Program, payload: bytes, request_id: int
) -> None:
    worker = program()
    worker.send(payload)
    response = worker.receive()
    assert (response["id"], response["success"]) == (request_id, False)
    with pytest.raises(ProtocolError, match=r"^not a request: ") as refused:
        decode_request(payload)
    assert response["error"] == str(refused.value)
    assert worker.result("echo", value="still here") == "still here"
    assert worker.result("get_stats")["error_count"] == 1


def test_a_result_that_is_no_json_is_an_error_and_the_worker_goes_on(program: Program) -> None:
    worker = program()
    assert worker.error("not_json") == "NotJsonError: result['value'] is of the type object, which JSON does not have"
    assert worker.result("echo", value=1) == 1


def test_a_response_above_the_frame_limit_is_an_error_and_the_worker_goes_on(program: Program) -> None:
    worker = program(env={"POOLPROOF_MAX_FRAME_BYTES": "1024"})
    assert "the response is too large" in worker.error("blob", bytes=1024)
    assert worker.result("blob", bytes=100) == {"blob": "x" * 100}


def test_an_oversize_header_ends_the_worker_with_status_3(program: Program, tmp_path: Path) -> None:
    worker = program(env={"POOLPROOF_MAX_FRAME_BYTES": "1024"})
    worker.send_raw(b"\x00\x00\x04\x01")
    assert worker.receive() is None
    assert worker.process.wait(HANG_GUARD_S) == 3
    assert "worker 7: a frame announces 1025 bytes" in _stderr(tmp_path)


def test_requests_that_arrive_together_are_answered_in_order(program: Program) -> None:
    worker = program()
    frames = [b'{"id": %d, "command": "echo", "args": {"value": %d}}' % (number, number) for number in range(1, 50)]
    worker.send_raw(b"".join(len(frame).to_bytes(4, "big") + frame for frame in frames))
    assert [worker.receive()["result"] for _ in frames] == list(range(1, 50))


def test_a_request_that_arrives_byte_by_byte_is_answered(program: Program) -> None:
    worker = program()
    frame = b'{"id": 5, "command": "echo", "args": {"value": "slow"}}'
    for byte in len(frame).to_bytes(4, "big") + frame:
        worker.send_raw(bytes([byte]))
    assert worker.receive()["result"] == "slow"


@pytest.mark.parametrize("size", [65_000, 70_000, 262_000, 270_000, 3_000_000])
def test_a_payload_that_takes_several_reads_comes_back_whole_and_the_next_call_too(program: Program, size: int) -> None:
    worker = program()
    text = "é" + "x" * size
    assert worker.result("echo", value=text) == text
    assert worker.result("echo", value="small") == "small"


@pytest.mark.parametrize("stream", ["stdout", "stderr", "raw"])
def test_whatever_a_handler_prints_stays_out_of_the_frames(program: Program, tmp_path: Path, stream: str) -> None:
    worker = program()
    assert worker.result("print", stream=stream, bytes=1_000_000) == {"printed_bytes": 1_000_000}
    assert worker.result("echo", value="clean") == "clean"
    assert len(_stderr(tmp_path)) == 1_000_000


def test_a_child_of_the_worker_can_neither_read_requests_nor_write_responses(
    program: Program, vanish: Callable[..., None]
) -> None:
    worker = program()
    child = worker.result("spawn_child", seconds=LONG_S)["pid"]
    try:
        links = [os.readlink(f"/proc/{child}/fd/{fd}") for fd in (0, 1, 2)]
        assert links[0] == "/dev/null"
        assert links[1] == links[2]
        assert links[1].endswith("worker.stderr")
        assert worker.result("echo", value=1) == 1
    finally:
        os.kill(child, signal.SIGKILL)
    vanish(child)


def test_an_idle_worker_leaves_when_its_input_ends(program: Program) -> None:
    worker = program()
    assert worker.result("echo", value=1) == 1
    worker.process.stdin.close()
    assert worker.process.wait(HANG_GUARD_S) == 0


def test_a_worker_leaves_when_its_input_ends_inside_a_frame(program: Program) -> None:
    worker = program()
    worker.send_raw(b"\x00\x00\x00\x10half")
    worker.process.stdin.close()
    assert worker.process.wait(HANG_GUARD_S) == 0
    assert worker.receive() is None


@pytest.mark.parametrize("busy", ["sleep", "cpu"])
def test_a_busy_worker_leaves_soon_after_its_input_has_ended(program: Program, busy: str) -> None:
    worker = program()
    assert worker.result("echo", value=1) == 1
    worker.send(b'{"id": 1, "command": "%s", "args": {"seconds": %d}}' % (busy.encode(), LONG_S))
    worker.process.stdin.close()
    assert worker.process.wait(8) == 0
    assert worker.receive() is None


def test_an_answer_that_comes_soon_after_the_end_of_input_is_still_given(program: Program) -> None:
    worker = program()
    worker.send(b'{"id": 1, "command": "echo", "args": {"value": "last"}}')
    worker.process.stdin.close()
    assert worker.receive()["result"] == "last"
    assert worker.process.wait(HANG_GUARD_S) == 0


def test_a_worker_whose_answer_nobody_reads_any_more_leaves_quietly(program: Program, tmp_path: Path) -> None:
    worker = program()
    worker.process.stdout.close()
    worker.send(b'{"id": 1, "command": "echo", "args": {"value": 1}}')
    assert worker.process.wait(HANG_GUARD_S) == 0
    assert _stderr(tmp_path) == ""


def test_a_shutdown_is_answered_and_then_the_worker_exits_with_0(program: Program) -> None:
    worker = program()
    assert worker.result("shutdown", nonce=4) == {"status": "shutting_down", "worker_id": 7, "nonce": 4}
    assert worker.receive() is None
    assert worker.process.wait(HANG_GUARD_S) == 0


def test_the_terminals_interrupt_is_ignored(program: Program) -> None:
    worker = program()
    assert worker.result("echo", value=1) == 1
    worker.process.send_signal(signal.SIGINT)
    assert worker.result("echo", value=2) == 2
    worker.send(b'{"id": 9, "command": "sleep", "args": {"seconds": 0.2}}')
    worker.process.send_signal(signal.SIGINT)
    assert worker.receive()["result"] == {"slept_s": 0.2}


def test_an_exit_in_a_call_gives_no_answer_but_the_status_and_last_words(program: Program, tmp_path: Path) -> None:
    worker = program()
    worker.send(b'{"id": 1, "command": "exit", "args": {"code": 17}}')
    assert worker.receive() is None
    assert worker.process.wait(HANG_GUARD_S) == 17
    assert "leaving in the middle of a call" in _stderr(tmp_path)


@pytest.mark.parametrize("kind", ["garbage", "oversize", "not_json", "wrong_id"])
def test_a_broken_frame_stands_where_the_answer_should_be(program: Program, kind: str) -> None:
    worker = program()
    worker.send(b'{"id": 1, "command": "bad_frame", "args": {"kind": "%s"}}' % kind.encode())
    assert worker.process.stdout.read(len(BROKEN[kind])) == BROKEN[kind]
    worker.process.kill()


def test_a_truncated_frame_is_the_last_that_a_worker_writes(program: Program) -> None:
    worker = program()
    worker.send(b'{"id": 1, "command": "bad_frame", "args": {"kind": "truncated"}}')
    assert worker.process.stdout.read() == b"\x00\x00\x10\x00{"
    assert worker.process.wait(HANG_GUARD_S) == 1


def test_every_call_is_in_the_journal_but_the_init_ping_is_not(program: Program, tmp_path: Path) -> None:
    worker = program(env={JOURNAL_VARIABLE: str(tmp_path)})
    worker.send(b'{"id": 0, "command": "ping", "args": {}}')
    worker.receive()
    worker.result("echo", nonce="a")
    worker.error("fail", nonce=5)
    worker.result("shutdown")
    assert worker.process.wait(HANG_GUARD_S) == 0
    found = read_journals(tmp_path)
    assert [(interval.command, interval.nonce, interval.ok) for interval in found] == [
        ("echo", "a", True),
        ("fail", 5, False),
        ("shutdown", None, True),
    ]
    assert {(interval.worker_id, interval.pid) for interval in found} == {(7, worker.process.pid)}
    assert all(interval.end_ns is not None and interval.start_ns <= interval.end_ns for interval in found)


def test_an_option_that_is_unknown_is_refused_at_the_start(program: Program) -> None:
    worker = program("--colour", "red", stderr=subprocess.DEVNULL)
    assert worker.process.wait(HANG_GUARD_S) == 2


class Lenient(dict[str, int]):
    """A dict that has every attribute that it is asked for."""

    __getattr__ = dict.get


@pytest.mark.parametrize(
    ("made", "sent"),
    [(lambda: Lenient(a=1), {"a": 1}), (lambda: iter([1, 2]), [1, 2]), (lambda: (each for each in "ab"), ["a", "b"])],
)
def test_what_is_an_iterator_is_sent_as_a_list_and_what_only_seems_to_be_one_as_it_is(
    made: Callable[[], object], sent: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(COMMANDS, "made", lambda *_: made())
    written: list[bytes] = []

    class Wire:
        write = written.append
        memory = None

    _answer(Wire(), Context(1, "tests", written.append), Journal(1, None), Request(5, "made", {}))  # type: ignore[arg-type]

    assert [decode_response(each).result for each in written] == [sent]
