"""One exchange on one worker: what goes wrong is told apart, says what was sent, and leaves the channel dirty."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from poolproof.bridge.clock import deadline_ns, now_ns
from poolproof.bridge.errors import CallTimeout, Sent, WorkerCrashed
from poolproof.bridge.processes.blocking import BLOCKING
from poolproof.bridge.processes.channel import Channel
from poolproof.bridge.processes.polling import ready
from poolproof.bridge.wire.exchange import receive, run
from poolproof.bridge.wire.messages import encode_request
from tests.waiting import stop

Connect = Callable[..., Channel]
ECHO = "while True:\n    r = request()\n    put(success(r['id'], r['args'].get('value')))\n"


def _ask(channel: Channel, request_id: int, value: object = None, *, timeout_s: float = 10.0) -> object:
    frame = encode_request(request_id, "echo", {"value": value}, limit_bytes=2**31)
    response = channel.exchange(request_id, frame, deadline_ns=deadline_ns(timeout_s))
    assert response.success
    return response.result


def _crash(channel: Channel, value: object = None) -> WorkerCrashed:
    with pytest.raises(WorkerCrashed) as caught:
        _ask(channel, 1, value)
    assert channel.dirty
    assert caught.value.worker_id == channel.process.worker_id
    return caught.value


def test_a_channel_is_clean_at_first_and_after_every_whole_exchange(connect: Connect) -> None:
    channel = connect(ECHO)
    assert not channel.dirty
    values: list[Any] = [None, 0, [], "", {"result": 1}, "x" * 3_000_000]
    for request_id, value in enumerate(values, start=1):
        assert _ask(channel, request_id, value) == value
        assert not channel.dirty


def test_a_failure_of_the_command_is_a_response_and_leaves_the_channel_clean(connect: Connect) -> None:
    body = "r = request(); put(frame(json.dumps({'id': r['id'], 'success': False, 'error': 'no'}).encode())); rest()"
    channel = connect(body)
    frame = encode_request(4, "echo", {}, limit_bytes=1000)
    response = channel.exchange(4, frame, deadline_ns=deadline_ns(10))
    assert (response.success, response.error) == (False, "no")
    assert not channel.dirty


def test_the_last_byte_has_left_when_the_sender_is_told_so(connect: Connect) -> None:
    channel = connect(ECHO)
    seen: list[bool] = []
    frame = encode_request(1, "echo", {"value": "x" * 500_000}, limit_bytes=2**31)
    channel.exchange(1, frame, deadline_ns=deadline_ns(10), on_sent=lambda: seen.append(channel.dirty))
    assert seen == [True]


def test_an_answer_from_before_the_worker_s_end_counts_though_its_reader_was_woken_since(
    connect: Connect, until: Callable[..., None]
) -> None:
    channel = connect("r = request()\nleave_a_stranger()\nput(success(r['id'], 'early'))\n")
    channel.watched = True
    os.write(channel.process.stdin_fd, encode_request(1, "echo", {}, limit_bytes=1000))
    until(channel.exited, "it has answered and ended")
    channel.wake_reader()

    assert run(receive(BLOCKING, channel, 1, deadline_ns(10))).result == "early"


def test_a_response_that_comes_byte_by_byte_is_read_whole(connect: Connect) -> None:
    channel = connect("r = request()\nfor b in success(r['id'], {'a': [1, 2]}): os.write(1, bytes([b]))\nrest()")
    assert _ask(channel, 1) == {"a": [1, 2]}


def test_a_response_that_fills_the_first_read_exactly_is_whole(connect: Connect) -> None:
    # 64 KiB with its header: the read that meets the limit must not wait for more.
    body = "r = request()\nempty = len(success(r['id'], ''))\nput(success(r['id'], 'x' * (65536 - empty)))\nrest()"
    answer = _ask(connect(body), 1)
    assert isinstance(answer, str)
    assert set(answer) == {"x"}


def test_a_worker_that_does_not_answer_is_a_call_timeout_and_the_request_was_sent(connect: Connect) -> None:
    channel = connect("request(); rest()")
    begin_s = time.monotonic()
    with pytest.raises(CallTimeout, match="did not answer") as caught:
        _ask(channel, 1, timeout_s=0.2)
    assert time.monotonic() - begin_s >= 0.2
    assert caught.value.sent is Sent.YES
    assert caught.value.worker_id == 1
    assert channel.dirty
    assert not channel.process.exited(), "a channel leaves it to its pool to kill after a timeout"


def test_a_stopped_worker_is_a_call_timeout(connect: Connect) -> None:
    channel = connect(ECHO)
    assert _ask(channel, 1, 5) == 5
    stop(channel.process.pid)
    with pytest.raises(CallTimeout):
        _ask(channel, 2, timeout_s=0.2)
    assert channel.dirty


def test_a_request_larger_than_the_pipe_to_a_worker_that_does_not_read_times_out(connect: Connect) -> None:
    channel = connect("rest()")
    with pytest.raises(CallTimeout, match="did not take the whole request") as caught:
        _ask(channel, 1, "x" * 1_000_000, timeout_s=0.2)
    assert caught.value.sent is Sent.MAYBE
    assert channel.dirty


def test_a_second_request_into_a_full_pipe_was_not_sent(connect: Connect) -> None:
    channel = connect("rest()")
    with pytest.raises(CallTimeout):
        _ask(channel, 1, "x" * 1_000_000, timeout_s=0.1)
    with pytest.raises(CallTimeout) as caught:
        _ask(channel, 2, timeout_s=0.1)
    assert caught.value.sent is Sent.NO


def test_a_worker_that_reads_slowly_for_ever_meets_the_deadline(connect: Connect) -> None:
    channel = connect("pause = threading.Event()\nwhile True:\n    os.read(0, 4096); pause.wait(0.002)")
    with pytest.raises(CallTimeout) as caught:
        _ask(channel, 1, "x" * 8_000_000, timeout_s=0.3)
    assert caught.value.sent is Sent.MAYBE


def test_a_request_that_never_stops_leaving_meets_the_deadline(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = connect("while True: os.read(0, 65536)")
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:1]))  # there is always room for one byte more
    start_ns = now_ns()
    with pytest.raises(CallTimeout) as caught:
        _ask(channel, 1, "x" * 1_000_000, timeout_s=0.2)
    assert now_ns() - start_ns < 5e9
    assert caught.value.sent is Sent.MAYBE


def test_a_worker_that_answers_without_end_meets_the_deadline(connect: Connect) -> None:
    # The bytes never stop coming, so there is always something to read; the deadline must hold all the same.
    body = """
