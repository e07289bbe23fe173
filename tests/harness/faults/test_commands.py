"""The commands with which a worker hurts itself; those that end it are seen from outside, in the worker's tests."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from poolproof.bridge.errors import ProtocolError
from poolproof.bridge.wire.framing import FrameDecoder
from poolproof.bridge.wire.messages import decode_response, encode_success
from poolproof.bridge.worker.handlers import Context, HandlerError
from poolproof.harness.faults.commands import BROKEN, COMMANDS

LIMIT_BYTES = 128 * 1024 * 1024


def _ask(context: Context, command: str, **args: Any) -> Any:
    return COMMANDS[command](context, args)


@pytest.mark.parametrize("kind", ["garbage", "oversize"])
def test_bytes_that_are_no_frame_announce_more_than_any_limit(kind: str) -> None:
    with pytest.raises(ProtocolError):
        FrameDecoder(limit_bytes=LIMIT_BYTES).feed(BROKEN[kind])


def test_a_truncated_frame_ends_before_its_payload() -> None:
    decoder = FrameDecoder(limit_bytes=LIMIT_BYTES)
    assert decoder.feed(BROKEN["truncated"]) == []
    assert decoder.pending_bytes == 5


def test_a_frame_that_holds_no_json_is_whole() -> None:
    (payload,) = FrameDecoder(limit_bytes=LIMIT_BYTES).feed(BROKEN["not_json"])
    with pytest.raises(ProtocolError, match="not a response"):
        decode_response(payload)


def test_a_stale_frame_is_a_response_to_a_request_that_was_never_sent() -> None:
    (payload,) = FrameDecoder(limit_bytes=LIMIT_BYTES).feed(BROKEN["wrong_id"])
    response = decode_response(payload)
    assert response.success
    assert response.id == 987654321


def test_every_broken_frame_is_looked_at() -> None:
    assert sorted(BROKEN) == ["garbage", "not_json", "oversize", "truncated", "wrong_id"]


def test_a_bad_frame_is_written_raw_before_the_answer(context: Context) -> None:
    assert _ask(context, "bad_frame", kind="wrong_id", nonce=1) == {"kind": "wrong_id", "nonce": 1}
    assert context.raw == [BROKEN["wrong_id"]]  # type: ignore[attr-defined]
    _ask(context, "bad_frame")
    assert context.raw[1] == BROKEN["garbage"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["pretty", None, 5, ["garbage"]])
def test_a_bad_frame_of_an_unknown_kind_is_refused(context: Context, kind: object) -> None:
    with pytest.raises(HandlerError, match="argument 'kind': must be one of garbage, oversize"):
        _ask(context, "bad_frame", kind=kind)
    assert context.raw == []  # type: ignore[attr-defined]


def test_a_result_that_is_no_json_cannot_be_encoded(context: Context) -> None:
    result = _ask(context, "not_json", nonce=3)
    assert result["nonce"] == 3
    with pytest.raises(TypeError):
        encode_success(1, result)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_printing_goes_to_the_stream_that_was_named(
    context: Context, capsys: pytest.CaptureFixture[str], stream: str
) -> None:
    assert _ask(context, "print", stream=stream, bytes=7, nonce=1) == {"printed_bytes": 7, "nonce": 1}
    captured = capsys.readouterr()
    assert getattr(captured, "out" if stream == "stdout" else "err") == "p" * 7


def test_raw_printing_goes_to_descriptor_1(context: Context, capfd: pytest.CaptureFixture[str]) -> None:
    assert _ask(context, "print", stream="raw", bytes=100_000) == {"printed_bytes": 100_000}
    assert capfd.readouterr().out == "r" * 100_000


@pytest.mark.parametrize("stream", ["stdin", None, 1, ["raw"]])
def test_printing_to_an_unknown_stream_is_refused(context: Context, stream: object) -> None:
    with pytest.raises(HandlerError, match="stdout, stderr or raw"):
        _ask(context, "print", stream=stream, bytes=1)


@pytest.mark.parametrize(
    ("command", "args"),
    [
        ("print", {"bytes": 2**28 + 1}),
        ("print", {}),
        ("spawn_child", {"seconds": 3601}),
        ("spawn_child", {}),
        ("exit", {"code": 256}),
        ("exit", {"code": -1}),
    ],
)
def test_an_injury_without_measure_is_refused(context: Context, command: str, args: dict[str, Any]) -> None:
    with pytest.raises(HandlerError):
        _ask(context, command, **args)


def test_a_child_is_left_behind_alive(
    context: Context, vanish: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    children: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def keep(*args: Any, **options: Any) -> subprocess.Popen[bytes]:
        children.append(popen(*args, **options))  # kept, so that this test can wait for it
        return children[-1]

    monkeypatch.setattr(subprocess, "Popen", keep)
    answer = _ask(context, "spawn_child", seconds=60, nonce=2)
    assert answer == {"pid": children[0].pid, "nonce": 2}
    assert children[0].poll() is None
    os.kill(children[0].pid, signal.SIGKILL)
    children[0].wait(10)
    vanish(children[0].pid)
