"""Several responses to come on one channel: the parts of a stream, or the answers to requests that were sent ahead.

Knows nothing of queues. As in an exchange, whatever goes wrong is raised and the channel stays dirty; it is clean again
only when the last response was read whole, with nothing behind it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from msgspec import UNSET

from bridge.channel import Channel
from bridge.clock import now_ns
from bridge.errors import ProtocolError, Sent
from bridge.framing import FrameDecoder
from bridge.messages import Response, decode_response

MOST_AHEAD = 64
"""How many requests may wait in a worker's stdin."""


class Conversation:
    """Used by the one thread that holds the channel's lease. `deadline_ns` bounds all of it.

    Between two reads the worker can send no more than its pipe holds, so a slow reader slows its worker down.
    """

    __slots__ = ("_channel", "_deadline_ns", "_decoder", "_payloads")

    def __init__(self, channel: Channel, *, deadline_ns: int) -> None:
        self._channel = channel
        self._deadline_ns = deadline_ns
        self._decoder = FrameDecoder(limit_bytes=channel.limit_bytes)
        self._payloads: deque[bytes] = deque()

    def ask(self, frame: bytearray) -> None:
        """Send one request. Raises CallTimeout and WorkerCrashed, which say whether a byte has left."""
        self._channel.write(memoryview(frame), Sent.NO, self._deadline_ns)

    def next_part(self, request_id: int) -> Response:
        """The next part of the stream, or its end: a failure, `more` false, or one plain response.

        Raises CallTimeout and WorkerCrashed.
        """
        response = self._receive(request_id)
        if not response.success or response.more is not True:
            self._come_clean()
        return response

    def exchange_all(
        self, requests: Sequence[tuple[int, bytearray]], *, on_sent: Callable[[int], None]
    ) -> Iterator[Response]:
        """The responses to these requests (id and frame), in order. A request is sent before the last is answered.

        `on_sent` is called with the id when the last byte of a request has left. Raises as `ask` does.
        """
        sent = answered = 0
        left = memoryview(b"")
        while answered < len(requests):
            while sent < len(requests) and sent - answered < MOST_AHEAD:
                left = left or memoryview(requests[sent][1])
                left = left[self._channel.write_ahead(left) :]
                if left and sent == answered:  # nothing is on its way, so nobody else will make room
                    self._channel.write(left, Sent.MAYBE, self._deadline_ns)
                    left = left[len(left) :]
                if left:
                    break
                on_sent(requests[sent][0])
                sent += 1
            response = self._receive(requests[answered][0])
            if response.more is not UNSET:
                raise self._channel.crashed(
                    f"answered a part of request {response.id}, of which nobody asked for parts"
                )
            answered += 1
            if answered == len(requests):
                self._come_clean()
            yield response

    def _receive(self, request_id: int) -> Response:
        channel = self._channel
        while not self._payloads:
            if now_ns() > self._deadline_ns:
                raise channel.late(Sent.YES)
            try:
                self._payloads.extend(self._decoder.feed(channel.read(self._deadline_ns)))
            except ProtocolError as error:
                raise channel.crashed(f"broke the protocol: {error}") from error
        try:
            response = decode_response(self._payloads.popleft())
        except ProtocolError as error:
            raise channel.crashed(f"sent what is {error}") from error
        if response.id != request_id:
            raise channel.crashed(f"answered request {response.id} instead of {request_id}")
        return response

    def _come_clean(self) -> None:
        if self._payloads or self._decoder.pending_bytes:
            raise self._channel.crashed("sent more than its last response")
        self._channel.dirty = False
