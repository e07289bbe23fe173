"""Erlang's `{packet, 4}`: a 4-byte big-endian unsigned length, then that many bytes.

Pure: bytes in, bytes out. It refuses to know what a frame means and where it came from.
"""

from __future__ import annotations

from poolproof.bridge.errors import ProtocolError

HEADER_BYTES = 4
MAX_WIRE_BYTES = 2**32 - 1
FRAME_LIMIT_VARIABLE = "POOLPROOF_MAX_FRAME_BYTES"
"""How a pool tells its workers the largest frame, in bytes."""


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
    """Cuts a stream of bytes into payloads, however the bytes arrive.

    Invariant: the buffer starts at a frame's header. After a ProtocolError the stream is lost for good.
    """

    __slots__ = ("_buffer", "_limit_bytes")

    def __init__(self, *, limit_bytes: int) -> None:
        self._buffer = bytearray()
        self._limit_bytes = limit_bytes

    def feed(self, data: bytes) -> list[bytes]:
        """Take more bytes; give every payload that is now complete, in order."""
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
        """How many bytes of an unfinished frame are held; 0 at a frame's boundary."""
        return len(self._buffer)
