"""What a payload says of a request: its response, a part of it, or a breach of the protocol."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from poolproof.bridge.errors import ProtocolError
from poolproof.bridge.wire.exchange import take
from poolproof.bridge.wire.framing import encode_frame
from poolproof.bridge.wire.messages import Response, encode_success, ends_stream
from poolproof.bridge.wire.receiver import Receiver

LIMIT_BYTES = 1000
PLAIN = b'{"id": 7, "success": true, "result": 1}'
FAILURE = b'{"id": 7, "success": false, "error": "no"}'
PART = b'{"id": 7, "success": true, "result": "part", "more": true}'
LAST = b'{"id": 7, "success": true, "result": null, "more": false}'
OTHER_PART = b'{"id": 8, "success": true, "result": 1, "more": true}'


def came(*payloads: bytes, behind: bytes = b"") -> Any:
    """A transport whose worker has sent these payloads, and some bytes behind them."""
    receiver = Receiver(limit_bytes=LIMIT_BYTES)
    if come := b"".join(map(encode_frame, payloads)) + behind:
        receiver.feed(come)
    return SimpleNamespace(receiver=receiver, dirty=True, memory=None, wants_memory=False)


def check(payload: bytes, request_id: int, *, parts: bool = False) -> Response:
    """What this payload is to a request."""
    response = take(came(payload), request_id, parts)
    assert response is not None
    return response


@pytest.mark.parametrize("parts", [False, True])
def test_a_response_is_checked_whether_parts_were_asked_for_or_not(parts: bool) -> None:
    response = check(bytes(encode_success(7, {"a": 1})), 7, parts=parts)
    assert (response.id, response.success, response.result) == (7, True, {"a": 1})
    assert not check(FAILURE, 7, parts=parts).success


@pytest.mark.parametrize(
    ("payload", "what"),
    [
        (b'{"id": 8, "success": true, "result": 1}', "answered request 8 instead of 7"),
        (b'{"id": 0, "success": false, "error": "no"}', "answered request 0 instead of 7"),
        (PART, "answered a part of request 7 instead of 7"),
        (LAST, "answered a part of request 7 instead of 7"),
        (OTHER_PART, "answered a part of request 8 instead of 7"),
    ],
)
def test_what_does_not_answer_the_request_is_refused_with_what_the_worker_did(payload: bytes, what: str) -> None:
    transport = came(payload)
    with pytest.raises(ProtocolError) as caught:
        take(transport, 7)
    assert str(caught.value) == what
    assert transport.dirty


@pytest.mark.parametrize("payload", [b"", b"{]", b"[]", b"\xff\xfe", b'{"id": 7}'])
@pytest.mark.parametrize("parts", [False, True])
def test_garbage_is_refused(payload: bytes, parts: bool) -> None:
    with pytest.raises(ProtocolError, match="sent what is "):
        check(payload, 7, parts=parts)


def test_a_part_of_another_request_is_refused_where_parts_were_asked_for() -> None:
    assert check(PART, 7, parts=True).result == "part"
    with pytest.raises(ProtocolError, match="answered a part of request 7 instead of 8"):
        check(PART, 8, parts=True)


@pytest.mark.parametrize("come", [b"", b"\0", encode_frame(LAST)[:4], encode_frame(LAST)[:-1]])
def test_what_has_not_come_whole_is_no_response_yet(come: bytes) -> None:
    transport = came(behind=come)
    assert take(transport, 7) is None
    assert transport.dirty


@pytest.mark.parametrize("behind", [b"\0", encode_frame(LAST)[:4], encode_frame(LAST)[:-1], encode_frame(LAST)])
@pytest.mark.parametrize("parts", [False, True])
def test_after_the_last_response_that_is_due_nothing_may_be_left(behind: bytes, parts: bool) -> None:
    transport = came(PLAIN, behind=behind)
    with pytest.raises(ProtocolError, match=r"^sent more bytes after its last response$"):
        take(transport, 7, parts)
    assert transport.dirty


@pytest.mark.parametrize(
    ("payload", "parts", "last", "clean"),
    [
        (PLAIN, False, True, True),
        (PLAIN, False, False, False),
        (PLAIN, True, True, True),
        (PART, True, True, False),
        (LAST, True, True, True),
        (LAST, True, False, False),
    ],
)
def test_a_worker_is_clean_after_the_last_response_that_is_due(
    payload: bytes, parts: bool, last: bool, clean: bool
) -> None:
    transport = came(payload)
    assert take(transport, 7, parts, last) is not None
    assert transport.dirty is not clean


def test_what_comes_behind_a_response_that_is_not_the_last_is_left_for_the_next_take() -> None:
    transport = came(PART, behind=encode_frame(LAST))
    first, second = take(transport, 7, True), take(transport, 7, True)
    assert first is not None
    assert second is not None
    assert (first.more, second.more, transport.dirty) == (True, False, False)


@pytest.mark.parametrize(
    ("payload", "ends"),
    [(PART, False), (LAST, True), (PLAIN, True), (FAILURE, True)],
)
def test_a_stream_ends_with_its_last_part_a_failure_or_one_plain_response(payload: bytes, ends: bool) -> None:
    assert ends_stream(check(payload, 7, parts=True)) is ends


def test_a_failure_that_says_more_ends_its_stream_all_the_same() -> None:
    assert ends_stream(msgspec.structs.replace(Response(id=7, success=False, error="no"), more=True))
