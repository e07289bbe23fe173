"""How a thread waits for a worker: the blocking half of an exchange (`poolproof.bridge.wire.exchange`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from poolproof.bridge.clock import now_ns
from poolproof.bridge.errors import Sent
from poolproof.bridge.wire.transport import Transport

TAIL_WAIT_S = 0.1
"""How long a client waits for the end of a crashed worker and of its stderr, in seconds."""


class Blocking:
    """The waits of a thread: each method blocks until its wait is over."""

    def read(self, transport: Transport, deadline_ns: int) -> Iterable[Any]:
        """Wait until the worker has sent bytes, and receive them. Raises CallTimeout or WorkerCrashed."""
        if transport.receiver.torn and now_ns() > deadline_ns:
            raise transport.unanswered(Sent.YES)  # a worker that never stops sending must not extend the deadline (G11)
        if not transport.watched:
            transport.await_answer(deadline_ns)
        gap = transport.take_in()
        if gap:
            raise transport.crashed(gap, wait_s=TAIL_WAIT_S, gone=True)
        return ()

    def write(self, transport: Transport, left: memoryview, sent: Sent, deadline_ns: int) -> Iterable[Any]:
        """Write all bytes of `left`; `sent` says what was sent before. Raises CallTimeout or WorkerCrashed."""
        transport.write(left, sent, deadline_ns)
        return ()

    def await_end(self, transport: Transport) -> Iterable[Any]:
        """Wait briefly until a worker that seems to be gone has ended and is reaped."""
        transport.await_end(TAIL_WAIT_S)
        return ()

    def await_last_words(self, transport: Transport) -> Iterable[Any]:
        """Wait briefly until the stderr of a killed worker has ended."""
        transport.await_last_words(TAIL_WAIT_S)
        return ()


BLOCKING = Blocking()
