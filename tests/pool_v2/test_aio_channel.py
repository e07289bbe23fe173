"""One exchange by a task's loop: whatever goes wrong is told apart, says what was sent, and never blocks the loop."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pool_v2.aio_channel import exchange

from bridge.channel import Channel
from bridge.clock import deadline_ns
from bridge.errors import CallTimeout, Sent, WorkerCrashed
from bridge.messages import encode_request
from bridge.process import WorkerProcess
from bridge.stderr import StderrDrain, StderrTail
from pool_v2.aio import AsyncPool

OnLoop = Callable[..., Any]
Connect = Callable[..., Channel]
LIMIT_BYTES = 16 * 1024 * 1024
PROLOGUE = """
import json, os, struct, sys, time
def request():
    (size,) = struct.unpack(">I", sys.stdin.buffer.read(4))
    return json.loads(sys.stdin.buffer.read(size))
def frame(id, result):
    data = json.dumps({"id": id, "success": True, "result": result}).encode()
    return struct.pack(">I", len(data)) + data
def put(data):
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
"""
REST = "\ntime.sleep(600)"


@pytest.fixture
def connect() -> Iterator[Connect]:
    """A channel to a worker with this program, which no supervisor watches."""
    drain = StderrDrain("test")
    channels: list[Channel] = []

    def start(body: str, *, drained: bool = True) -> Channel:
        process = WorkerProcess.spawn(len(channels) + 1, (sys.executable, "-S", "-c", PROLOGUE + body), os.environ)
        tail = StderrTail(ring_bytes=1024)
        if drained:
            drain.watch(process.stderr_fd, tail)
        else:
            os.close(process.stderr_fd)
        channels.append(Channel(process, tail, limit_bytes=LIMIT_BYTES, watched=True))
        return channels[-1]

    yield start
    for channel in channels:
        channel.process.kill()
        assert channel.process.exited(20.0)
        channel.process.reap()
        channel.process.close()
    drain.close()


async def ask(channel: Channel, value: Any = None, *, timeout_s: float = 15.0, request_id: int = 1) -> Any:
    frame = encode_request(request_id, "echo", {"value": value}, limit_bytes=LIMIT_BYTES)
    loop = asyncio.get_running_loop()
    return (await exchange(loop, channel, request_id, frame, deadline_ns=deadline_ns(timeout_s))).result


def fail(on_loop: OnLoop, channel: Channel, value: Any = None, *, timeout_s: float = 15.0) -> Any:
    with pytest.raises((WorkerCrashed, CallTimeout)) as caught:
        on_loop(ask(channel, value, timeout_s=timeout_s))
    assert channel.dirty
    assert caught.value.worker_id == channel.process.worker_id
    return caught.value


def test_one_loop_after_another_and_a_thread_in_between_use_one_worker(on_loop: OnLoop, connect: Connect) -> None:
    channel = connect("while True:\n    r = request()\n    put(frame(r['id'], r['args']['value']))")
    for number in range(1, 10, 3):
        assert on_loop(ask(channel, number, request_id=number)) == number
        assert on_loop(ask(channel, "x" * 3_000_000, request_id=number + 1)) == "x" * 3_000_000
        frame = encode_request(number + 2, "echo", {"value": "thread"}, limit_bytes=LIMIT_BYTES)
        assert channel.exchange(number + 2, frame, deadline_ns=deadline_ns(15.0)).result == "thread"
        assert not channel.dirty
    assert os.get_blocking(channel.process.stdout_fd)


@pytest.mark.parametrize("cut", [1, 3, 4, 5, 40, 100_000])
def test_a_response_in_two_pieces_is_read_whole_and_the_loop_goes_on_between(
    on_loop: OnLoop, connect: Connect, cut: int
) -> None:
    channel = connect(
        f"r = request(); data = frame(r['id'], 'x' * 150_000 if {cut} > 40 else 'x'); put(data[:{cut}])\n"
        f"sys.stdin.buffer.read(1); put(data[{cut}:])" + REST
    )

    async def use() -> str:
        task = asyncio.create_task(ask(channel))
        for _ in range(100):
            await asyncio.sleep(0)
        await asyncio.sleep(0.02)  # the loop is free, and the answer is not
        assert not task.done()
        os.write(channel.process.stdin_fd, b"\0")
        return str(await task)

    assert set(on_loop(use())) == {"x"}
    assert not channel.dirty


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("request()", "ended its stream before it answered"),
        ("request(); put(b'\\0\\0')", "ended its stream before it answered"),
        ("request(); put(b'\\0\\0\\1\\0xyz')", "ended its stream 253 bytes short of a frame of 256"),
        ("request(); put(b'\\xff\\xff\\xff\\xff')" + REST, "broke the protocol: a frame announces 4294967295 bytes"),
        ("r = request(); put(frame(r['id'], 1) + b'more')" + REST, "sent 4 bytes more than its response"),
        ("r = request(); put(frame(7, 1))" + REST, "answered request 7 instead of 1"),
        ("request(); put(b'\\0\\0\\0\\2{]')" + REST, "sent what is not a response"),
        ("os.close(0); put(b''); sys.stderr.write('bye')" + REST, "does not read its requests"),
    ],
)
def test_a_broken_stream_is_a_crash_with_the_last_words(
    on_loop: OnLoop, connect: Connect, gone: Any, until: Any, body: str, what: str
) -> None:
    channel = connect("sys.stderr.write('last words\\n'); sys.stderr.flush()\n" + body)
    if "close(0)" in body:
        until(lambda: "bye" in channel.tail.text(), "it has closed its stdin")
    error = fail(on_loop, channel, "x" * 500_000 if "close(0)" in body else None)
    assert isinstance(error, WorkerCrashed)
    assert what in error.message
    assert "last words" in str(error)
    until(lambda: gone(channel.process.pid), "it is dead")


def test_a_request_that_is_not_read_ends_at_the_deadline(on_loop: OnLoop, connect: Connect) -> None:
    error = fail(on_loop, connect("time.sleep(600)"), "x" * 1_000_000, timeout_s=0.1)
    assert isinstance(error, CallTimeout)
    assert error.sent is Sent.MAYBE
    assert "did not take the whole request" in error.message


def test_a_worker_that_was_cut_off_in_a_write_is_a_call_timeout(on_loop: OnLoop, connect: Connect) -> None:
    channel = connect("time.sleep(600)")

    async def use() -> None:
        asyncio.get_running_loop().call_later(0.05, channel.cut_off)
        await ask(channel, "x" * 1_000_000)

    with pytest.raises(CallTimeout) as caught:
        on_loop(use())
    assert caught.value.sent is Sent.MAYBE


@pytest.mark.parametrize(
    ("body", "timeout_s"),
    [
        ("request(); put(b'\\0')", 0.000001),
        ("request(); put(b'\\0\\0\\1\\0x')", 0.000001),
        ("request(); put(b'\\0\\0\\1\\0x'); time.sleep(0.5); put(b'y')", 0.3),
    ],
)
def test_bytes_that_come_after_the_deadline_do_not_stretch_it(
    on_loop: OnLoop, connect: Connect, body: str, timeout_s: float
) -> None:
    error = fail(on_loop, connect(body + REST), timeout_s=timeout_s)
    assert isinstance(error, CallTimeout)
    assert error.sent is Sent.YES


def test_a_worker_that_dies_with_a_stranger_at_its_stdin_ends_the_write(on_loop: OnLoop, connect: Connect) -> None:
    channel = connect("import subprocess; subprocess.Popen(['sleep', '600'], stdin=0); time.sleep(0.1)")
    error = fail(on_loop, channel, "x" * 1_000_000)
    assert isinstance(error, WorkerCrashed)
    assert error.sent is Sent.MAYBE


def test_a_wait_for_last_words_is_bounded(on_loop: OnLoop, connect: Connect) -> None:
    channel = connect("request()", drained=False)
    assert isinstance(fail(on_loop, channel), WorkerCrashed)
    assert not channel.tail.ended


def test_a_worker_that_breaks_the_protocol_costs_its_call_only(
    make_async_pool: Callable[..., AsyncPool], on_loop: OnLoop
) -> None:
    pool = make_async_pool()
    for kind in ("garbage", "truncated"):
        with pytest.raises(WorkerCrashed):
            on_loop(pool.execute("bad_frame", {"kind": kind}))
        assert on_loop(pool.execute("echo", {"value": 1})) == 1


def test_a_stopped_worker_holds_no_loop_and_its_call_ends_at_the_deadline(
    make_async_pool: Callable[..., AsyncPool], on_loop: OnLoop
) -> None:
    pool = make_async_pool(workers=2)

    async def use() -> None:
        await pool.warm_up()
        async with pool.checkout() as stopped:
            os.kill(stopped.pid, signal.SIGSTOP)
            late = asyncio.create_task(stopped.execute("echo", {"value": "x" * 1_000_000}, timeout_s=0.3))
            while not late.done():
                assert await pool.execute("echo", {"value": 1}) == 1
            with pytest.raises(CallTimeout) as caught:
                await late
            assert caught.value.sent is Sent.MAYBE

    on_loop(use())
