"""Messages with buffers: what is sent is what arrives, in type and value, or it is refused with its place."""

from __future__ import annotations

import contextlib
import math
from collections import OrderedDict, UserDict
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolproof.bridge.errors import InvalidRequest, ProtocolError
from poolproof.bridge.wire.buffers import ALIGNMENT, PREFIX_BYTES, has_buffers, json_of
from poolproof.bridge.wire.framing import HEADER_BYTES
from poolproof.bridge.wire.messages import (
    Request,
    Response,
    decode_request,
    decode_response,
    encode_init,
    encode_part,
    encode_request,
    encode_success,
)

LIMIT = 10**9
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SCALAR = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
BINARY = st.binary(max_size=40)
LEAF: Any = SCALAR | BINARY | BINARY.map(bytearray) | BINARY.map(lambda data: memoryview(data))
VALUE = st.recursive(LEAF, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4))


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal, of the same types all the way down, and with the same signs of zero."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return one == other and math.copysign(1, one) == math.copysign(1, other)
    return bool(one == other)


def sent(args: dict[str, Any], **options: Any) -> Request:
    """A request as its worker reads it."""
    return decode_request(bytes(encode_request(1, "c", args, limit_bytes=LIMIT, **options)[HEADER_BYTES:]))


@given(st.dictionaries(TEXT, VALUE, max_size=4))
def test_arguments_arrive_as_they_are(args: dict[str, Any]) -> None:
    assert same(sent(args, stream=True, reply_to=3).args, args)


@given(VALUE)
def test_results_arrive_as_they_are(value: Any) -> None:
    for payload in (encode_success(1, value), encode_part(1, value, more=True)):
        assert not payload.endswith(b"\0")
        assert same(decode_response(payload).result, value)


@pytest.mark.parametrize("value", [b"", bytearray(b"\0\0"), memoryview(b"abc"), [b"1", {"deep": [[b"2"]]}]])
def test_what_is_sent_is_left_as_it_is(value: Any) -> None:
    args = {"value": value}
    before = repr(args)
    sent(args)
    encode_success(1, args)
    assert repr(args) == before


def test_plain_values_have_plain_frames() -> None:
    frame = encode_request(1, "c", {"a": [1, {"b": "x"}]}, limit_bytes=LIMIT)
    assert not has_buffers(frame[HEADER_BYTES:])
    assert b"buffers" not in frame + encode_success(1, {"a": [1]}) + encode_part(1, [], more=False)


def test_a_memoryview_arrives_as_a_writable_part_of_the_payload_at_an_aligned_place() -> None:
    payload = encode_request(1, "c", {"first": b"x", "second": memoryview(b"12345")}, limit_bytes=LIMIT)[HEADER_BYTES:]
    view = decode_request(payload).args["second"]
    view[0] = ord("9")
    at = payload.index(b"92345")
    assert at % ALIGNMENT == 0
    assert decode_request(bytes(payload)).args["second"].readonly is False


