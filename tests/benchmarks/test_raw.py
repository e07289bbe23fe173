"""The bare children echo what they get, and leave with their parent's end."""

from __future__ import annotations

import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from benchmarks import raw
from poolproof.bridge.wire.framing import encode_frame
from poolproof.bridge.wire.messages import decode_response, encode_request


def test_the_pipe_gives_the_value_back() -> None:
    with raw.pipe_call() as call:
        assert [call("echo", {"value": [word, 1]}) for word in "abc"] == [["a", 1], ["b", 1], ["c", 1]]
        assert call("sleep", {"seconds": 0.001, "nonce": 5}) == {"slept_s": 0.001, "nonce": 5}


@pytest.mark.parametrize("bare", [raw.hand_off, raw.pipe_a_client])
def test_bare_pipes_serve_more_clients_than_there_are_or_as_many(bare: Any) -> None:
    with bare(3) as call:
        clients = 3 if bare is raw.pipe_a_client else 8
        with ThreadPoolExecutor(clients) as threads:
            found = threads.map(lambda number: [call("echo", {"value": number}) for _ in range(20)], range(clients))
            assert list(found) == [[number] * 20 for number in range(clients)]


def test_pipes_in_turn_are_used_one_after_another() -> None:
    with raw.pipes_in_turn(3) as call:
        assert [call("echo", {"value": number}) for number in range(7)] == list(range(7))


@pytest.mark.parametrize("size", [0, 1, 1000, 1_000_000])
def test_the_bytes_come_back_whatever_their_number(size: int) -> None:
    data = os.urandom(size)
    with raw.bytes_echo() as move:
        assert move(memoryview(data)) == data
        assert move(memoryview(b"less")) == b"less"


def test_the_codec_gives_a_large_text_back() -> None:
    text = "é\n" * 200_000
    with raw.codec_echo() as call:
        assert call("echo", {"value": text}) == text
        assert call("echo", {"value": ""}) == ""


@pytest.mark.parametrize("kind", ["bytes", "codec"])
def test_a_child_leaves_when_its_socket_ends(kind: str) -> None:
    ours, theirs = socket.socketpair()
    served: list[BaseException] = []

    def serve() -> None:
        with theirs:
            try:
                {"bytes": raw.serve_bytes, "codec": raw.serve_codec}[kind](theirs)
            except EOFError as error:
                served.append(error)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    if kind == "bytes":
        ours.sendall(encode_frame(b"abc"))
        assert ours.recv(7, socket.MSG_WAITALL) == b"\0\0\0\3abc"
    else:
        ours.sendall(encode_request(5, "echo", {"value": 7}, limit_bytes=1000))
        data = ours.recv(1000)
        while len(data) < 4 or len(data) < 4 + int.from_bytes(data[:4], "big"):
            data += ours.recv(1000)
        assert decode_response(data[4:]).result == 7
    ours.close()
    thread.join(10)
    assert not thread.is_alive()
    assert len(served) == 1
