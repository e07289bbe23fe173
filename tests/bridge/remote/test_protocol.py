"""The messages between a pool and an agent, and the proofs, without a network."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolproof.bridge.errors import ProtocolError
from poolproof.bridge.remote.protocol import (
    LENGTH,
    MOST_MESSAGE_BYTES,
    PREFACE,
    Beat,
    Ended,
    Hello,
    Preface,
    Purpose,
    Signal,
    Start,
    Started,
    decode,
    encode,
    length_of,
    prove,
    stream_proof,
)


@pytest.mark.parametrize(
    "message",
    [
        Hello(5.0),
        Start(7, ["{python}", "-m", "x"], {"A": "é"}, None),
        Start(7, ["x"], {}, 2**30),
        Signal(2**40, 15),
        Started(1, 4711),
        Ended(1, -9, True),
        Ended(1, None, reason="cannot execute 'x'"),
        Beat(),
    ],
)
def test_a_message_comes_back_as_it_was(message: Start) -> None:
    frame = encode(message)
    assert length_of(frame[: LENGTH.size]) == len(frame) - LENGTH.size
    assert decode(frame[LENGTH.size :]) == message


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_a_protocol_error(data: bytes) -> None:
    try:
        decode(data)
    except ProtocolError:
        pass


def test_a_message_has_a_largest_size() -> None:
    with pytest.raises(ProtocolError, match=str(MOST_MESSAGE_BYTES)):
        encode(Start(1, ["x" * MOST_MESSAGE_BYTES], {}, None))
    with pytest.raises(ProtocolError, match=str(MOST_MESSAGE_BYTES)):
        length_of(LENGTH.pack(MOST_MESSAGE_BYTES + 1))


def test_a_preface_comes_back_as_it_was_and_has_one_length() -> None:
    for purpose in Purpose:
        preface = Preface(purpose, b"p" * 16, 2**40, b"s" * 32)
        assert len(preface.encode()) == PREFACE.size
        assert Preface.decode(preface.encode()) == preface


@given(st.binary(min_size=PREFACE.size, max_size=PREFACE.size))
def test_other_bytes_are_no_preface(data: bytes) -> None:
    if not data.startswith(b"PPR1"):
        with pytest.raises(ProtocolError):
            Preface.decode(data)


def test_a_proof_holds_for_one_side_one_stream_and_one_worker() -> None:
    proofs = {
        prove(b"token", b"agent", b"n", b"m"),
        prove(b"token", b"pool", b"n", b"m"),
        prove(b"token", b"pool", b"m", b"n"),
        prove(b"tokem", b"pool", b"n", b"m"),
        *(stream_proof(b"key", purpose, worker_id) for purpose in Purpose for worker_id in (1, 2, 256)),
    }
    assert len(proofs) == 4 + len(Purpose) * 3
