"""Frames: cut right however the bytes arrive, and refused past a limit."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poolproof.bridge.errors import ProtocolError
from poolproof.bridge.wire.framing import HEADER_BYTES, MAX_WIRE_BYTES, FrameDecoder, encode_frame, frame_size

PAYLOADS = [b"", b"a", b'{"id": 1}', b"\x00\x00\x00\x05", b"x" * 70_000]


def test_a_frame_is_a_big_endian_length_and_its_bytes() -> None:
    assert encode_frame(b"abc") == b"\x00\x00\x00\x03abc"
    assert encode_frame(b"x" * 258)[:HEADER_BYTES] == b"\x00\x00\x01\x02"


def test_any_buffer_can_be_framed() -> None:
    assert encode_frame(bytearray(b"ab")) == encode_frame(memoryview(b"ab")) == encode_frame(b"ab")


def test_a_decoder_fed_whole_gives_every_payload_in_order() -> None:
    decoder = FrameDecoder(limit_bytes=100_000)
    assert decoder.feed(b"".join(map(encode_frame, PAYLOADS))) == PAYLOADS
    assert decoder.pending_bytes == 0


def test_a_decoder_fed_byte_by_byte_gives_the_same_payloads() -> None:
    decoder = FrameDecoder(limit_bytes=100_000)
    stream = b"".join(map(encode_frame, PAYLOADS))
    found = [payload for at in range(len(stream)) for payload in decoder.feed(stream[at : at + 1])]
    assert found == PAYLOADS
    assert decoder.pending_bytes == 0


@settings(deadline=None, database=None, max_examples=60)
@given(st.lists(st.binary(max_size=300), max_size=8), st.data())
def test_payloads_survive_any_cut_of_the_stream(payloads: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(map(encode_frame, payloads))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    decoder = FrameDecoder(limit_bytes=300)
    found = []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += decoder.feed(stream[begin:end])
    assert found == payloads
    assert decoder.pending_bytes == 0


def test_pending_bytes_tell_of_an_unfinished_frame() -> None:
    decoder = FrameDecoder(limit_bytes=10)
    assert decoder.feed(encode_frame(b"ab") + b"\x00\x00\x00\x03xy") == [b"ab"]
    assert decoder.pending_bytes == HEADER_BYTES + 2
    assert decoder.feed(b"z") == [b"xyz"]
    assert decoder.pending_bytes == 0


def test_a_frame_of_exactly_the_limit_passes_and_one_byte_more_does_not() -> None:
    assert FrameDecoder(limit_bytes=3).feed(encode_frame(b"abc", limit_bytes=3)) == [b"abc"]
    with pytest.raises(ProtocolError, match="4 bytes; the limit is 3"):
        encode_frame(b"abcd", limit_bytes=3)
    with pytest.raises(ProtocolError, match=r"announces 4 bytes.*the limit is 3"):
        FrameDecoder(limit_bytes=3).feed(encode_frame(b"abcd"))


def test_an_oversize_header_is_refused_before_its_payload_arrives() -> None:
    with pytest.raises(ProtocolError, match=str(MAX_WIRE_BYTES)):
        FrameDecoder(limit_bytes=1024).feed(b"\xff\xff\xff\xff")


def test_an_oversize_header_is_refused_byte_by_byte_too() -> None:
    decoder = FrameDecoder(limit_bytes=1024)
    for _ in range(HEADER_BYTES - 1):
        assert decoder.feed(b"\xff") == []
    with pytest.raises(ProtocolError):
        decoder.feed(b"\xff")


def test_a_stream_that_was_lost_stays_lost() -> None:
    decoder = FrameDecoder(limit_bytes=3)
    with pytest.raises(ProtocolError):
        decoder.feed(encode_frame(b"abcd"))
    with pytest.raises(ProtocolError):
        decoder.feed(encode_frame(b"ok"))


def test_the_wire_has_a_limit_of_its_own() -> None:
    class Vast(bytes):
        def __len__(self) -> int:
            return MAX_WIRE_BYTES + 1

    with pytest.raises(ProtocolError, match=f"the limit is {MAX_WIRE_BYTES}"):
        encode_frame(Vast(), limit_bytes=MAX_WIRE_BYTES * 2)


def test_a_size_is_read_from_the_first_four_bytes_alone() -> None:
    assert frame_size(b"\x00\x00\x00\x02abcdef", limit_bytes=10) == 2
    assert frame_size(memoryview(b"\x00\x00\x01\x00"), limit_bytes=256) == 256
