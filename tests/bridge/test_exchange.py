"""Requests and responses over a scripted transport: what each failure says was sent, and when a worker is dirty."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from poolproof.bridge.errors import CallTimeout, PoolError, ProtocolError, Sent, WorkerCrashed
from poolproof.bridge.processes.channel import BLOCKING
from poolproof.bridge.wire.exchange import MOST_AHEAD, Steps, exchange, exchange_all, receive, run, send
from poolproof.bridge.wire.framing import HEADER_BYTES, encode_frame
from poolproof.bridge.wire.messages import (
    Response,
    decode_request,
    encode_failure,
    encode_part,
    encode_request,
    encode_success,
)
from poolproof.bridge.wire.receiver import Receiver
from poolproof.pool_v2.aio.io import TaskIo
from poolproof.pool_v2.calls.lease import OpenLeases

LIMIT_BYTES = 1000
DEADLINE_NS = 2**62
PAST_NS = 7
FRAME = encode_request(1, "echo", {"value": 1}, limit_bytes=LIMIT_BYTES)
WHOLE = len(FRAME)
LATE = object()
"""In a script: nothing comes until the deadline."""


class Scripted:
    """A transport whose worker takes and sends what the script says.

    `takes`: how many bytes each write at once takes, all of them when the script is over; LATE only concerns a write
    that waits. `sends`: what each read gives; b"" is the end of the stream.
    """

    def __init__(self, *sends: object, takes: Iterable[object] = (), overdue: bool = False) -> None:
        self.receiver = Receiver(limit_bytes=LIMIT_BYTES)
        self.memory = None
        self.wants_memory = False
        self.dirty = False
        self.overdue = overdue
        self.written = b""
        self.killed = 0
        self.waits: list[tuple[str, object]] = []
        self.dirty_at: list[bool] = []
        self._sends = list(sends)
        self._takes = list(takes)

    def write_some(self, data: memoryview | bytearray) -> int:
        """Take some of it."""
        self.dirty_at.append(self.dirty)
        count = self._takes.pop(0) if self._takes else len(data)
        assert isinstance(count, int)
        count = min(count, len(data))
        self.written += bytes(data[:count])
        return count

    def write(self, left: memoryview, sent: Sent, deadline_ns: int) -> str:
        """Take the rest of it; what the worker did in place of that."""
        self.waits.append(("write", sent))
        assert deadline_ns == DEADLINE_NS
        if self._takes and self._takes.pop(0) is LATE:
            raise self.late(sent)
        self.written += bytes(left)
        return ""

    def take_in(self) -> str:
        """Take in what has come; what the worker did in place of sending something."""
        self.waits.append(("read", None))
        assert self._sends, "nobody reads when everything has come"
        self.dirty_at.append(self.dirty)
        data = self._sends.pop(0)
        if data is LATE:
            raise self.late(Sent.YES)
        assert isinstance(data, bytes)
        if data:
            self.receiver.feed(data)
        return "" if data else self.receiver.describe_gap()

    def unanswered(self, sent: Sent) -> PoolError:
        """The deadline has passed before the answer."""
        return self.late(sent)

    def late(self, sent: Sent) -> CallTimeout:
        """The deadline has passed."""
        return CallTimeout("late", sent=sent, worker_id=3)

    def kill(self) -> None:
        """End it."""
        self.killed += 1

    def crashed(self, what: str, *, sent: Sent = Sent.YES, wait_s: float = 0.0) -> PoolError:
        """What it did."""
        if self.overdue:
            return self.late(sent)
        assert self.killed, "it is ended before anybody waits for its last words"
        assert wait_s == 0.0, "a task must not block, and a thread has waited already"
        return WorkerCrashed(f"worker 3 {what}", sent=sent, worker_id=3)


class AtOnce:
    """Waits as a thread does: each is over when it was made."""

    def read(self, transport: Any, deadline_ns: int) -> Iterable[Any]:
        """See poolproof.bridge.wire.exchange.Io."""
        assert deadline_ns in (DEADLINE_NS, PAST_NS)
        gap = transport.take_in()
        if gap:
            raise transport_gap(transport, gap)
        return ()

    def write(self, transport: Any, left: memoryview, sent: Sent, deadline_ns: int) -> Iterable[Any]:
        """See poolproof.bridge.wire.exchange.Io."""
        transport.write(left, sent, deadline_ns)
        return ()

    def await_last_words(self, transport: Any) -> Iterable[Any]:
        """See poolproof.bridge.wire.exchange.Io."""
        transport.waits.append(("last words", None))
        return ()


class Later(AtOnce):
    """Waits as a task does: each has to be awaited."""

    def read(self, transport: Any, deadline_ns: int) -> Iterable[Any]:
        """See poolproof.bridge.wire.exchange.Io."""
        yield "read"
        yield from super().read(transport, deadline_ns)

    def write(self, transport: Any, left: memoryview, sent: Sent, deadline_ns: int) -> Iterable[Any]:
        """See poolproof.bridge.wire.exchange.Io."""
        yield "write"
        yield from super().write(transport, left, sent, deadline_ns)

    def await_last_words(self, transport: Any) -> Iterable[Any]:
        """See poolproof.bridge.wire.exchange.Io."""
        yield "last words"
        yield from super().await_last_words(transport)


def transport_gap(transport: Scripted, gap: str) -> PoolError:
    """As a channel does when the stream has ended."""
    transport.kill()
    return transport.crashed(gap)


def follow(steps: Steps[Any]) -> Any:
    """Make every wait of a task, one after another."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


