"""A worker that hurts itself, seen from outside: what crosses its pipes, and whether it serves on."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from poolproof.bridge.wire.framing import FrameDecoder
from tests.waiting import HANG_GUARD_S

Program = Callable[..., Any]
MEGABYTE = 2**20


def test_a_double_answer_is_the_same_frame_twice_and_the_end(program: Program) -> None:
    worker = program()
    worker.send(b'{"id": 5, "command": "odd_answer", "args": {"kind": "double", "nonce": "n"}}')
    payloads = FrameDecoder(limit_bytes=1000).feed(worker.process.stdout.read())
    assert len(payloads) == 2
    assert payloads[0] == payloads[1]
    answer = json.loads(bytes(payloads[0]))
    assert (answer["id"], answer["result"]) == (5, {"kind": "double", "nonce": "n"})
    assert worker.process.wait(HANG_GUARD_S) == 0


def test_a_stale_answer_is_another_requests_and_the_only_one(program: Program) -> None:
    worker = program()
    worker.send(b'{"id": 5, "command": "odd_answer", "args": {"kind": "stale", "nonce": "n"}}')
    (payload,) = FrameDecoder(limit_bytes=1000).feed(worker.process.stdout.read())
    answer = json.loads(bytes(payload))
    assert answer["id"] != 5
    assert answer["result"]["nonce"] != "n"
    assert worker.process.wait(HANG_GUARD_S) == 0


def test_half_an_answer_is_all_that_comes(program: Program) -> None:
    worker = program()
    worker.send(b'{"id": 5, "command": "odd_answer", "args": {"kind": "half", "seconds": 0.01}}')
    data = worker.process.stdout.read()
    decoder = FrameDecoder(limit_bytes=1000)
    assert decoder.feed(data) == []
    announced = int.from_bytes(data[:4], "big")
    assert len(data) - 4 == announced // 2
    assert worker.process.wait(HANG_GUARD_S) == 0


@pytest.mark.parametrize(
    ("command", "args", "told"),
    [
        ("odd_answer", {"kind": "whole"}, "argument 'kind': half, double or stale, not 'whole'"),
        ("odd_answer", {"kind": "half", "seconds": -1}, "argument 'seconds': must be a number from 0 to 3600"),
        ("hog", {"bytes": 2**40}, "argument 'bytes': must be a number from 0 to 1.07374e+09"),
        ("exhaust_descriptors", {"seconds": 1e9}, "argument 'seconds': must be a number from 0 to 3600"),
    ],
)
def test_an_impossible_injury_is_refused_and_nothing_is_hurt(
    program: Program, command: str, args: dict[str, Any], told: str
) -> None:
    worker = program()
    assert told in worker.error(command, **args)
    assert worker.result("echo", value=1) == 1


def test_a_hog_meets_its_limit_and_serves_on(program: Program) -> None:
    worker = program()
    for _ in range(3):
        assert "MemoryError" in worker.error("hog", bytes=32 * MEGABYTE)
    assert len(worker.result("blob", bytes=48 * MEGABYTE)["blob"]) == 48 * MEGABYTE


def test_a_worker_without_descriptors_gives_them_back(program: Program) -> None:
    worker = program()
    opened = worker.result("exhaust_descriptors", seconds=0, nonce=1)
    assert opened["nonce"] == 1
    assert opened["opened"] > 100
    assert worker.result("exhaust_descriptors", seconds=0)["opened"] == opened["opened"]


def test_a_child_with_the_pipes_keeps_them_open_when_the_worker_is_gone(
    program: Program, vanish: Callable[..., None]
) -> None:
    worker = program()
    child = worker.result("spawn_child", seconds=60, pipes=True)["pid"]
    try:
        worker.send(b'{"id": 9, "command": "exit", "args": {"code": 3}}')
        assert worker.process.wait(HANG_GUARD_S) == 3
        os.set_blocking(worker.process.stdout.fileno(), False)
        with pytest.raises(BlockingIOError):  # no end of the stream
            os.read(worker.process.stdout.fileno(), 1)
    finally:
        os.kill(child, signal.SIGKILL)
    vanish(child)