request()
os.write(1, (2**24).to_bytes(4, "big"))
for _ in range(3):
    os.fork()
while True:
    os.write(1, b"x")
"""
    channel = connect(body)
    start_ns = now_ns()
    with pytest.raises(CallTimeout) as caught:
        _ask(channel, 1, timeout_s=0.3)
    assert now_ns() - start_ns < 5e9
    assert caught.value.sent is Sent.YES


def test_a_worker_that_dies_before_it_answers_is_a_crash_with_its_last_words(connect: Connect) -> None:
    error = _crash(connect("request(); os.write(2, b'first\\nboom\\n'); os._exit(3)"))
    assert error.sent is Sent.YES
    assert error.stderr_tail == "first\nboom"
    assert "boom" in str(error)


def test_a_worker_that_dies_in_the_middle_of_its_response_is_a_crash(connect: Connect) -> None:
    error = _crash(connect("r = request(); put(success(r['id'], 'x' * 1000)[:500]); os._exit(0)"))
    assert error.sent is Sent.YES
    assert "short of a frame" in str(error)


def test_a_worker_that_dies_in_the_middle_of_a_header_is_a_crash(connect: Connect) -> None:
    error = _crash(connect("request(); put(b'\\0\\0'); os._exit(0)"))
    assert error.sent is Sent.YES


def test_a_worker_that_is_dead_already_was_sent_nothing(connect: Connect) -> None:
    channel = connect("os._exit(0)")
    assert channel.process.exited(10)
    error = _crash(channel)
    assert error.sent is Sent.NO
    assert "does not read its requests" in str(error)


def test_a_worker_that_dies_while_it_is_written_to_may_have_got_the_request(connect: Connect) -> None:
    error = _crash(connect("exactly(10); os._exit(0)"), "x" * 1_000_000)
    assert error.sent is Sent.MAYBE


def test_a_worker_that_closes_its_stream_and_lives_is_a_crash(connect: Connect) -> None:
    channel = connect("request(); os.close(1); rest()")
    assert "ended its stream" in str(_crash(channel))
    assert channel.process.exited(10), "a worker that broke its stream is killed"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("b'this is no frame at all'", "broke the protocol"),
        ("b'\\xff\\xff\\xff\\xff'", "the limit is 16777216"),
        ("frame(b'\\xff{')", "not a response"),
        ("frame(b'')", "not a response"),
        ("frame(b'{}')", "not a response"),
        ('frame(b\'{"id": 1, "success": true}\')', "a success without a result"),
        ("success(2, 'stale')", "answered request 2 instead of 1"),
        ("success(0, 'pong')", "answered request 0 instead of 1"),
        ("success(1, 'a') + success(1, 'a')", "sent more bytes after its last response"),
        ("success(1, 'a') + b'x'", "sent more bytes after its last response"),
    ],
)
def test_a_broken_answer_is_a_crash_that_says_how(connect: Connect, answer: str, reason: str) -> None:
    channel = connect(f"request(); put({answer}); rest()")
    error = _crash(channel)
    assert error.sent is Sent.YES
    assert reason in str(error)
    assert channel.process.exited(10)


def test_a_duplicate_that_comes_later_is_never_the_next_answer(connect: Connect) -> None:
    channel = connect("r = request(); put(success(r['id'], 'old')); request(); put(success(r['id'], 'old')); rest()")
    assert _ask(channel, 1) == "old"
    with pytest.raises(WorkerCrashed, match="answered request 1 instead of 2"):
        _ask(channel, 2)
    assert channel.dirty


def test_a_stranger_that_holds_the_stream_does_not_hide_the_workers_death(connect: Connect) -> None:
    channel = connect("request(); leave_a_stranger(); os._exit(0)")
    begin_s = time.monotonic()
    error = _crash(channel)
    assert time.monotonic() - begin_s < 8
    assert "died before it answered" in str(error)
    assert error.sent is Sent.YES


def test_a_stranger_does_not_hide_a_death_in_the_middle_of_a_response(connect: Connect) -> None:
    channel = connect("request(); leave_a_stranger(); put((100).to_bytes(4, 'big') + b'x'); os._exit(0)")
    error = _crash(channel)
    assert "died before it answered" in str(error)


def test_a_stranger_that_holds_the_input_does_not_take_the_request_for_the_dead(connect: Connect) -> None:
    channel = connect("leave_a_stranger(); os._exit(0)")
    assert channel.process.exited(10)
    begin_s = time.monotonic()
    error = _crash(channel, "x" * 1_000_000)
    assert time.monotonic() - begin_s < 8, "the death is seen long before the deadline"
    assert error.sent is Sent.MAYBE
    assert "does not read its requests" in str(error)


def test_what_a_worker_wrote_before_it_died_counts_though_a_stranger_holds_the_stream(connect: Connect) -> None:
    channel = connect("r = request(); leave_a_stranger(); put(success(r['id'], 'last')); os._exit(0)")
    assert _ask(channel, 1) == "last"


def test_an_answer_that_is_there_counts_even_at_the_deadline(connect: Connect, until: Callable[..., None]) -> None:
    channel = connect("put(success(1, 'early')); rest()")
    until(lambda: select.select([channel.process.stdout_fd], [], [], 0)[0], "the answer is in the pipe")
    assert _ask(channel, 1, timeout_s=-1.0) == "early"


def test_what_a_dead_worker_wrote_between_two_looks_counts() -> None:
    class Looks:
        """First the death is seen, then what was written just before it."""

        found: ClassVar = [[(8, select.POLLIN)], [(5, select.POLLIN), (8, select.POLLIN)]]

        def poll(self, _: float) -> list[tuple[int, int]]:
            return self.found.pop(0)

    assert ready(Looks(), 5, deadline_ns(10))  # type: ignore[arg-type]


def test_a_channel_whose_input_was_ended_refuses_to_send(connect: Connect) -> None:
    channel = connect(ECHO)
    channel.process.end_input()
    assert _crash(channel).sent is Sent.NO
