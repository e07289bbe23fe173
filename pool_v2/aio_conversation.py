"""Several responses to come on one channel, for a task: `bridge.conversation` with `await`, on the task's loop.

Knows nothing of queues. The loop watches the worker's stdout only while the task waits for the next bytes, so what the
task does not ask for stays in the pipe, and the worker with it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence

from bridge.channel import READ_BYTES, Channel
from bridge.clock import now_ns
from bridge.conversation import MOST_AHEAD, Answers, ends_stream
from bridge.errors import ProtocolError, Sent
from bridge.messages import Response
from pool_v2.aio_channel import Broken, Sending, failure


class AsyncConversation:
    """Used by the one task that holds the channel's lease. `deadline_ns` bounds all of it.

    Whatever goes wrong is raised as CallTimeout or WorkerCrashed, and the channel stays dirty; so it does when the task
    is cancelled before the last response was read.
    """

    __slots__ = ("_answers", "_channel", "_deadline_ns", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, channel: Channel, *, deadline_ns: int) -> None:
        self._loop = loop
        self._channel = channel
        self._deadline_ns = deadline_ns
        self._answers = Answers(limit_bytes=channel.limit_bytes)

    async def ask(self, frame: bytearray) -> None:
        """Send one request."""
        view = memoryview(frame)
        written = self._channel.write_ahead(view)
        if written != len(view):
            await self._send(view[written:], Sent.MAYBE if written else Sent.NO)

    async def next_part(self, request_id: int) -> Response:
        """The next part of the stream, or its end: see `ends_stream`."""
        try:
            while (response := self._answers.take(request_id)) is None:
                await self._read()
            if ends_stream(response):
                self._come_clean()
        except ProtocolError as error:
            raise await failure(self._channel, Broken(str(error)), Sent.YES) from error
        return response

    async def exchange_all(
        self, requests: Sequence[tuple[int, bytearray]], *, on_sent: Callable[[int], None]
    ) -> AsyncIterator[Response]:
        """The responses to these requests (id and frame), in order. A request is sent before the last is answered.

        `on_sent` is called with the id when the last byte of a request has left.
        """
        sent = answered = 0
        left = memoryview(b"")
        while answered < len(requests):
            while sent < len(requests) and sent - answered < MOST_AHEAD:
                left = left or memoryview(requests[sent][1])
                left = left[self._channel.write_ahead(left) :]
                if left and sent == answered:  # nothing is on its way, so nobody else will make room
                    await self._send(left, Sent.MAYBE)
                    left = left[len(left) :]
                if left:
                    break
                on_sent(requests[sent][0])
                sent += 1
            try:
                while (response := self._answers.take_whole(requests[answered][0])) is None:
                    await self._read()
                answered += 1
                if answered == len(requests):
                    self._come_clean()
            except ProtocolError as error:
                raise await failure(self._channel, Broken(str(error)), Sent.YES) from error
            yield response

    async def _send(self, left: memoryview, sent: Sent) -> None:
        await Sending(self._loop, self._channel, left, sent).run(self._deadline_ns)

    async def _read(self) -> None:
        # Once, when the loop says that there is something: `read` gives at most what is there.
        channel, loop = self._channel, self._loop
        if now_ns() > self._deadline_ns:
            raise channel.late(Sent.YES)  # bytes that never stop coming must not stretch the deadline (G11)
        fd = channel.process.stdout_fd
        readable: asyncio.Future[None] = loop.create_future()
        loop.add_reader(fd, _settle, readable)
        try:
            await readable
        finally:
            if not loop.is_closed():
                loop.remove_reader(fd)
        data = os.read(fd, READ_BYTES)
        if not data or channel.abandoned:
            raise await failure(channel, Broken("ended its stream before it answered"), Sent.YES)
        self._answers.feed(data)

    def _come_clean(self) -> None:
        self._answers.require_end()
        self._channel.dirty = False


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
