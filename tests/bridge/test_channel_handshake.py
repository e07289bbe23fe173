"""The init ping: stray frames and noise are passed over, and one absolute deadline holds under any traffic."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable

import pytest

from poolproof.bridge.clock import deadline_ns
from poolproof.bridge.errors import UNKNOWN_END, End, StartFailed
from poolproof.bridge.processes.channel import Channel
from poolproof.bridge.processes.output.stderr import StderrTail
from tests.waiting import stop

Connect = Callable[..., Channel]
PONG = "r = request(); put(success(0, {'status': 'ok'}))\n"


def _start(channel: Channel, timeout_s: float = 10.0) -> None:
    channel.handshake(deadline_ns=deadline_ns(timeout_s))


def _fail(channel: Channel, timeout_s: float = 10.0) -> StartFailed:
    with pytest.raises(StartFailed) as caught:
        _start(channel, timeout_s)
    assert caught.value.worker_id == channel.process.worker_id
    assert channel.process.exited(10), "a worker that did not start is killed"
    return caught.value


def test_the_init_ping_is_a_ping_with_id_zero(connect: Connect) -> None:
    body = (
        "r = request(); put(success(0, 1)); put(success(request()['id'], [r['id'], r['command'], r['args']])); rest()"
    )
    channel = connect(body)
    _start(channel)
    assert not channel.dirty
    frame = b'{"id":1,"command":"x","args":{}}'
    response = channel.exchange(1, bytearray(len(frame).to_bytes(4, "big") + frame), deadline_ns=deadline_ns(10))
    assert response.result == [0, "ping", {}]


@pytest.mark.parametrize(
    "noise",
    [
        "success(7, 'stale')",
        "frame(b'')",
        "frame(b'no json')",
        "frame(b'{\"id\": 0}')",
        "frame(b'[1, 2]')",
        "success(7, 'a') + frame(b'x' * 200_000) + success(8, 'b')",
    ],
)
def test_stray_frames_before_the_answer_are_passed_over(connect: Connect, noise: str) -> None:
    channel = connect(f"put({noise}); {PONG}rest()")
    _start(channel)
    assert channel.process.exited() is False


def test_an_answer_that_comes_byte_by_byte_is_an_answer(connect: Connect) -> None:
    _start(connect("request()\nfor b in success(5, 1) + success(0, 'pong'): os.write(1, bytes([b]))\nrest()"))


def test_a_mute_worker_fails_at_the_deadline(connect: Connect) -> None:
    begin_s = time.monotonic()
    error = _fail(connect("rest()"), timeout_s=0.3)
    assert time.monotonic() - begin_s >= 0.3
    assert "did not answer its init ping in time" in str(error)


@pytest.mark.parametrize(
    "traffic",
    [
        "while True:\n    put(success(7, 'stray')); threading.Event().wait(0.02)",
        # Several writers, none above PIPE_BUF, so that their frames never mix.
        "many = success(7, 'stray') * 50\nfor _ in range(3): os.fork()\nwhile True:\n    os.write(1, many)",
    ],
    ids=["a frame now and then", "as much as the pipe takes"],
)
def test_steady_stray_traffic_does_not_move_the_deadline(connect: Connect, traffic: str) -> None:
    channel = connect(traffic)
    begin_s = time.monotonic()
    error = _fail(channel, timeout_s=0.4)
    assert 0.4 <= time.monotonic() - begin_s < 5
    assert "did not answer its init ping in time" in str(error)


def test_traffic_that_never_pauses_does_not_move_the_deadline() -> None:
    # /dev/zero is a worker that sends empty frames without end: each look finds something to read.
    class Zeros:
        worker_id, pid, stdin_fd, stdout_fd = 1, os.getpid(), os.open("/dev/null", 1), os.open("/dev/zero", 0)
        pidfd = os.pidfd_open(pid)

        def exited(self) -> bool:
            return False

        def reap(self, wait_s: float) -> bool:
            return False

        def end(self) -> End:
            return UNKNOWN_END

        def kill(self) -> None:
            # What a killed worker sends: nothing, for ever.
            null = os.open("/dev/null", os.O_RDONLY)
            os.dup2(null, self.stdout_fd)
            os.close(null)

    zeros = Zeros()
    channel = Channel(zeros, StderrTail(ring_bytes=0), limit_bytes=1024)  # type: ignore[arg-type]
    guard = threading.Timer(5, zeros.kill)
    guard.start()
    with pytest.raises(StartFailed, match="did not answer its init ping in time"):
        _start(channel, timeout_s=0.1)
    guard.cancel()
    guard.join()
    for fd in (zeros.stdin_fd, zeros.stdout_fd, zeros.pidfd):
        os.close(fd)


def test_a_worker_that_dies_at_once_fails_with_its_last_words(connect: Connect) -> None:
    error = _fail(connect("os.write(2, b'no module named x\\n'); os._exit(1)"))
    assert error.stderr_tail == "no module named x"


def test_a_worker_that_was_dead_before_the_ping_fails(connect: Connect) -> None:
    channel = connect("os._exit(1)")
    assert channel.process.exited(10)
    assert "died before it answered" in str(_fail(channel))


def test_a_worker_that_dies_while_a_stranger_holds_its_stream_fails_before_the_deadline(connect: Connect) -> None:
    begin_s = time.monotonic()
    channel = connect("leave_a_stranger(); request(); os._exit(0)")
    assert "died before it answered" in str(_fail(channel, timeout_s=60))
    assert time.monotonic() - begin_s < 10


def test_a_worker_that_closes_its_stream_fails(connect: Connect) -> None:
    assert "ended its stream" in str(_fail(connect("request(); os.close(1); rest()")))


def test_an_oversize_header_fails_at_once(connect: Connect) -> None:
    assert "sent bytes that are not a frame" in str(_fail(connect("put(b'hello, I am a worker'); rest()")))


def test_a_refused_ping_fails_with_the_workers_reason(connect: Connect) -> None:
    refusal = 'frame(b\'{"id": 0, "success": false, "error": "no licence"}\')'
    assert "refused its init ping: no licence" in str(_fail(connect(f"request(); put({refusal}); rest()")))


def test_a_stopped_worker_fails_at_the_deadline(connect: Connect) -> None:
    channel = connect(PONG + "rest()")
    stop(channel.process.pid)
    _fail(channel, timeout_s=0.2)


def test_a_handshake_in_steps_never_blocks_and_is_done_with_the_answer(connect: Connect) -> None:
    channel = connect(f"put(success(9, 'stray'))\n{PONG}rest()")
    start = channel.new_start()
    start.begin()
    assert not start.done
    steps = []
    while not start.done:
        assert select.select([channel.process.stdout_fd], [], [], 10)[0], "the worker has something to say"
        steps.append(start.advance())
    assert steps[-1] is True
    assert not any(steps[:-1])
