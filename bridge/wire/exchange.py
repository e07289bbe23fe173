"""Exchanges with one worker, written once for threads and tasks, and for single calls, batches and streams.

Each function is a generator of *steps*. A step is a wait; `Io` defines how to wait. For a thread, the wait is over when
the step has been made, so `run` drives the generator to its result without a pause. A task awaits each step.

Every failure is raised as CallTimeout or WorkerCrashed, which say what was sent. Then the channel stays dirty, and its
worker is never used again. Invariant: a channel is dirty from the first byte of a request until the last response that
is due was read completely, with no bytes behind it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, Protocol, TypeVar

from msgspec import UNSET

from poolproof.bridge.errors import PoolError, ProtocolError, Sent
from poolproof.bridge.wire.buffers import SMALLEST_SHARED_BYTES
from poolproof.bridge.wire.messages import (
    INIT_ID,
    Memory,
    Parcel,
    Response,
    decode_response,
    encode_attach,
    ends_stream,
)
from poolproof.bridge.wire.transport import Transport

MOST_AHEAD = 64
"""The maximum number of requests that wait in a worker's stdin."""

T = TypeVar("T")
Steps = Generator[Any, Any, T]
"""The remaining waits, one after another, and then the result."""


class Io(Protocol):
    """How to wait for a worker. Each method begins the wait and returns the rest of it, for `yield from`."""

    def read(self, transport: Transport, deadline_ns: int) -> Iterable[Any]:
        """Wait until the worker has sent bytes, and receive them. Raises CallTimeout or WorkerCrashed."""
        ...

    def write(self, transport: Transport, left: memoryview, sent: Sent, deadline_ns: int) -> Iterable[Any]:
        """Write all bytes of `left`; `sent` says what was sent before. Raises CallTimeout or WorkerCrashed."""
        ...

    def await_end(self, transport: Transport) -> Iterable[Any]:
        """Wait briefly until a worker that seems to be gone has ended and is reaped."""
        ...

    def await_last_words(self, transport: Transport) -> Iterable[Any]:
        """Wait briefly until the stderr of a killed worker has ended."""
        ...


def run(steps: Steps[T]) -> T:
    """Run steps whose waits block, and return their result."""
    try:
        next(steps)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("a thread's step is over when it was made")


def exchange(io: Io, transport: Transport, request_id: int, frame: bytearray, deadline_ns: int) -> Steps[Response]:
    """Send `frame` and return the response to `request_id`."""
    yield from send(io, transport, frame, deadline_ns)
    return (yield from receive(io, transport, request_id, deadline_ns))


def send(io: Io, transport: Transport, frame: bytearray, deadline_ns: int, ahead: int = 0) -> Iterable[Any]:
    """Send one request, of which `ahead` bytes were already written. Returns the remaining waits."""
    transport.dirty = True
    written = ahead or transport.write_some(frame)
    if written == len(frame):
        return ()
    return io.write(transport, memoryview(frame)[written:], Sent.MAYBE if written else Sent.NO, deadline_ns)


def share(io: Io, transport: Transport, deadline_ns: int) -> Steps[Memory | None]:
    """Return the memory that the transport shares with its worker, or None if they cannot share any.

    The first call gives it to the worker. If that fails, the request itself was not sent.
    """
    transport.wants_memory = False
    if transport.memory is None:
        place = transport.new_memory()
        if place is not None:
            try:
                response = yield from exchange(io, transport, INIT_ID, encode_attach(*place), deadline_ns)
            except PoolError as error:
                error.sent = Sent.NO
                raise
            transport.keep_memory(shared=response.success)
    return transport.memory


def load(io: Io, transport: Transport, parcel: Parcel, deadline_ns: int) -> Steps[bytearray]:
    """Put the parcel's parts into shared memory, and return the frame to send; without memory, the parts inline."""
    memory = yield from share(io, transport, deadline_ns)
    if memory is not None:
        with contextlib.suppress(OSError):  # there is no more memory to share
            memory.put(parcel.parts)
            return parcel
    return parcel.inline()


