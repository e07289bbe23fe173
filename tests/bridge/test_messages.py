"""Requests and responses: any JSON value crosses verbatim, and what is no message is refused with a reason."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET, DecodeError, ValidationError

from poolproof.bridge.errors import InvalidRequest, ProtocolError
from poolproof.bridge.wire.framing import HEADER_BYTES, FrameDecoder
from poolproof.bridge.wire.messages import (
    Request,
    decode_request,
    decode_response,
    encode_failure,
    encode_request,
    encode_success,
)

LIMIT_BYTES = 1_000_000
PLAIN: list[Any] = [None, 0, False, True, "", [], {}, -1, 1.5, 2**70, {"result": 1}, {"result": {"result": None}}, [[]]]
DEEP = b"[" * 100_000 + b"]" * 100_000
NOT_TEXT = (DecodeError, UnicodeDecodeError)  # the one or the other, by msgspec's release

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=20
)


def _same(left: object, right: object) -> bool:
    # 1, 1.0 and True are equal to Python; on the wire they are three values.
    return json.dumps(left) == json.dumps(right)


def _payload(frame: bytearray) -> bytes:
    assert int.from_bytes(frame[:HEADER_BYTES], "big") == len(frame) - HEADER_BYTES
    return bytes(frame[HEADER_BYTES:])


@pytest.mark.parametrize("value", PLAIN, ids=repr)
def test_a_result_is_unwrapped_once_whatever_it_is(value: object) -> None:
    response = decode_response(encode_success(5, value))
    assert (response.id, response.success) == (5, True)
    assert _same(response.result, value)


@settings(deadline=None, database=None, max_examples=60)
@given(values)
def test_any_json_value_crosses_verbatim_as_a_result(value: object) -> None:
    assert _same(decode_response(encode_success(1, value)).result, value)


@settings(deadline=None, database=None, max_examples=60)
@given(values, st.integers(0, 2**63), st.text())
def test_any_json_value_crosses_verbatim_as_an_argument(value: object, request_id: int, command: str) -> None:
    frame = encode_request(request_id, command, {"value": value}, limit_bytes=LIMIT_BYTES)
    request = decode_request(_payload(frame))
    assert (request.id, request.command) == (request_id, command)
    assert _same(request.args, {"value": value})


@settings(deadline=None, database=None, max_examples=30)
@given(values)
def test_a_framed_request_can_be_cut_from_a_stream_byte_by_byte(value: object) -> None:
    frame = encode_request(9, "echo", {"value": value}, limit_bytes=LIMIT_BYTES)
    decoder = FrameDecoder(limit_bytes=LIMIT_BYTES)
    found = [payload for byte in frame for payload in decoder.feed(bytes([byte]))]
    assert [decode_request(payload).id for payload in found] == [9]


def test_a_request_is_on_the_wire_as_the_legacy_worker_reads_it() -> None:
    frame = encode_request(12, "echo", {"a": [1]}, limit_bytes=LIMIT_BYTES)
    wire = json.loads(_payload(frame))
    stamp = wire.pop("timestamp")
    assert wire == {"id": 12, "command": "echo", "args": {"a": [1]}}
    assert datetime.fromisoformat(stamp).tzinfo is not None


def test_a_request_larger_than_the_first_buffer_is_whole() -> None:
    text = "é" * 5000
    frame = encode_request(1, "echo", {"value": text}, limit_bytes=LIMIT_BYTES)
    assert decode_request(_payload(frame)).args == {"value": text}


def test_a_request_of_exactly_the_limit_passes_and_one_byte_more_does_not() -> None:
    size = len(encode_request(1, "echo", {"value": "ab"}, limit_bytes=LIMIT_BYTES)) - HEADER_BYTES
    assert len(encode_request(1, "echo", {"value": "ab"}, limit_bytes=size)) == size + HEADER_BYTES
    with pytest.raises(InvalidRequest, match=f"'echo' has {size + 1} bytes; the limit is {size}"):
        encode_request(1, "echo", {"value": "abc"}, limit_bytes=size)


def _nested() -> list[Any]:
    outer: list[Any] = []
    inner = outer
    for _ in range(100_000):
        inner.append([])
        inner = inner[0]
    return outer


@pytest.mark.parametrize(
    "make",
    [object, lambda: {1, object()}, lambda: "\ud800", lambda: {("a", "b"): 1}, _nested, lambda: [float("nan")]],
    ids=["object", "set", "surrogate", "tuple_key", "too_deep", "nan"],
)
def test_arguments_that_are_not_json_are_refused(make: Any) -> None:
    with pytest.raises(InvalidRequest, match="the arguments of 'echo' are not JSON"):
        encode_request(1, "echo", {"value": make()}, limit_bytes=LIMIT_BYTES)


@pytest.mark.parametrize("timestamp", ["1795971836.88", "null", '"2026-01-01T00:00:00Z"'])
def test_a_response_may_carry_any_timestamp_as_the_legacy_workers_do_in_seconds(timestamp: str) -> None:
    response = decode_response(f'{{"id": 4, "success": true, "result": "ok", "timestamp": {timestamp}}}'.encode())
    assert (response.id, response.result) == (4, "ok")


@pytest.mark.parametrize(
    ("payload", "cause"),
    [
        (b"", DecodeError),
        (b"{", DecodeError),
        (b"\xff\xfe", DecodeError),
        (b"[1]", ValidationError),
        (b'{"command": "a", "args": {}}', ValidationError),
        (b'{"id": 1, "args": {}}', ValidationError),
        (b'{"id": 1, "command": "a"}', ValidationError),
        (b'{"id": "1", "command": "a", "args": {}}', ValidationError),
        (b'{"id": true, "command": "a", "args": {}}', ValidationError),
        (b'{"id": 1, "command": 7, "args": {}}', ValidationError),
        (b'{"id": 1, "command": "a", "args": []}', ValidationError),
        (b'{"id": 1, "command": "\xff", "args": {}}', NOT_TEXT),
    ],
)
def test_what_is_no_request_is_refused_with_the_decoders_reason(payload: bytes, cause: Any) -> None:
    with pytest.raises(ProtocolError) as caught:
        decode_request(payload)
    assert isinstance(caught.value.__cause__, cause)
    assert str(caught.value) == f"not a request: {caught.value.__cause__}"


def test_the_id_of_a_request_is_not_below_0() -> None:
    with pytest.raises(ProtocolError, match=r"^not a request: id -1 is below 0$"):
        decode_request(b'{"id": -1, "command": "a", "args": {}}')


def test_a_request_needs_no_timestamp_and_may_carry_unknown_fields() -> None:
    request = decode_request(b'{"id": 0, "command": "ping", "args": {}, "extra": [1]}')
    assert request == Request(0, "ping", {})


@pytest.mark.parametrize(
    ("payload", "cause"),
    [
        (b"", DecodeError),
        (b"\xff{", DecodeError),
        (b"null", ValidationError),
        (b'{"success": true, "result": 1}', ValidationError),
        (b'{"id": 1, "result": 1}', ValidationError),
        (b'{"id": 1, "success": "yes", "result": 1}', ValidationError),
        (b'{"id": 1, "success": false, "error": null}', ValidationError),
        (b'{"id": 1, "success": true, "result": "\xff"}', NOT_TEXT),
    ],
)
def test_what_is_no_response_is_refused_with_the_decoders_reason(payload: bytes, cause: Any) -> None:
    with pytest.raises(ProtocolError) as caught:
        decode_response(payload)
    assert isinstance(caught.value.__cause__, cause)
    assert str(caught.value) == f"sent what is not a response: {caught.value.__cause__}; it begins {payload!r}"


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b'{"id": 1, "success": true}', "sent response 1, which is a success without a result"),
        (b'{"id": 1, "success": true, "error": "e"}', "sent response 1, which is a success without a result"),
        (b'{"id": 1, "success": false}', "sent response 1, which is a failure without an error"),
        (b'{"id": 1, "success": false, "result": 1}', "sent response 1, which is a failure without an error"),
    ],
)
def test_a_response_has_a_result_or_an_error(payload: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError, match=f"^{reason}$"):
        decode_response(payload)


def test_nesting_without_end_is_refused_and_not_followed() -> None:
    with pytest.raises(ProtocolError) as request:
        decode_request(b'{"id": 1, "command": "a", "args": {"x": ' + DEEP + b"}}")
    with pytest.raises(ProtocolError) as response:
        decode_response(b'{"id": 1, "success": true, "result": ' + DEEP + b"}")
    assert all(isinstance(caught.value.__cause__, RecursionError) for caught in (request, response))


def test_a_refused_response_is_quoted_by_its_first_bytes_only() -> None:
    with pytest.raises(ProtocolError) as caught:
        decode_response(b"?" * 10_000)
    assert len(str(caught.value)) < 300


def test_a_response_can_be_read_from_a_buffer_that_changes_later() -> None:
    buffer = bytearray(encode_success(3, {"text": "abc", "many": ["def"]}))
    response = decode_response(buffer)
    buffer[:] = b"\x00" * len(buffer)
    assert response.result == {"text": "abc", "many": ["def"]}


def test_a_failure_carries_its_sentence() -> None:
    response = decode_response(encode_failure(4, "no such thing"))
    assert (response.id, response.success, response.error) == (4, False, "no such thing")
    assert response.timestamp is not None
    assert datetime.fromisoformat(response.timestamp).tzinfo is not None


@pytest.mark.parametrize(
    "value",
    [
        object(),
        {"a": object()},
        "\ud800",
        UNSET,
        float("nan"),
        {"a": [1, (float("inf"),)]},
        {"a": [None, {"b": float("-inf")}]},
    ],
    ids=["object", "inside", "surrogate", "unset", "nan", "tuple", "nested"],
)
def test_a_result_that_is_not_json_raises_what_a_worker_can_answer(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        encode_success(1, value)