Way = tuple[Any, Callable[[Steps[Any]], Any]]
WAYS: list[Way] = [(AtOnce(), run), (Later(), follow)]


@pytest.fixture(params=WAYS, ids=["thread", "task"])
def way(request: pytest.FixtureRequest) -> Way:
    """How the client waits."""
    found: Way = request.param
    return found


def ask(way: Way, transport: Any, deadline_ns: int = DEADLINE_NS) -> Response:
    io, drive = way
    found: Response = drive(exchange(io, transport, 1, FRAME, deadline_ns))
    return found


def send_one(way: Way, transport: Any, ahead: int = 0) -> None:
    """Send the request, of which so many bytes were written before."""
    io, drive = way

    def steps() -> Steps[None]:
        yield from send(io, transport, FRAME, DEADLINE_NS, ahead)

    drive(steps())


def fail(way: Way, transport: Any, kind: type[PoolError], deadline_ns: int = DEADLINE_NS) -> PoolError:
    with pytest.raises(kind) as caught:
        ask(way, transport, deadline_ns)
    assert transport.dirty, "its worker is never used again"
    assert caught.value.worker_id == 3
    return caught.value


# One request and its response.


def test_a_response_in_any_two_pieces_or_byte_by_byte_is_the_same(way: Way) -> None:
    answer = encode_frame(encode_success(1, {"a": [1, 2]}))
    cuts = [[answer], [answer[i : i + 1] for i in range(len(answer))]]
    cuts += [[answer[:cut], answer[cut:]] for cut in range(1, len(answer))]
    for pieces in cuts:
        transport = Scripted(*pieces)
        assert ask(way, transport).result == {"a": [1, 2]}
        assert not transport.dirty
        assert set(transport.dirty_at) == {True}, "as long as something is outstanding"
        assert transport.waits == [("read", None)] * len(pieces), "nobody reads more than he needs"
        assert transport.written == FRAME


def test_a_failure_of_the_command_is_a_response_and_leaves_the_worker_clean(way: Way) -> None:
    transport = Scripted(encode_frame(encode_failure(1, "no")))
    assert (ask(way, transport).error, transport.dirty, transport.killed) == ("no", False, 0)


@pytest.mark.parametrize(
    ("first", "sent"), [(0, Sent.NO), (1, Sent.MAYBE), (HEADER_BYTES, Sent.MAYBE), (WHOLE - 1, Sent.MAYBE)]
)
def test_what_the_worker_does_not_take_at_once_is_waited_for(way: Way, first: int, sent: Sent) -> None:
    transport = Scripted(encode_frame(encode_success(1, 1)), takes=[first])
    assert ask(way, transport).result == 1
    assert transport.waits[0] == ("write", sent)
    assert transport.written == FRAME

    late = Scripted(takes=[first, LATE])
    assert fail(way, late, CallTimeout).sent is sent
    assert late.written == FRAME[:first]


@pytest.mark.parametrize("ahead", [1, WHOLE - 1, WHOLE])
def test_what_was_written_before_is_not_written_again(way: Way, ahead: int) -> None:
    transport: Any = Scripted()
    send_one(way, transport, ahead)
    assert transport.written == FRAME[ahead:]
    assert transport.waits == ([] if ahead == WHOLE else [("write", Sent.MAYBE)])
    assert transport.dirty


