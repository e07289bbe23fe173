"""The two messages of the wire protocol: a request to a worker, and a response from it. JSON, with buffers if needed.

Pure. A pool returns the content of `result` verbatim: it is unwrapped once, whatever it is. What would arrive as
another value is refused (`poolproof.bridge.wire.buffers`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from struct import Struct
from typing import Any, Protocol

import msgspec
from msgspec import UNSET, UnsetType

from poolproof.bridge.errors import InvalidRequest, ProtocolError
from poolproof.bridge.wire.buffers import (
    PREFIX_BYTES,
    SCALARS,
    SMALLEST_SHARED_BYTES,
    Buffer,
    Found,
    NotJsonError,
    Part,
    append,
    attach,
    describe,
    detach,
    find_inexact,
    has_buffers,
    json_of,
    read_parts,
    require_finite,
)
from poolproof.bridge.wire.framing import HEADER_BYTES, MAX_WIRE_BYTES

INIT_ID = 0
"""The request id of the init ping, and of ATTACH: no call has it."""
ATTACH = "attach_memory"
"""The command that gives a worker the memory to share with its pool; the shipped worker alone gets it."""


class Request(msgspec.Struct, frozen=True):
    """A request to a worker. `id` is a whole number ≥ 0; `timestamp` is ISO 8601 and only informative.

    `stream` asks for the parts of the result as they are made, each in its own response. `reply_to` is the number of
    the reply pipe for the response (`poolproof.bridge.wire.replies`). `buffers` are the bytes-like parts of `args`,
    and `shared` says that they are in shared memory. `inline` forbids the worker to answer there.
    """

    id: int
    command: str
    args: dict[str, Any]
    timestamp: Any = None
    stream: bool | UnsetType = UNSET
    reply_to: int | UnsetType = UNSET
    buffers: list[Buffer] | UnsetType = UNSET
    shared: bool | UnsetType = UNSET
    inline: bool | UnsetType = UNSET

    def __repr__(self) -> str:
        from poolproof.bridge.redaction import redact

        return f"Request({self.id}, {self.command!r}, {redact(self.args)!r})"


class Response(msgspec.Struct, frozen=True):
    """A response of a worker. Exactly one of `result` (on success) and `error` (otherwise) applies.

    `more` is set only in the responses of a stream: true in each part, false in the response that ends the stream.
    `timestamp` is only informative: the legacy worker sends seconds since 1970, the shipped one ISO 8601. `buffers` are
    the bytes-like parts of `result`, and `shared` says that they are in shared memory.

    `takes_buffers` is true in the response to the init ping of a worker that reads
    requests with buffers.
    """

    id: int
    success: bool
    result: Any = UNSET
    error: str | UnsetType = UNSET
    timestamp: Any = None
    more: bool | UnsetType = UNSET
    buffers: list[Buffer] | UnsetType = UNSET
    shared: bool | UnsetType = UNSET
    takes_buffers: Any = False


class Memory(Protocol):
    """The shared memory of a client and a worker (`poolproof.bridge.wire.segment`). `size` is in bytes."""

    size: int

    def put(self, parts: Sequence[Part]) -> None:
        """Copy these parts into the shared memory. Raises OSError."""
        ...

    def take(self, buffers: Sequence[Buffer]) -> list[Any]:
        """Copy these parts out of the shared memory. Raises ProtocolError."""
        ...

    def shrink(self) -> None:
        """Free the memory if it is more than what may be kept between calls."""
        ...

    def close(self) -> None:
        """Close this side of the shared memory."""
        ...


class Parcel(bytearray):
    """A framed request whose `parts` are to be put into shared memory first; without shared memory, send `inline()`."""

    parts: list[Part]
    inline: Callable[[], bytearray]


class _Success(msgspec.Struct, frozen=True, gc=False):
    # A response as sent: twice as fast to create and to encode as a dict.
    id: int
    success: bool
    result: object
    timestamp: datetime


_encoder = msgspec.json.Encoder()
_response_decoder = msgspec.json.Decoder(Response)
_request_decoder = msgspec.json.Decoder(Request)
_put_size = Struct(">I").pack_into
_now = datetime.now


def encode_request(
    request_id: int,
    command: str,
    args: dict[str, Any],
    *,
    limit_bytes: int,
    stream: bool | UnsetType = UNSET,
    reply_to: int | UnsetType = UNSET,
    inline: bool | UnsetType = UNSET,
    takes_buffers: bool = True,
    share: bool = False,
) -> bytearray:
    """Encode one framed request, ready to write. With `share`, large buffers make it a Parcel.

    Raises InvalidRequest if it is over `limit_bytes`, or has a value that cannot be carried unchanged: bytes-like
    values can be carried only if the worker `takes_buffers`.
    """
    found: Found = []
    parts: list[Part] = []
    start, size = HEADER_BYTES, 0
    buffers: list[Buffer] | UnsetType = UNSET
    frame, shared = bytearray(128), False
    try:
        sent, found = detach(args, "args")
        if found:
            buffers, parts, size = describe(found)
            if not takes_buffers:
                raise NotJsonError(f"{buffers[0].describe('args')}, and the workers take plain JSON only")
            start, shared = HEADER_BYTES + PREFIX_BYTES, share and size >= SMALLEST_SHARED_BYTES
        request = Request(
            request_id, command, sent, _now(UTC), stream, reply_to, buffers, True if shared else UNSET, inline
        )
        _encoder.encode_into(request, frame, start)
        # The encoder writes null for a number that JSON does not have. `find` is twice as fast as `in`.
        if frame.count(b"null", start) > len(found) if found else frame.find(b"null", start) >= 0:
            require_finite(sent, "args")
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        why = find_inexact(args, "args") if isinstance(error, UnicodeEncodeError) else str(error)
        raise InvalidRequest(f"the arguments of {command!r} are not JSON: {why}") from error
    if found:
        append(frame, HEADER_BYTES, () if shared else parts)
        if shared:
            frame = Parcel(frame)
            frame.parts = parts
            frame.inline = partial(encode_request, request_id, command, args, limit_bytes=limit_bytes, inline=inline)
    size = len(frame) - HEADER_BYTES + (size if shared else 0)
    if size > limit_bytes:
        told = size if reply_to is UNSET else size - len(f',"reply_to":{reply_to}')  # the pool adds this part
        if told > limit_bytes:
            raise InvalidRequest(f"the request {command!r} has {told} bytes; the limit is {limit_bytes}")
    _put_size(frame, 0, len(frame) - HEADER_BYTES)
    return frame


def session_args(args: dict[str, Any], session_id: str) -> dict[str, Any]:
    """Return the arguments of a call in this session. Raises InvalidRequest if the id is empty or no string."""
    if not isinstance(session_id, str) or not session_id:
        raise InvalidRequest(f"a session id is a string of at least one character, not {session_id!r}")
    return {**args, "session_id": session_id}


def decode_request(payload: bytes | bytearray, memory: Memory | None = None) -> Request:
    """Decode a request, in a worker. Raises ProtocolError that says what is wrong."""
    try:
        if has_buffers(payload):
            text = json_of(payload)
            request = _request_decoder.decode(text)
            attach(request.args, request.buffers or [], _parts_of(request, payload, len(text), memory))
        else:
            request = _request_decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"not a request: {error}") from error
    if request.id < 0:
        raise ProtocolError(f"not a request: id {request.id} is below 0")
    return request


def _parts_of(
    message: Request | Response, payload: bytes | bytearray, json_bytes: int, memory: Memory | None
) -> list[Any]:
    if message.shared is UNSET:
        return read_parts(message.buffers or [], payload, json_bytes)
    if memory is None:
        raise ProtocolError("a message refers to shared memory, and there is none")
    return memory.take(message.buffers or [])


def decode_response(payload: bytes | bytearray, memory: Memory | None = None) -> Response:
    """Decode a response, in a pool; `.result` is verbatim. Raises ProtocolError that says what is wrong."""
    try:
        if has_buffers(payload):
            text = json_of(payload)
            response = _response_decoder.decode(text)
            parts = _parts_of(response, payload, len(text), memory)
            result = attach(response.result, response.buffers or [], parts)
            if result is not response.result:
                response = msgspec.structs.replace(response, result=result)
        else:
            response = _response_decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"sent what is not a response: {error}; it begins {payload[:60]!r}") from error
    if response.success:
        if response.result is UNSET:
            raise ProtocolError(f"sent response {response.id}, which is a success without a result")
    elif response.error is UNSET:
        raise ProtocolError(f"sent response {response.id}, which is a failure without an error")
    return response


def ends_stream(response: Response) -> bool:
    """Return whether this response ends its stream: a failure, `more` false, or a single plain response."""
    return not response.success or response.more is not True


def encode_success(request_id: int, result: object, memory: Memory | None = None) -> bytes | bytearray:
    """Encode a worker's successful response; large buffers go into `memory`, if there is one.

    Raises TypeError or ValueError if `result` cannot be carried unchanged.
    """
    if type(result) not in SCALARS:
        if result is UNSET:  # a struct would omit it
            raise TypeError("Encoding UNSET as a result is unsupported")
        sent, found = detach(result, "result")
        if found:
            message = {"id": request_id, "success": True, "result": sent, "timestamp": _now(UTC)}
            return _with_buffers(message, found, memory)
    payload = _encoder.encode(_Success(request_id, True, result, _now(UTC)))
    if payload.find(b"null") >= 0:
        require_finite(result, "result")
    return payload


def encode_init(request_id: int, result: object) -> bytes:
    """Encode a worker's response to its init ping, which says that it reads requests with buffers."""
    return _encoder.encode(
        {"id": request_id, "success": True, "result": result, "timestamp": _now(UTC), "takes_buffers": True}
    )


