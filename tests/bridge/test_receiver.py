"""What a worker sends, cut into payloads: the same payloads however the bytes were cut."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

import pytest

from poolproof.bridge.errors import ProtocolError
from poolproof.bridge.wire.framing import HEADER_BYTES, encode_frame
from poolproof.bridge.wire.receiver import Receiver

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
        if not receiver.partial:
            receiver.feed(data)
            return
        room = receiver.room()
        count = min(len(room), len(data))
        room[:count] = data[:count]
        receiver.fill(count)
        data = data[count:]


def taken(receiver: Receiver) -> list[bytes]:
    """Every payload that has come whole."""
    found = [bytes(payload) for payload in receiver.payloads]
    receiver.payloads.clear()
    return found


def received(pieces: Iterable[bytes], give: Give) -> list[bytes]:
    receiver = Receiver(limit_bytes=LIMIT_BYTES)
    found: list[bytes] = []
    for piece in pieces:
        if piece:
            give(receiver, piece)
            found += taken(receiver)
    assert not receiver.torn
    assert not receiver.partial
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

    assert taken(receiver) == [payload]
    assert not receiver.torn
    assert not receiver.partial


def test_the_rest_of_a_frame_is_read_straight_into_its_place() -> None:
    receiver = Receiver(limit_bytes=LIMIT_BYTES)
    assert not receiver.partial
    receiver.feed(encode_frame(b"0123456789")[: HEADER_BYTES + 4])
    assert receiver.partial
    room = receiver.room()
    assert len(room) == 6, "what is missing, and no byte of the next frame"

    room[:2] = b"45"
    receiver.fill(2)
    assert taken(receiver) == []
    assert receiver.partial
    room = receiver.room()
    room[:] = b"6789"
    receiver.fill(4)

    assert not receiver.partial
    assert taken(receiver) == [b"0123456789"]


def test_only_a_frame_that_has_begun_has_room() -> None:
    for receiver in (Receiver(limit_bytes=LIMIT_BYTES), Receiver(limit_bytes=LIMIT_BYTES)):
        with pytest.raises(AssertionError, match="only a frame that has begun has room"):
            receiver.fill(1)
        with pytest.raises(AssertionError, match="only a frame that has begun has room"):
            receiver.room()
        receiver.feed(encode_frame(b"whole"))


@pytest.mark.parametrize("give", [fed, read])
@pytest.mark.parametrize(
    ("come", "whole", "torn", "partial"),
    [
        (b"\0", [], True, False),
        (b"\0\0\0", [], True, False),
        (b"\0\0\0\5", [], True, True),
        (b"\0\0\0\5abcd", [], True, True),
        (b"\0\0\0\1a", [b"a"], False, False),
        (b"\0\0\0\0", [b""], False, False),
        (b"\0\0\0\1a\0", [b"a"], True, False),
        (b"\0\0\0\1a\0\0\0\2b", [b"a"], True, True),
    ],
)
def test_whatever_was_not_taken_is_a_payload_or_a_part_of_one(
    give: Give, come: bytes, whole: list[bytes], torn: bool, partial: bool
) -> None:
    for pieces in ([come], [come[i : i + 1] for i in range(len(come))]):
        receiver = Receiver(limit_bytes=LIMIT_BYTES)
        assert not receiver.torn
        for piece in pieces:
            give(receiver, piece)
            assert receiver.payloads or receiver.torn
        assert (taken(receiver), receiver.torn, receiver.partial) == (whole, torn, partial)


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
    assert taken(receiver) == []