@pytest.mark.parametrize(
    ("sends", "what"),
    [
        ([b""], "ended its stream before it answered"),
        ([b"\0\0", b""], "ended its stream before it answered"),
        ([b"\0\0\0\5ab", b""], "ended its stream 3 bytes short of a frame of 5"),
        ([encode_frame(encode_success(2, 1))], "answered request 2 instead of 1"),
        ([encode_frame(encode_part(1, 1, more=True))], "answered a part of request 1 instead of 1"),
        ([encode_frame(encode_part(1, 1, more=False))], "answered a part of request 1 instead of 1"),
        ([encode_frame(encode_success(1, 1)) + b"\0"], "sent more bytes after its last response"),
        ([encode_frame(encode_success(1, 1)) * 2], "sent more bytes after its last response"),
        ([encode_frame(encode_success(1, 1)) + b"\0\0\0\5ab"], "sent more bytes after its last response"),
    ],
)
def test_a_worker_that_breaks_the_protocol_is_ended_and_its_request_was_sent(
    way: Way, sends: list[bytes], what: str
) -> None:
    transport = Scripted(*sends)
    error = fail(way, transport, WorkerCrashed)
    assert (error.message, error.sent, transport.killed) == (f"worker 3 {what}", Sent.YES, 1)


def test_garbage_is_a_crash_whose_last_words_are_waited_for(way: Way) -> None:
    transport = Scripted(encode_frame(b"{]"))
    error = fail(way, transport, WorkerCrashed)
    assert error.message.startswith("worker 3 sent what is not a response")
    assert isinstance(error.__cause__, ProtocolError)
    assert (error.sent, transport.killed, transport.waits[-1]) == (Sent.YES, 1, ("last words", None))


def test_a_worker_that_was_cut_off_is_a_call_timeout_whatever_it_sent(way: Way) -> None:
    transport = Scripted(encode_frame(b"{]"), overdue=True)
    assert fail(way, transport, CallTimeout).sent is Sent.YES
    assert transport.killed == 0, "whoever cut it off has ended it"
    assert ("last words", None) not in transport.waits


def test_a_deadline_before_the_answer_leaves_the_worker_to_its_pool(way: Way) -> None:
    for sends in ([LATE], [b"\0", LATE], [encode_frame(b"12345")[:-1], LATE]):
        transport = Scripted(*sends)
        assert fail(way, transport, CallTimeout).sent is Sent.YES
        assert transport.killed == 0


@pytest.mark.parametrize("io", [BLOCKING, TaskIo(OpenLeases(), pytest.fail)], ids=["thread", "task"])
def test_bytes_that_never_stop_coming_do_not_stretch_the_deadline(io: Any) -> None:
    torn = SimpleNamespace(torn=True)
    transport = SimpleNamespace(receiver=torn, unanswered=lambda sent: CallTimeout("too late", sent=sent))
    with pytest.raises(CallTimeout) as caught:  # before it reads, or waits for anything
        list(io.read(transport, PAST_NS))
    assert caught.value.sent is Sent.YES


def test_a_thread_that_would_have_to_await_something_is_a_defect() -> None:
    with pytest.raises(AssertionError, match="a thread's step is over when it was made"):
        ask((Later(), run), Scripted(b""))


# Answers in parts.


def test_parts_come_one_by_one_and_the_worker_is_clean_after_the_last(way: Way) -> None:
    io, drive = way
    parts = [encode_frame(encode_part(1, n, more=True)) for n in range(3)]
    last = encode_frame(encode_part(1, None, more=False))
    transport: Any = Scripted(parts[0] + parts[1], parts[2] + last)
    send_one(way, transport)
    found = []
    for _ in range(4):
        assert transport.dirty
        found.append(drive(receive(io, transport, 1, DEADLINE_NS, parts=True)))

    assert [response.result for response in found] == [0, 1, 2, None]
    assert [response.more for response in found] == [True, True, True, False]
    assert not transport.dirty
    assert transport.waits == [("read", None)] * 2


@pytest.mark.parametrize(
    "last",
    [encode_success(1, "all"), encode_failure(1, "no"), encode_part(1, None, more=False)],
    ids=["plain", "failure", "end"],
)
def test_something_behind_the_end_of_a_stream_is_a_crash(way: Way, last: bytes) -> None:
    io, drive = way
    clean: Any = Scripted(encode_frame(last))
    clean.dirty = True
    drive(receive(io, clean, 1, DEADLINE_NS, parts=True))
    assert not clean.dirty

    transport: Any = Scripted(encode_frame(last) + encode_frame(encode_part(1, 1, more=True)))
    transport.dirty = True
    with pytest.raises(WorkerCrashed, match="sent more bytes after its last response"):
        drive(receive(io, transport, 1, DEADLINE_NS, parts=True))
    assert transport.dirty


# Several requests.


