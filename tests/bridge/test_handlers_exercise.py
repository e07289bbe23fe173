"""The commands that put a pool to work."""

from __future__ import annotations

import os
import time
import zlib
from typing import Any

import pytest

from poolproof.bridge.worker.handlers import COMMANDS, Context, HandlerError
from poolproof.harness.model.binary import pattern


def _ask(context: Context, command: str, **args: Any) -> Any:
    return COMMANDS[command](context, args)


@pytest.mark.parametrize("value", [None, 0, False, "", [], {}, {"result": 1}, {"value": 2}])
def test_echo_gives_its_value_and_adds_nothing(context: Context, value: object) -> None:
    assert _ask(context, "echo", value=value, nonce="n") == value


def test_echo_without_a_value_gives_all_of_its_arguments(context: Context) -> None:
    assert _ask(context, "echo", a=1, nonce="n") == {"a": 1, "nonce": "n"}
    assert _ask(context, "echo") == {}


def test_sleep_takes_at_least_its_time(context: Context) -> None:
    begin_s = time.monotonic()
    assert _ask(context, "sleep", seconds=0.05, nonce=1) == {"slept_s": 0.05, "nonce": 1}
    assert time.monotonic() - begin_s >= 0.05


def test_cpu_takes_at_least_its_processor_time(context: Context) -> None:
    begin_s = time.process_time()
    answer = _ask(context, "cpu", seconds=0.02)
    assert time.process_time() - begin_s >= 0.02
    assert answer["iterations"] > 0
    assert _ask(context, "cpu", seconds=0)["iterations"] == 0


@pytest.mark.parametrize("size", [0, 1, 100_000])
def test_blob_has_the_size_that_was_asked_for(context: Context, size: int) -> None:
    assert _ask(context, "blob", bytes=size, nonce="n") == {"blob": "x" * size, "nonce": "n"}


def test_pid_tells_who_serves(context: Context) -> None:
    assert _ask(context, "pid", nonce="n") == {"pid": os.getpid(), "worker_id": 3, "nonce": "n"}


def test_fail_fails_with_the_message(context: Context) -> None:
    with pytest.raises(HandlerError, match="no luck"):
        _ask(context, "fail", message="no luck")
    with pytest.raises(HandlerError, match="failed as asked"):
        _ask(context, "fail")


@pytest.mark.parametrize(
    ("command", "argument", "most"), [("sleep", "seconds", 3600), ("cpu", "seconds", 3600), ("blob", "bytes", 2**30)]
)
def test_work_without_measure_is_refused(context: Context, command: str, argument: str, most: int) -> None:
    for args in ({}, {argument: -1}, {argument: most + 1}, {argument: "1"}):
        with pytest.raises(HandlerError, match=argument):
            _ask(context, command, **args)


@pytest.mark.parametrize("size", [0, 1, 250, 251, 252, 70_000])
@pytest.mark.parametrize("seed", [0, 1, 7, 250])
def test_binary_gives_bytes_by_their_formula_and_checks_what_it_got(context: Context, size: int, seed: int) -> None:
    upload = pattern(size, seed + 1)
    answer = COMMANDS["binary"](context, {"bytes": size, "seed": seed, "upload": upload, "nonce": 3})
    assert answer == {"data": pattern(size, seed), "crc": zlib.crc32(upload), "nonce": 3}
    assert list(answer["data"][:300]) == [(7 * place + seed) % 251 for place in range(min(size, 300))]


@pytest.mark.parametrize("args", [{}, {"bytes": -1}, {"bytes": 1, "seed": 252}, {"bytes": 1, "upload": "text"}])
def test_binary_refuses_what_it_cannot_do(context: Context, args: dict[str, Any]) -> None:
    with pytest.raises(HandlerError, match=r"argument .(bytes|seed|upload).: "):
        COMMANDS["binary"](context, args)
