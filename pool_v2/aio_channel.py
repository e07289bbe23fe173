"""One exchange on one worker by a task: the frame is written and read by callbacks of the task's loop.

Knows nothing of queues. The rules are those of `bridge.channel`: whatever goes wrong is raised, the channel stays
dirty, and the deadline is kept by the watcher, who ends the worker; then the callbacks meet the end of the stream.

Nothing here blocks the loop. Requests are written without blocking. The read end of a worker's stdout is in blocking
mode, since a thread may be the next to use it; so it is read only when the loop says that there is something, once, and
`read` gives at most what is there. The loop watches it for the time of the exchange alone.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import NamedTuple

from msgspec import UNSET

from bridge.channel import READ_BYTES, Channel
from bridge.clock import now_ns, remaining_s
from bridge.errors import CallTimeout, ProtocolError, Sent, WorkerCrashed
from bridge.framing import HEADER_BYTES, frame_size
from bridge.messages import Response, decode_response

TAIL_WAIT_S = 0.1
"""How long to wait for the last lines of a crashed worker's stderr."""
TAIL_LOOK_S = 0.002


class Broken(NamedTuple):
    """What a worker did in place of an answer; empty if it only was late."""

    what: str
    cause: BaseException | None = None


async def exchange(
    loop: asyncio.AbstractEventLoop,
    channel: Channel,
    request_id: int,
    frame: bytearray,
    *,
    deadline_ns: int,
    on_sent: Callable[[], None] | None = None,
) -> Response:
    """Send `frame` and give the response to `request_id`; `on_sent` is called when the last byte has left.

    Raises as Channel.exchange does. If the task is cancelled meanwhile, the channel stays dirty, unless the response
    was there already.
    """
    channel.dirty = True
    try:
        written = os.write(channel.process.stdin_fd, frame)
    except OSError:  # full, or closed: the slow way tells
        written = 0
    if written != len(frame):
        sending = Sending(loop, channel, memoryview(frame)[written:], Sent.MAYBE if written else Sent.NO)
        await sending.run(deadline_ns)
    if on_sent is not None:
        on_sent()
    receiving = Receiving(loop, channel, request_id, deadline_ns)
    receiving.begin()
    try:
        outcome = await receiving.outcome
    finally:
        receiving.end()
    if isinstance(outcome, Broken):
        raise await failure(channel, outcome, Sent.YES) from outcome.cause
    return outcome


async def failure(channel: Channel, broken: Broken, sent: Sent) -> CallTimeout | WorkerCrashed:
    """The error that says what happened. The worker is killed, and the end of its stderr awaited for a moment."""
    if not broken.what and not channel.process.exited():
        return channel.late(sent)
    if not channel.overdue:
        channel.process.kill()
        deadline = now_ns() + int(TAIL_WAIT_S * 1e9)
        while not channel.tail.ended and now_ns() < deadline:
            await asyncio.sleep(TAIL_LOOK_S)
    return channel.crashed(broken.what or "died before the call's deadline", sent=sent, tail_wait_s=0.0)


class Sending:
    """Writes what the pipe did not take at once, whenever it has room again."""

    __slots__ = ("_channel", "_left", "_loop", "_outcome", "sent")

    def __init__(self, loop: asyncio.AbstractEventLoop, channel: Channel, left: memoryview, sent: Sent) -> None:
        self._loop = loop
        self._channel = channel
        self._left = left
        self._outcome: asyncio.Future[Broken | None] = loop.create_future()
        self.sent = sent

    async def run(self, deadline_ns: int) -> None:
        """Write to the end. Raises CallTimeout and WorkerCrashed."""
        process, loop = self._channel.process, self._loop
        # The watcher ends a late worker, which ends this, too, unless a stranger holds the other end: hence the clock
        # and the pidfd.
        timer = loop.call_later(remaining_s(deadline_ns), self._end, Broken(""))
        loop.add_writer(process.stdin_fd, self._on_room)
        loop.add_reader(process.pidfd, self._on_exit)
        try:
            broken = await self._outcome
        finally:
            timer.cancel()
            if not loop.is_closed():
                loop.remove_writer(process.stdin_fd)
                loop.remove_reader(process.pidfd)
        if broken is None:
            return
        raise await failure(self._channel, broken, self.sent) from broken.cause

    def _on_room(self) -> None:
        try:
            written = os.write(self._channel.process.stdin_fd, self._left)
        except BlockingIOError:
            return
        except OSError as error:  # EPIPE: the worker has closed its end
            self._end(Broken("does not read its requests", error))
            return
        if written:
            # Some bytes have left, but a request that is not whole is never executed.
            self.sent = Sent.MAYBE
            self._left = self._left[written:]
            if not self._left:
                self._end(None)

    def _on_exit(self) -> None:
        self._end(Broken("died before it had read its request"))

    def _end(self, outcome: Broken | None) -> None:
        if not self._outcome.done():
            self._outcome.set_result(outcome)


