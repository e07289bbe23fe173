"""Splits the bytes from one worker into payloads. Sans I/O: the caller reads the bytes and passes them in.

Pure. One receiver serves a worker for its whole life, for single calls, batches and streams, threads and tasks. Rules:

1. Payloads are returned complete and in the order of arrival, in whatever chunks the bytes arrive.
2. The rest of a partly received frame is read straight into its final buffer: `room` returns that buffer.
3. After a ProtocolError nothing more can be read from this worker.
"""

from __future__ import annotations

from collections import deque

from poolproof.bridge.wire.framing import HEADER_BYTES, frame_size


class Receiver:
    """Receives the bytes of one worker's stdout. Payloads of more than `limit_bytes` are refused."""

    __slots__ = ("_filled", "_head", "_limit_bytes", "_rest", "partial", "payloads", "torn")

    def __init__(self, *, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self.payloads: deque[bytes | bytearray] = deque()
        """The complete payloads that were not taken yet, the oldest first."""
        self._head = b""  # an incomplete header
        self._rest: bytearray | None = None  # a payload of which `_filled` bytes were received
        self._filled = 0
        self.partial = False
        """Whether the rest of a frame is missing and must be read into `room`; otherwise pass the bytes to `feed`."""
        self.torn = False
        """Whether a frame was received only partly."""

    def feed(self, data: bytes) -> None:
        """Take received bytes, at least one. Raises ProtocolError for an oversize header."""
        view = memoryview(data)
        rest = self._rest
        if rest is not None:  # the caller did not use `room`
            count = min(len(view), len(rest) - self._filled)
            rest[self._filled : self._filled + count] = view[:count]
            self.fill(count)
            view = view[count:]
        if self._head:
            view = memoryview(self._head + bytes(view))
            self._head = b""
        while len(view) >= HEADER_BYTES:
            size = frame_size(view[:HEADER_BYTES], limit_bytes=self._limit_bytes)
            end = HEADER_BYTES + size
            if len(view) < end:
                self._rest = bytearray(size)
                self.partial = self.torn = True
                self._filled = len(view) - HEADER_BYTES
                self._rest[: self._filled] = view[HEADER_BYTES:]
                return
            self.payloads.append(bytes(view[HEADER_BYTES:end]))
            view = view[end:]
        self._head = bytes(view)
        self.torn = self.partial or bool(view)

    def room(self) -> memoryview:
        """Return the buffer for the rest of a `partial` frame."""
        assert self._rest is not None, "only a frame that has begun has room"
        return memoryview(self._rest)[self._filled :]

    def fill(self, count: int) -> None:
        """Record that `count` bytes were read into `room`."""
        rest = self._rest
        assert rest is not None, "only a frame that has begun has room"
        self._filled += count
        if self._filled == len(rest):
            self.payloads.append(rest)
            self._rest = None
            self.partial = self.torn = False

    def describe_gap(self) -> str:
        """Describe what is missing if the stream ends now."""
        if self._rest is None:
            return "ended its stream before it answered"
        return f"ended its stream {len(self._rest) - self._filled} bytes short of a frame of {len(self._rest)}"
