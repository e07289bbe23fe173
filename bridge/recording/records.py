"""The file of a recording: a magic line, then frames: a length and a CRC-32 (4 bytes each), then MessagePack data.

The first frame is a Header, the last one of a recording that was closed a Trailer, and each other a list of calls. A
frame that was cut off or damaged ends the recording; the frames before it can still be read.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import msgspec

from poolproof.bridge.errors import ConfigError

MAGIC = b"poolproof recording 1\n"
FRAME = struct.Struct(">II")
LONGEST_FRAME_BYTES = 256 * 1024 * 1024
ARRAY = struct.Struct(">BI")
ARRAY_32 = 0xDD
"""The MessagePack type of an array whose length has 32 bits."""


class RecordingError(ConfigError):
    """The file is no recording, or cannot be read or written."""


class Call(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One call. `at_ns` is the time from the begin of the recording to the begin of the call, `took_ns` its duration.

    `client` numbers the thread or task that called. `outcome` is one of poolproof.bridge.OUTCOMES or the name of
    another exception, `sent` what is known of the request (poolproof.bridge.Sent).
    """

    at_ns: int
    took_ns: int
    client: int
    session: str | None
    command: str
    args: Any
    outcome: str
    value: Any = None
    error: str = ""
    sent: str = "yes"


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """The first frame: when the recording began (ISO 8601), its pool, and the share of sessions and calls in it."""

    began: str
    pool: str
    sample: float


class Trailer(msgspec.Struct, frozen=True, kw_only=True):
    """The last frame of a recording that was closed: how many calls are missing from it, by reason."""

    calls: int
    dropped: int
    unrecordable: int


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """A whole recording. `trailer` is None if the recording was not closed; `damage` says where it was cut off."""

    header: Header
    calls: tuple[Call, ...]
    trailer: Trailer | None = None
    damage: str = ""


def frame(payload: bytes) -> bytes:
    """Return the payload as a frame."""
    return FRAME.pack(len(payload), zlib.crc32(payload)) + payload


def join_calls(encoded: list[bytes]) -> bytes:
    """Return the frame of these encoded calls."""
    return frame(ARRAY.pack(ARRAY_32, len(encoded)) + b"".join(encoded))


def read_recording(path: str | Path) -> Recording:
    """Read a recording, its calls by their begin. Raises RecordingError if the file is no recording."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise RecordingError(f"{path} cannot be read: {error.strerror}") from error
    if not data.startswith(MAGIC):
        raise RecordingError(f"{path} is not a recording of poolproof of version 1")
    at, header, trailer, damage = len(MAGIC), None, None, ""
    calls: list[Call] = []
    try:
        while at < len(data):
            payload = _payload(data, at)
            at += FRAME.size + len(payload)
            if header is None:
                header = msgspec.msgpack.decode(payload, type=Header)
            elif payload[0] == ARRAY_32:
                calls += msgspec.msgpack.decode(payload, type=list[Call])
            else:
                trailer = msgspec.msgpack.decode(payload, type=Trailer)
    except (ValueError, struct.error, msgspec.DecodeError) as error:
        damage = f"cut off after {at} of {len(data)} bytes: {error}"
    if header is None:
        raise RecordingError(f"{path} has no header; {damage or 'it is empty'}")
    return Recording(header=header, calls=tuple(sorted(calls, key=_begin)), trailer=trailer, damage=damage)


def _begin(call: Call) -> int:
    return call.at_ns


def _payload(data: bytes, at: int) -> bytes:
    size, checksum = FRAME.unpack_from(data, at)
    payload = data[at + FRAME.size : at + FRAME.size + size]
    if size > LONGEST_FRAME_BYTES or len(payload) < size:
        raise ValueError(f"a frame has {len(payload)} of {size} bytes")
    if zlib.crc32(payload) != checksum:
        raise ValueError("a frame has another checksum")
    return payload