def encode_part(request_id: int, result: object, *, more: bool) -> bytes | bytearray:
    """Encode one part of a streamed response; without `more`, the last one. Raises like encode_success."""
    if result is UNSET:
        raise TypeError("Encoding UNSET as a result is unsupported")
    sent, found = detach(result, "result")
    message = {"id": request_id, "success": True, "result": sent, "more": more, "timestamp": _now(UTC)}
    if found:
        return _with_buffers(message, found)
    payload = _encoder.encode(message)
    if b"null" in payload:
        require_finite(result, "result")
    return payload


def _with_buffers(message: dict[str, Any], found: Found, memory: Memory | None = None) -> bytearray:
    message["buffers"], parts, size = describe(found)
    if memory is not None and size >= SMALLEST_SHARED_BYTES:
        with contextlib.suppress(OSError):  # there is no more memory to share
            memory.put(parts)
            message["shared"], parts = True, []
    payload = bytearray(128)
    _encoder.encode_into(message, payload, PREFIX_BYTES)
    if payload.count(b"null") > len(found):
        require_finite(message["result"], "result")
    append(payload, 0, parts)
    return payload


def encode_attach(pid: int, fd: int, most_kept_bytes: int) -> bytearray:
    """Encode the request that gives the worker the shared memory that process `pid` has open as `fd`."""
    args = {"pid": pid, "fd": fd, "kept": most_kept_bytes}
    return encode_request(INIT_ID, ATTACH, args, limit_bytes=MAX_WIRE_BYTES)


def encode_failure(request_id: int, error: str) -> bytes:
    """Encode a worker's failure response, with one sentence that says why."""
    return _encoder.encode({"id": request_id, "success": False, "error": error, "timestamp": _now(UTC)})
