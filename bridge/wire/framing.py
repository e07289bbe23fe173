"""Erlang's `{packet, 4}` framing: a 4-byte big-endian unsigned length, then that many bytes.

Pure: bytes in, bytes out, independent of the frames' contents and source.
"""

from __future__ import annotations

from poolproof.bridge.errors import ProtocolError

HEADER_BYTES = 4
MAX_WIRE_BYTES = 2**32 - 1
FRAME_LIMIT_VARIABLE = "POOLPROOF_MAX_FRAME_BYTES"
"""The environment variable with which a pool sets its workers' frame limit, in bytes."""


def encode_frame(payload: bytes | bytearray | memoryview, *, limit_bytes: int = MAX_WIRE_BYTES) -> bytes:
    """Put the length before `payload`. Raises ProtocolError past `limit_bytes`."""
    size = len(payload)
    if size > limit_bytes or size > MAX_WIRE_BYTES:
        raise ProtocolError(f"a frame of {size} bytes; the limit is {min(limit_bytes, MAX_WIRE_BYTES)}")
    return size.to_bytes(HEADER_BYTES, "big") + payload


def frame_size(header: bytes | bytearray | memoryview, *, limit_bytes: int) -> int:
    """Read the payload's size from the first four bytes. Raises ProtocolError past `limit_bytes`."""
    size = int.from_bytes(header[:HEADER_BYTES], "big")
    if size > limit_bytes:
        raise ProtocolError(
            f"a frame announces {size} bytes (header {bytes(header[:HEADER_BYTES])!r}); the limit is {limit_bytes}"
        )
    return size


class FrameDecoder:
    """Splits a stream of bytes into payloads, in whatever chunks the bytes arrive.

    Invariant: the buffer starts at a frame's header. After a ProtocolError the stream cannot be used again.
    """

    __slots__ = ("_buffer", "_limit_bytes")

    def __init__(self, *, limit_bytes: int) -> None:
        self._buffer = bytearray()
        self._limit_bytes = limit_bytes

    def feed(self, data: bytes) -> list[bytes]:
        """Take more bytes. Returns every payload that is now complete, in order."""
        buffer = self._buffer
        buffer += data
        payloads = []
        start = 0
        while len(buffer) - start >= HEADER_BYTES:
            size = frame_size(memoryview(buffer)[start : start + HEADER_BYTES], limit_bytes=self._limit_bytes)
            end = start + HEADER_BYTES + size
            if len(buffer) < end:
                break
            payloads.append(bytes(buffer[start + HEADER_BYTES : end]))
            start = end
        if start:
            del buffer[:start]
        return payloads

    @property
    def pending_bytes(self) -> int:
        """The number of buffered bytes of an unfinished frame; 0 at a frame boundary."""
        return len(self._buffer)
