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


class Answers:
    """The responses in a stream of bytes, one after another. It raises ProtocolErrors that say what the worker did."""

    __slots__ = ("_decoder", "_payloads")

    def __init__(self, *, limit_bytes: int) -> None:
        self._decoder = FrameDecoder(limit_bytes=limit_bytes)
        self._payloads: deque[bytes] = deque()

    def feed(self, data: bytes) -> None:
        """These bytes have come."""
        try:
            self._payloads.extend(self._decoder.feed(data))
        except ProtocolError as error:
            raise ProtocolError(f"broke the protocol: {error}") from error

    def take(self, request_id: int) -> Response | None:
        """The next response, which must be to this request; None if it has not come whole."""
        if not self._payloads:
            return None
        try:
            response = decode_response(self._payloads.popleft())
        except ProtocolError as error:
            raise ProtocolError(f"sent what is {error}") from error
        if response.id != request_id:
            raise ProtocolError(f"answered request {response.id} instead of {request_id}")
        return response

    def take_whole(self, request_id: int) -> Response | None:
        """`take` where nobody asked for parts."""
        response = self.take(request_id)
        if response is not None and response.more is not UNSET:
            raise ProtocolError(f"answered a part of request {response.id}, of which nobody asked for parts")
        return response

    def require_end(self) -> None:
        """Nothing may be left."""
        if self._payloads or self._decoder.pending_bytes:
            raise ProtocolError("sent more than its last response")


def ends_stream(response: Response) -> bool:
    """Whether this is the last of a stream: a failure, `more` false, or one plain response."""
    return not response.success or response.more is not True


class Conversation:
    """Used by the one thread that holds the channel's lease. `deadline_ns` bounds all of it.

    Between two reads the worker can send no more than its pipe holds, so a slow reader slows its worker down.
    """

    __slots__ = ("_answers", "_channel", "_deadline_ns")

    def __init__(self, channel: Channel, *, deadline_ns: int) -> None:
        self._channel = channel
        self._deadline_ns = deadline_ns
        self._answers = Answers(limit_bytes=channel.limit_bytes)

    def ask(self, frame: bytearray) -> None:
        """Send one request. Raises CallTimeout and WorkerCrashed, which say whether a byte has left."""
        self._channel.write(memoryview(frame), Sent.NO, self._deadline_ns)

    def next_part(self, request_id: int) -> Response:
        """The next part of the stream, or its end: a failure, `more` false, or one plain response.

        Raises CallTimeout and WorkerCrashed.
        """
        try:
            while (response := self._answers.take(request_id)) is None:
                self._read()
            if ends_stream(response):
                self._come_clean()
        except ProtocolError as error:
            raise self._channel.crashed(str(error)) from error
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
            try:
                while (response := self._answers.take_whole(requests[answered][0])) is None:
                    self._read()
                answered += 1
                if answered == len(requests):
                    self._come_clean()
            except ProtocolError as error:
                raise self._channel.crashed(str(error)) from error
            yield response

    def _read(self) -> None:
        if now_ns() > self._deadline_ns:
            raise self._channel.late(Sent.YES)
        self._answers.feed(self._channel.read(self._deadline_ns))

    def _come_clean(self) -> None:
        self._answers.require_end()
        self._channel.dirty = False