class Receiving:
    """Reads one response, once each time that the loop says there is something. `outcome` is set at its end.

    Invariant: the channel is clean from the moment that the whole response was read, so a task that is cancelled only
    then costs no worker.
    """

    __slots__ = ("_channel", "_data", "_deadline_ns", "_fd", "_have", "_loop", "_payload", "_request_id", "outcome")

    def __init__(self, loop: asyncio.AbstractEventLoop, channel: Channel, request_id: int, deadline_ns: int) -> None:
        self._loop = loop
        self._channel = channel
        self._request_id = request_id
        self._deadline_ns = deadline_ns
        self._fd = -1
        self._data = b""
        self._payload: bytearray | None = None
        self._have = 0
        self.outcome: asyncio.Future[Response | Broken] = loop.create_future()

    def begin(self) -> None:
        """Have the loop watch the worker's stdout."""
        self._loop.add_reader(self._channel.process.stdout_fd, self._on_data)
        self._fd = self._channel.process.stdout_fd

    def end(self) -> None:
        """Have the loop forget it; before anybody else can use the worker. Idempotent."""
        fd, self._fd = self._fd, -1
        if fd >= 0 and not self._loop.is_closed():
            self._loop.remove_reader(fd)

    def _on_data(self) -> None:
        if self.outcome.done():  # the task is being cancelled
            self.end()
            return
        outcome = self._read() if self._payload is None else self._read_more(self._payload)
        if outcome is not None:
            self.end()
            self.outcome.set_result(outcome)

    def _read(self) -> Response | Broken | None:
        more = os.read(self._fd, READ_BYTES)
        if not more or self._channel.abandoned:
            return Broken("ended its stream before it answered")
        limit_bytes = self._channel.limit_bytes
        data = self._data + more if self._data else more
        have = len(data) - HEADER_BYTES
        if int.from_bytes(data[:HEADER_BYTES], "big") == have <= limit_bytes and have >= 0:
            return self._decode(data[HEADER_BYTES:])  # a whole frame in one read, as nearly always
        if have < 0:
            self._data = data
            return self._late()
        try:
            size = frame_size(data[:HEADER_BYTES], limit_bytes=limit_bytes)
        except ProtocolError as error:
            return Broken(f"broke the protocol: {error}", error)
        if have > size:
            return Broken(f"sent {have - size} bytes more than its response")
        self._payload = bytearray(size)
        self._payload[:have] = data[HEADER_BYTES:]
        self._have = have
        return self._late()

    def _read_more(self, payload: bytearray) -> Response | Broken | None:
        with memoryview(payload) as view:
            got = os.readv(self._fd, [view[self._have :]])
        if not got or self._channel.abandoned:
            missing = len(payload) - self._have
            return Broken(f"ended its stream {missing} bytes short of a frame of {len(payload)}")
        self._have += got
        return self._decode(payload) if self._have == len(payload) else self._late()

    def _late(self) -> Broken | None:
        # Bytes that never stop coming must not stretch the deadline (G11).
        return None if now_ns() <= self._deadline_ns else Broken("")

    def _decode(self, payload: bytes | bytearray) -> Response | Broken:
        try:
            response = decode_response(payload)
        except ProtocolError as error:
            return Broken(f"sent what is {error}", error)
        if response.id != self._request_id or response.more is not UNSET:
            what = "" if response.more is UNSET else "a part of "
            return Broken(f"answered {what}request {response.id} instead of {self._request_id}")
        self._channel.dirty = False
        return response
