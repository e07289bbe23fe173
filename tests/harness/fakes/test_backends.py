"""The three backends: exact frames, scripts, a pool without a process, and on which backend a test is run."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from poolproof.bridge import Capability, CommandError, InvalidRequest, Pool, PoolClosed, PoolConfig
from poolproof.bridge.wire.framing import encode_frame
from poolproof.bridge.wire.messages import encode_request
from poolproof.harness.fakes.backends.frames import FrameCheck, FrameFault
from poolproof.harness.fakes.backends.making import make_mock, options_at, why_impossible
from poolproof.harness.fakes.backends.mock import MockPool
from poolproof.harness.fakes.backends.script import Script, ScriptLine, read_script
from poolproof.harness.fakes.backends.scripted_worker import FAULT_STATUS, command
from poolproof.harness.model.backend import Backend
from poolproof.harness.model.errors import UsageError

NOW = "2026-01-01T00:00:00+00:00"
PING = {"id": 0, "command": "ping", "args": {}, "timestamp": NOW}


def payload(**changes: Any) -> bytes:
    return json.dumps({**PING, **changes}).encode()


# Frames.


def test_what_the_pools_send_is_accepted() -> None:
    check = FrameCheck()
    for number, name in ((0, "ping"), (7, "echo"), (3, "echo")):
        frame = encode_request(number, name, {"value": [1, None]}, limit_bytes=1000)
        request = check.check(bytes(frame[4:]))
        assert (request.id, request.command, request.args) == (number, name, {"value": [1, None]})
    assert check.check(bytes(encode_request(8, "parts", {}, limit_bytes=1000, stream=True)[4:])).stream is True


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xff", "is not JSON"),
        (b'{"id": 0', "is not JSON"),
        (b"[]", "a payload is no object"),
        (b'{"id": 0, "id": 0}', "a key twice"),
        (payload(args={"x": float("nan")}), "NaN is no JSON"),
        (b'{"id": 0, "command": "ping", "args": {}}', "lacks ['timestamp']"),
        (payload(extra=1), "has ['extra']"),
        (payload(id=True), "the id True"),
        (payload(id=-1), "the id -1"),
        (payload(command=""), "the command ''"),
        (payload(args=[]), "args that are no object"),
        (payload(args={"session_id": 5}), "the session_id 5"),
        (payload(stream=False), "stream False"),
        (payload(timestamp="yesterday"), "the timestamp 'yesterday'"),
        (payload(timestamp="2026-01-01T00:00:00"), "with a zone"),
        (payload(id=1), "and not the init ping"),
        (payload(command="echo"), "and not the init ping"),
    ],
)
def test_a_frame_that_is_not_the_wires_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(FrameFault) as caught:
        FrameCheck().check(data)
    assert reason in str(caught.value)


def test_no_id_is_there_twice() -> None:
    check = FrameCheck()
    check.check(payload())
    check.check(payload(id=4, command="echo"))
    with pytest.raises(FrameFault, match="request 4 is there twice"):
        check.check(payload(id=4, command="echo"))


# Scripts.


def test_lines_are_tried_in_order_and_used_up() -> None:
    script = Script(
        [
            ScriptLine(command="a", args={"n": 1}, answer="first", times=1),
            ScriptLine(command="a", args={"n": 1}, answer="then"),
            ScriptLine(command="a", error="else"),
        ]
    )
    again = read_script(script.to_json(), "a file")
    for one in (script, again):
        answers = [one.find("a", args) for args in ({"n": 1, "x": 2}, {"n": 1}, {"n": 1}, {"n": True}, {})]
        assert [line and (line.answer or line.error) for line in answers] == ["first", "then", "then", "else", "else"]
        assert one.find("b", {}) is None


def test_what_is_no_script_is_named() -> None:
    with pytest.raises(UsageError, match=r"script\.json is no script"):
        read_script(b'[{"args": {}}]', "script.json")


# The scripted worker, as a process.


def _run(frames: list[bytes], *options: str) -> subprocess.CompletedProcess[bytes]:
    words = [word.format(worker_id=1) for word in command()] + list(options)
    sent = b"".join(encode_frame(frame, limit_bytes=10**6) for frame in frames)
    return subprocess.run(words, input=sent, capture_output=True, timeout=60, check=False)


def test_it_answers_from_the_script_and_else_as_the_stand_in(tmp_path: Path) -> None:
    lines = [ScriptLine(command="echo", answer={"said": 1}), ScriptLine(command="pid", error="no")]
    (tmp_path / "script.json").write_bytes(Script(lines).to_json())
    names = ("echo", "pid", "list_programs", "nothing")
    frames = [payload(), *(payload(id=number + 1, command=name) for number, name in enumerate(names))]
    done = _run(frames, "--script", str(tmp_path / "script.json"))
    assert (done.returncode, done.stderr) == (0, b"")
    out, answers = done.stdout, []
    while out:
        size = int.from_bytes(out[:4], "big")
        answers.append(json.loads(out[4 : 4 + size]))
        out = out[4 + size :]
    assert answers[0]["result"]["mode"] == "scripted"
    assert answers[1]["result"] == {"said": 1}
    assert answers[2]["error"] == "no"
    assert answers[3]["result"] == {"programs": [], "total_count": 0}
    assert answers[4]["error"].startswith("unknown command 'nothing'")


def test_a_bad_frame_ends_it_with_a_status_and_the_reason() -> None:
    done = _run([payload(), payload(id=1, args=[])])
    assert done.returncode == FAULT_STATUS
    assert b"scripted worker 1: request 1 has args that are no object" in done.stderr


# The pool without a process.


def test_a_mock_is_a_pool() -> None:
    with make_mock("a-mock") as pool:
        assert isinstance(pool, Pool)
        assert pool.capabilities == {Capability.SESSIONS}
        assert (pool.name, pool.warm_up(), pool.health_check().healthy) == ("a-mock", 0, True)
        assert pool.execute("echo", {"value": {"result": None}}) == {"result": None}
        pool.execute_in_session("s", "put", {"key": "k", "value": 1})
        assert pool.execute_in_session("s", "get", {"key": "k"})["value"] == 1
        assert pool.execute_anonymous("get", {"key": "k"})["found"] is False
        [session] = pool.sessions()
        assert (session.operations, session.version) == (2, 1)
        pool.execute_in_session("s", "cleanup_session")
        assert pool.sessions() == ()
    assert pool.status().state == "closed"
    with pytest.raises(PoolClosed):
        pool.execute("echo")
    assert pool.status().statistics.outcomes == {"result": 5, "PoolClosed": 1}


def test_a_mock_refuses_what_needs_a_process_and_what_is_no_json() -> None:
    with make_mock("a-mock") as pool:
        with pytest.raises(InvalidRequest, match="'exit' needs a worker process; on the backend mock there is none"):
            pool.execute("exit")
        with pytest.raises(InvalidRequest, match="not JSON"):
            pool.execute("echo", {"value": object()})
        with pytest.raises(CommandError, match="failed as asked"):
            pool.execute("fail")
        with pytest.raises(CommandError, match="TypeError"):
            pool.execute("restore_session", {"session_id": "s", "state": {"values": 1, "programs": [], "model": {}}})
        assert pool.status().statistics.submitted == 4


def test_two_mocks_share_nothing() -> None:
    one, other = MockPool(PoolConfig(name="one")), MockPool()
    one.execute_in_session("s", "put", {"key": "k", "value": 1})
    assert other.execute_in_session("s", "get", {"key": "k"})["found"] is False
    assert one.end_session("s") is True
    assert one.end_session("s") is False


# Where a test makes sense.


def test_a_test_is_told_why_it_is_not_run_at_a_backend() -> None:
    assert why_impossible(Backend.MOCK) == ""
    assert why_impossible(Backend.MOCK, allowed={Backend.REAL, Backend.WIRE}).startswith(
        "the test needs the backend real or wire;"
    )
    assert why_impossible(Backend.WIRE, packages=("json",)) == "it needs json; on the backend wire the stand-in answers"
    assert why_impossible(Backend.REAL, packages=("json",)) == ""
    told = why_impossible(Backend.REAL, packages=("no_such_package",))
    assert told == "no_such_package is not installed: pip install 'poolproof[no_such_package]'"
    assert "it has a script" in why_impossible(Backend.REAL, scripted=True)


def test_a_pool_gets_the_options_of_its_backend(tmp_path: Path) -> None:
    assert options_at(Backend.REAL, "v1", tmp_path) == {}
    assert options_at(Backend.WIRE, "v1", tmp_path)["worker_command"] == command()
    scripted = options_at(Backend.WIRE, "v1", tmp_path, script=Script())
    assert scripted["worker_command"][-1] == str(tmp_path / "script.json")
    one, other = (options_at(Backend.REAL, pool, tmp_path, packages=("dspy",)) for pool in ("v1", "v2"))
    assert one["env"] == other["env"] == {"POOLPROOF_PROGRAMS": "dspy"}
    assert ("preload" in one, "preload" in other) == (False, True)