class Colour(StrEnum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


@pytest.mark.parametrize("value", [Colour.RED, Level.HIGH, OrderedDict(a=1), [True], -0.0, 2**70])
def test_values_that_are_equal_to_json_are_carried(value: Any) -> None:
    assert sent({"value": [value]}).args["value"] == [value]


REFUSED = [
    ({"rows": [1, 2, 3, {1}]}, "args['rows'][3] is of the type set"),
    ({"t": (1, 2)}, "args['t'] is of the type tuple"),
    ({"when": datetime.now(UTC)}, "args['when'] is of the type datetime"),
    ({"user": UserDict()}, "args['user'] is of the type UserDict"),
    ({1: "a"}, "args has the key 1; JSON has only strings as keys"),
    ({"x": {"y": {None: 1}}}, "args['x']['y'] has the key None; JSON has only strings as keys"),
    ({"b": [{b"k": 1}]}, "args['b'][0] has the key b'k'; JSON has only strings as keys"),
    ({"n": [[1.5, math.nan]]}, "args['n'][0][1] is nan, which is not a JSON number"),
    ({"n": [math.inf, b"beside bytes"]}, "args['n'][0] is inf, which is not a JSON number"),
    ({"s": ["\ud800"]}, "args['s'][0] has a lone surrogate, which UTF-8 does not have"),
    ({"s": {"\ud800": 1}}, "args['s'] has a lone surrogate"),
    ({"m": memoryview(b"12345678").cast("d")}, "args['m'] is a memoryview that is no plain row of bytes"),
    ({"m": memoryview(b"12345678")[::2]}, "args['m'] is a memoryview that is no plain row of bytes"),
]


@pytest.mark.parametrize(("args", "told"), REFUSED)
def test_what_would_change_is_refused_with_its_place(args: dict[Any, Any], told: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        encode_request(1, "c", args, limit_bytes=LIMIT)
    assert str(refused.value).startswith(f"the arguments of 'c' are not JSON: {told}")
    with pytest.raises((TypeError, ValueError)):
        encode_success(1, args)
    with pytest.raises((TypeError, ValueError)):
        encode_part(1, args, more=True)


def test_a_value_that_contains_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(InvalidRequest, match="not JSON: maximum recursion depth exceeded"):
        encode_request(1, "c", {"value": endless}, limit_bytes=LIMIT)


def test_bytes_are_refused_for_workers_that_take_plain_json_only() -> None:
    with pytest.raises(InvalidRequest, match=r"args\['a'\]\[1\] is of the type bytes, and the workers take plain JSON"):
        encode_request(1, "c", {"a": [1, b"x"]}, limit_bytes=LIMIT, takes_buffers=False)
    assert encode_request(1, "c", {"a": [1]}, limit_bytes=LIMIT, takes_buffers=False)


def test_buffers_count_against_the_frame_limit() -> None:
    with pytest.raises(InvalidRequest, match=r"the request 'c' has \d+ bytes; the limit is 1000"):
        encode_request(1, "c", {"a": b"x" * 1000}, limit_bytes=1000)


def test_an_init_ping_s_response_says_that_buffers_are_taken() -> None:
    assert decode_response(encode_init(0, {"status": "ok"})).takes_buffers is True
    assert decode_response(encode_success(0, {"status": "ok"})).takes_buffers is False


def whole() -> bytearray:
    return bytearray(encode_success(1, [b"abc", {"k": b"defg"}]))


def broken() -> list[bytearray]:
    payload = whole()
    cut, longer, no_end, huge = payload[:-2], payload[:-1] + b"x\x01", payload[:-1] + b"\0", whole()
    huge[4:8] = b"\xff\xff\xff\xff"
    found = [cut, longer, no_end, huge, bytearray(b"\0"), bytearray(PREFIX_BYTES), bytearray()]
    for old, new in ((b'"size":3', b'"size":99'), (b'"size":4', b'"size":-'), (b'"at":[0]', b'"at":[7]')):
        found.append(bytearray(payload.replace(old, new)))
    found += [
        bytearray(payload.replace(b'"at":[1,"k"]', at)) for at in (b'"at":[1,"q"]', b'"at":["a",1]', b'"at":[0,0,0]')
    ]
    return [one for one in found if one]


@pytest.mark.parametrize("payload", broken())
def test_a_broken_payload_breaks_the_protocol(payload: bytearray) -> None:
    for kind in (bytes, bytearray):
        with pytest.raises(ProtocolError):
            decode_response(kind(payload))


@given(st.data())
def test_whatever_is_changed_in_a_payload_it_is_read_or_breaks_the_protocol(data: st.DataObject) -> None:
    payload = whole()
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ProtocolError):  # no other error
        assert isinstance(decode_response(payload), Response)


def test_the_json_of_a_payload_is_a_part_of_it() -> None:
    assert bytes(json_of(whole())).startswith(b'{"id":1,"success":true,"result":[null,{"k":null}]')