def receive(
    io: Io, transport: Transport, request_id: int, deadline_ns: int, *, parts: bool = False, last: bool = True
) -> Steps[Response]:
    """Return the response to this request, or its next part. After the `last` response due, no bytes may remain."""
    try:
        while (response := take(transport, request_id, parts, last)) is None:
            yield from io.read(transport, deadline_ns)
        return response
    except ProtocolError as error:
        raise (yield from crashed(io, transport, str(error))) from error


def take(transport: Transport, request_id: int, parts: bool = False, last: bool = True) -> Response | None:
    """Return the response to this request, or a part if `parts` is set; None if it is not complete yet.

    After the `last` response due, no bytes may remain. Raises ProtocolError that says what the worker did instead.
    """
    receiver = transport.receiver
    payloads = receiver.payloads
    if not payloads:
        return None
    payload = payloads.popleft()
    response = check(payload, request_id, parts, transport.memory)
    if response.buffers is not UNSET and len(payload) >= SMALLEST_SHARED_BYTES:
        transport.wants_memory = True
    if last and (not parts or ends_stream(response)):
        if payloads or receiver.torn:
            raise ProtocolError("sent more bytes after its last response")
        transport.dirty = False
    return response


def check(payload: bytes | bytearray, request_id: int, parts: bool = False, memory: Memory | None = None) -> Response:
    """Decode the response to this request; a part of a response is accepted only if `parts` is set.

    Raises ProtocolError that says what the worker did instead.
    """
    response = decode_response(payload, memory)
    if response.id != request_id or (response.more is not UNSET and not parts):
        what = "" if response.more is UNSET else "a part of "
        raise ProtocolError(f"answered {what}request {response.id} instead of {request_id}")
    return response


def exchange_all(
    io: Io,
    transport: Transport,
    requests: Sequence[tuple[int, bytearray]],
    deadline_ns: int,
    *,
    on_sent: Callable[[int], None],
    on_answer: Callable[[int, Response], None],
) -> Steps[None]:
    """Send these requests (id and frame), pipelined, and receive the responses in order.

    `on_sent` is called with the id when the last byte of a request was sent, `on_answer` with each response. If the
    client is interrupted or cancelled while a request is sent in part, the worker is killed.
    """
    sent = answered = 0
    left = memoryview(b"")
    transport.dirty = True
    try:
        while answered < len(requests):
            while sent < len(requests) and sent - answered < MOST_AHEAD:
                left = left or memoryview(requests[sent][1])
                begun = len(left) < len(requests[sent][1])
                written = transport.write_some(left)
                left = left[written:]
                if left and sent == answered:  # no response is due, so no other event makes room
                    yield from io.write(transport, left, Sent.MAYBE if begun or written else Sent.NO, deadline_ns)
                    left = left[len(left) :]
                if left:
                    break
                on_sent(requests[sent][0])
                sent += 1
            number = requests[answered][0]
            response = yield from receive(io, transport, number, deadline_ns, last=answered + 1 == len(requests))
            answered += 1
            on_answer(number, response)
    except BaseException as error:
        partly = left and len(left) < len(requests[sent][1])
        if partly and not isinstance(error, Exception | GeneratorExit):
            transport.kill()  # nobody will write the rest of the request
        raise


def crashed(io: Io, transport: Transport, what: str, sent: Sent = Sent.YES, *, gone: bool = False) -> Steps[PoolError]:
    """Kill the worker and return the error that says what it did; CallTimeout if it was cut off at the deadline.

    `gone`: the worker seems to have ended by itself; then its own end is waited for first, so that the error tells it.
    """
    if not transport.overdue:
        if gone:
            yield from io.await_end(transport)
        transport.kill()
        yield from io.await_last_words(transport)
    return transport.crashed(what, sent=sent, wait_s=0.0)
