"""What one worker sends, cut into payloads. Sans I/O: it is told which bytes have come, and says what they are.

Pure. One receiver serves a worker for its whole life, through every way in: single calls, batches and streams, threads
and tasks. Rules:

1. Payloads are given whole and in the order in which they came, however the bytes were cut.
2. The rest of a frame of which a part has come is read straight into its place: `room` says where.
3. After a ProtocolError nothing more can be read from this worker.
"""

from __future__ import annotations

from collections import deque

from poolproof.bridge.wire.framing import HEADER_BYTES, frame_size


class Receiver:
    """The bytes of one worker's stdout. Payloads of more than `limit_bytes` are refused."""

    __slots__ = ("_filled", "_head", "_limit_bytes", "_rest", "partial", "payloads", "torn")

    def __init__(self, *, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self.payloads: deque[bytes | bytearray] = deque()
        """Those that have come whole and were not taken, the first in front."""
        self._head = b""  # less than a header
        self._rest: bytearray | None = None  # a payload of which `_filled` bytes have come
        self._filled = 0
        self.partial = False
        """Whether the rest of a frame is missing, for which there is `room`; otherwise `feed` takes what comes."""
        self.torn = False
        """Whether a part of a frame has come."""

    def feed(self, data: bytes) -> None:
        """These bytes have come, at least one. Raises ProtocolError for an oversize header."""
        view = memoryview(data)
        rest = self._rest
        if rest is not None:  # a caller that did not ask for `room`
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
        """Where the rest of a frame of which a `partial` payload has come is to be read to."""
        assert self._rest is not None, "only a frame that has begun has room"
        return memoryview(self._rest)[self._filled :]

    def fill(self, count: int) -> None:
        """So many bytes were read into `room`."""
        rest = self._rest
        assert rest is not None, "only a frame that has begun has room"
        self._filled += count
        if self._filled == len(rest):
            self.payloads.append(rest)
            self._rest = None
            self.partial = self.torn = False

    def describe_gap(self) -> str:
        """What is missing, if the stream ends now."""
        if self._rest is None:
            return "ended its stream before it answered"
        return f"ended its stream {len(self._rest) - self._filled} bytes short of a frame of {len(self._rest)}"
