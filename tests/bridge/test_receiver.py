"""What a worker sends, cut into payloads: the same payloads however the bytes were cut."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

import msgspec
import pytest

from bridge.errors import ProtocolError
from bridge.framing import HEADER_BYTES, encode_frame
from bridge.messages import Response, encode_failure, encode_part, encode_success
from bridge.receiver import Receiver, check, ends_stream

LIMIT_BYTES = 64
PAYLOADS = [b"first", b"", b"x" * LIMIT_BYTES, b"{}", b"\0\0\0\1"]
STREAM = b"".join(encode_frame(payload) for payload in PAYLOADS)
Give = Callable[[Receiver, bytes], None]


def fed(receiver: Receiver, data: bytes) -> None:
    """Bytes that have come, as a reader does that never asks where they belong."""
    receiver.feed(data)


def read(receiver: Receiver, data: bytes) -> None:
    """Bytes that have come, as a reader does that reads the rest of a frame into its place."""
    while data:
        room = receiver.room
        if room is None:
            receiver.feed(data)
            return
        count = min(len(room), len(data))
        room[:count] = data[:count]
        receiver.fill(count)
        data = data[count:]


def taken(receiver: Receiver) -> list[bytes]:
    """Every payload that has come whole."""
    return [bytes(payload) for payload in iter(receiver.take, None)]


def received(pieces: Iterable[bytes], give: Give) -> list[bytes]:
    receiver = Receiver(limit_bytes=LIMIT_BYTES)
    found: list[bytes] = []
    for piece in pieces:
        if piece:
            give(receiver, piece)
            found += taken(receiver)
    assert not receiver.pending
    return found


@pytest.mark.parametrize("give", [fed, read])
def test_payloads_are_the_same_whole_byte_by_byte_and_in_any_two_or_three_pieces(give: Give) -> None:
    assert received([STREAM], give) == PAYLOADS, "several payloads in one read"
    assert received((STREAM[i : i + 1] for i in range(len(STREAM))), give) == PAYLOADS
    for cut in range(len(STREAM) + 1):
        assert received([STREAM[:cut], STREAM[cut:]], give) == PAYLOADS, f"cut at {cut}"
    for one, other in itertools.combinations(range(0, len(STREAM), 3), 2):
        assert received([STREAM[:one], STREAM[one:other], STREAM[other:]], give) == PAYLOADS, f"cut at {one}, {other}"


@pytest.mark.parametrize("payload", PAYLOADS)
def test_one_whole_frame_in_one_read_is_its_payload(payload: bytes) -> None:
    receiver = Receiver(limit_bytes=LIMIT_BYTES)
    receiver.feed(encode_frame(payload))

    assert receiver.pending
    assert taken(receiver) == [payload]
    assert not receiver.pending


def test_the_rest_of_a_frame_is_read_straight_into_its_place() -> None:
    receiver = Receiver(limit_bytes=LIMIT_BYTES)
    assert receiver.room is None
    receiver.feed(encode_frame(b"0123456789")[: HEADER_BYTES + 4])
    room = receiver.room
    assert room is not None
    assert len(room) == 6, "what is missing, and no byte of the next frame"

    room[:2] = b"45"
    receiver.fill(2)
    assert receiver.take() is None
    room = receiver.room
    assert room is not None
    room[:] = b"6789"
    receiver.fill(4)

    assert receiver.room is None
    assert receiver.take() == b"0123456789"
    with pytest.raises(AssertionError, match="only a frame that has begun has room"):
        receiver.fill(1)


@pytest.mark.parametrize("come", [b"\0", b"\0\0\0", b"\0\0\0\5", b"\0\0\0\5abcd", b"\0\0\0\1a", b"\0\0\0\1a\0"])
def test_whatever_was_not_taken_is_pending(come: bytes) -> None:
    for pieces in ([come], [come[i : i + 1] for i in range(len(come))]):
        receiver = Receiver(limit_bytes=LIMIT_BYTES)
        assert not receiver.pending
        for piece in pieces:
            receiver.feed(piece)
            assert receiver.pending


@pytest.mark.parametrize(
    ("come", "gap"),
    [
        (b"", "ended its stream before it answered"),
        (b"\0\0", "ended its stream before it answered"),
        (b"\0\0\0\12", "ended its stream 10 bytes short of a frame of 10"),
        (b"\0\0\0\12abc", "ended its stream 7 bytes short of a frame of 10"),
    ],
)
def test_the_gap_says_how_much_is_missing(come: bytes, gap: str) -> None:
    for pieces in ([come], [come[i : i + 1] for i in range(len(come))]):
        receiver = Receiver(limit_bytes=LIMIT_BYTES)
        for piece in pieces:
            if piece:
                receiver.feed(piece)
        assert receiver.describe_gap() == gap


@pytest.mark.parametrize("size", [LIMIT_BYTES + 1, 2**32 - 1])
@pytest.mark.parametrize("before", [b"", encode_frame(b"good")])
def test_a_frame_over_the_limit_is_refused_by_its_header_alone(size: int, before: bytes) -> None:
    come = before + size.to_bytes(HEADER_BYTES, "big")
    for cut in range(len(come)):
        receiver = Receiver(limit_bytes=LIMIT_BYTES)
        if cut:
            receiver.feed(come[:cut])
        with pytest.raises(ProtocolError, match=f"{size} bytes"):
            receiver.feed(come[cut:])
        assert taken(receiver) == ([b"good"] if before else []), "what came before it is good"


def test_a_whole_frame_over_the_limit_is_refused() -> None:
    receiver = Receiver(limit_bytes=LIMIT_BYTES)
    with pytest.raises(ProtocolError):
        receiver.feed(encode_frame(b"x" * (LIMIT_BYTES + 1)))
    assert receiver.take() is None


# What a payload says.

PART = encode_part(7, "part", more=True)
LAST = encode_part(7, None, more=False)


@pytest.mark.parametrize("parts", [False, True])
def test_a_response_is_checked_whether_parts_were_asked_for_or_not(parts: bool) -> None:
    response = check(encode_success(7, {"a": 1}), 7, parts=parts)
    assert (response.id, response.success, response.result) == (7, True, {"a": 1})
    assert not check(encode_failure(7, "no"), 7, parts=parts).success


@pytest.mark.parametrize(
    ("payload", "what"),
    [
        (encode_success(8, 1), "answered request 8 instead of 7"),
        (encode_failure(0, "no"), "answered request 0 instead of 7"),
        (PART, "answered a part of request 7 instead of 7"),
        (LAST, "answered a part of request 7 instead of 7"),
        (encode_part(8, 1, more=True), "answered a part of request 8 instead of 7"),
    ],
)
def test_what_does_not_answer_the_request_is_refused_with_what_the_worker_did(payload: bytes, what: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        check(payload, 7)
    assert str(caught.value) == what


@pytest.mark.parametrize("payload", [b"", b"{]", b"[]", b"\xff\xfe", b'{"id": 7}'])
@pytest.mark.parametrize("parts", [False, True])
def test_garbage_is_refused(payload: bytes, parts: bool) -> None:
    with pytest.raises(ProtocolError, match="sent what is "):
        check(payload, 7, parts=parts)


def test_a_part_of_another_request_is_refused_where_parts_were_asked_for() -> None:
    assert check(PART, 7, parts=True).result == "part"
    with pytest.raises(ProtocolError, match="answered a part of request 7 instead of 8"):
        check(PART, 8, parts=True)


@pytest.mark.parametrize(
    ("payload", "ends"),
    [(PART, False), (LAST, True), (encode_success(7, 1), True), (encode_failure(7, "no"), True)],
)
def test_a_stream_ends_with_its_last_part_a_failure_or_one_plain_response(payload: bytes, ends: bool) -> None:
    assert ends_stream(check(payload, 7, parts=True)) is ends


def test_a_failure_that_says_more_ends_its_stream_all_the_same() -> None:
    assert ends_stream(msgspec.structs.replace(Response(id=7, success=False, error="no"), more=True))