def several(count: int) -> list[tuple[int, bytearray]]:
    return [
        (number, encode_request(number, "echo", {"value": number}, limit_bytes=LIMIT_BYTES))
        for number in range(10, 10 + count)
    ]


class Told:
    """What a batch was told, in order."""

    def __init__(self) -> None:
        self.sent: list[int] = []
        self.answered: list[tuple[int, Any]] = []
        self.most_ahead = 0

    def on_sent(self, number: int) -> None:
        """The last byte has left."""
        self.sent.append(number)
        self.most_ahead = max(self.most_ahead, len(self.sent) - len(self.answered))

    def on_answer(self, number: int, response: Response) -> None:
        """A response has come."""
        assert number in self.sent
        self.answered.append((number, response.result))


def ask_all(way: Way, transport: Any, requests: list[tuple[int, bytearray]], told: Told) -> None:
    io, drive = way
    drive(exchange_all(io, transport, requests, DEADLINE_NS, on_sent=told.on_sent, on_answer=told.on_answer))


def answers(requests: list[tuple[int, bytearray]]) -> list[bytes]:
    return [encode_frame(encode_success(number, number)) for number, _ in requests]


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("count", [1, 2, MOST_AHEAD, MOST_AHEAD + 1, 3 * MOST_AHEAD])
def test_all_requests_are_sent_ahead_of_their_responses_within_the_bound(way: Way, count: int, together: bool) -> None:
    requests, told = several(count), Told()
    sends = answers(requests)
    if together:  # as many as may be on their way
        sends = [b"".join(sends[i : i + MOST_AHEAD]) for i in range(0, count, MOST_AHEAD)]
    transport = Scripted(*sends)
    ask_all(way, transport, requests, told)

    assert told.answered == [(number, number) for number, _ in requests]
    assert told.sent == [number for number, _ in requests]
    assert transport.written == b"".join(frame for _, frame in requests)
    assert told.most_ahead == min(count, MOST_AHEAD)
    assert (transport.dirty, set(transport.dirty_at)) == (False, {True})


@pytest.mark.parametrize("takes", [[0], [5], [1000, 0], [1000, 5, 7], [1000, 3, 0, 0, 1]])
def test_a_full_pipe_is_waited_for_only_if_no_answer_can_make_room(way: Way, takes: list[int]) -> None:
    requests, told = several(4), Told()
    transport = Scripted(*answers(requests), takes=takes)
    ask_all(way, transport, requests, told)

    assert [decode_request(bytes(frame[HEADER_BYTES:])).id for _, frame in requests] == told.sent
    assert transport.written == b"".join(frame for _, frame in requests)
    assert told.answered == [(number, number) for number, _ in requests]
    waited = ("write", Sent.MAYBE if takes[0] else Sent.NO)
    assert transport.waits[0] == (waited if takes[0] < 1000 else ("read", None))
    assert transport.waits.count(("read", None)) == 4


def test_a_request_that_was_begun_before_a_wait_was_sent_in_part(way: Way) -> None:
    requests, told = several(2), Told()
    transport = Scripted(answers(requests)[0], takes=[1000, 5, 0, LATE])
    with pytest.raises(CallTimeout) as caught:
        ask_all(way, transport, requests, told)

    assert caught.value.sent is Sent.MAYBE
    assert (told.sent, told.answered) == ([10], [(10, 10)])
    assert transport.dirty


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda sends: [sends[1], sends[0]], "answered request 11 instead of 10"),
        (lambda sends: [sends[0], sends[0]], "answered request 10 instead of 11"),
        (lambda sends: [sends[0] + sends[1] + sends[0]], "sent more bytes after its last response"),
        (lambda sends: [sends[0], sends[1] + b"\0"], "sent more bytes after its last response"),
        (lambda sends: [sends[0], b""], "ended its stream before it answered"),
        (lambda sends: [sends[0] + sends[1][:7], b""], "ended its stream"),
        (lambda sends: [sends[0], encode_frame(encode_part(11, 1, more=False))], "answered a part of request 11"),
    ],
)
def test_a_worker_that_breaks_the_protocol_in_a_batch_is_ended(
    way: Way, spoil: Callable[[list[bytes]], list[bytes]], what: str
) -> None:
    requests, told = several(2), Told()
    transport = Scripted(*spoil(answers(requests)))
    with pytest.raises(WorkerCrashed, match=what) as caught:
        ask_all(way, transport, requests, told)

    assert caught.value.sent is Sent.YES
    assert (transport.dirty, transport.killed) == (True, 1)
    assert told.sent == [10, 11]
    assert told.answered == ([] if what.endswith("instead of 10") else [(10, 10)]), "what was good before is kept"
