"""Calls that the thread of `submit` begins itself, and who goes on with them when their worker has responded.

A switch to another thread takes longer than a small call. So if a worker is idle, the client's own thread pickles the
call and writes the request. Then the steps of the call (`poolproof.bridge.wire.exchange`) are *parked*, and whoever
takes them out of `Pending.parked`, which is one atomic step, goes on with them:

1. a client that waits in `result`, as soon as the worker has sent bytes: then no other thread takes part in the call;
2. the reader, a thread of the executor, for the calls that no client waits for in this way. It never blocks;
3. a dispatch thread, if the next step may block: a wait for a worker, for room in a pipe, for the end of a worker.

Interrupts. A client waits with the steps taken out, but not begun: an interrupt of its wait puts them back, a dispatch
thread goes on with them, and the call is not affected. An interrupt within a step ends the call as it ends a call of
PoolV2. The steps complete the call's future however they end, also if they are lost and collected as garbage.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import time
from collections.abc import Callable, Iterable
from operator import call
from typing import Any

from poolproof.bridge.errors import Sent
from poolproof.bridge.wire.exchange import Steps
from poolproof.bridge.wire.transport import Transport
from poolproof.pool_v2.calls.io import ThreadIo
from poolproof.pool_v2.core.ticket import Ticket
from poolproof.pool_v2.executor.pending import Pending

logger = logging.getLogger(__name__)
MAY_BLOCK, NOT_BEGUN, ENDED = -1, -2, -3
MOST_POLL_S = 86400.0


class ParkingIo(ThreadIo):
    """Waits as a thread does, but yields before: the descriptor to wait for, or MAY_BLOCK if there is no single one."""

    may_sleep = False

    def wait(self, ticket: Ticket, until_ns: int) -> Iterable[Any]:
        """See ClientIo."""
        yield MAY_BLOCK
        super().wait(ticket, until_ns)

    def read(self, transport: Transport, deadline_ns: int) -> Iterable[Any]:
        """See Io."""
        yield transport.answer_fd
        super().read(transport, deadline_ns)

    def write(self, transport: Transport, left: memoryview, sent: Sent, deadline_ns: int) -> Iterable[Any]:
        """See Io."""
        yield MAY_BLOCK
        super().write(transport, left, sent, deadline_ns)

    def await_end(self, transport: Transport) -> Iterable[Any]:
        """See Io."""
        yield MAY_BLOCK
        super().await_end(transport)

    def await_last_words(self, transport: Transport) -> Iterable[Any]:
        """See Io."""
        yield MAY_BLOCK
        super().await_last_words(transport)


class Polls(dict[int, select.poll]):
    """A poll for each descriptor, made at its first use. Only the thread that goes on with a call uses its poll."""

    def __missing__(self, fd: int) -> select.poll:
        poll = self[fd] = select.poll()
        poll.register(fd, select.POLLIN)
        return poll


PARKING = ParkingIo()


class Parking:
    """The calls of one executor that were begun in `submit` and have not ended: `running`, by number.

    `delegate` lets a dispatch thread `finish` a call. Every method may be called from any thread.
    """

    def __init__(self, delegate: Callable[[Pending], None]) -> None:
        self.running: dict[int, Pending] = {}
        self._delegate = delegate
        self._owner_pid = os.getpid()
        self._waiting: dict[int, int] = {}  # the number of the call that waits, or has waited, at a descriptor
        self._polls = Polls()
        with contextlib.ExitStack() as opened:
            self._epoll = opened.enter_context(select.epoll())
            self._end_fd = os.eventfd(0)
            opened.callback(os.close, self._end_fd)
            self._epoll.register(self._end_fd, select.EPOLLIN)
            opened.pop_all()

    def begin(self, future: Pending, steps: Steps[None], require_open: Callable[[], None]) -> None:
        """Take the first steps of the call, up to the first wait that is not over. Raises what `require_open` raises.

        After an interrupt, a dispatch thread goes on with the call, if the call has begun.
        """
        try:
            self.running[future.number] = future
            require_open()  # a later shutdown sees this call
            future.parked.append((steps, NOT_BEGUN))
            future.helper = self
            self._go_on(future, lambda fd: fd == NOT_BEGUN or (fd >= 0 and self._is_readable(fd)))
        except BaseException:
            if future.helper is None and not future.parked:
                self.ended(future)
            self._rescue(future)
            raise

    def ended(self, future: Pending) -> None:
        """Forget a call, at its end."""
        self.running.pop(future.number, None)

    def all_done(self) -> bool:
        """Whether every call has its result."""
        return all(future.done() for future in list(self.running.values()))

    def help(self, future: Pending, timeout_s: float | None) -> float | None:
        """Go on with the call in this thread until it has ended or `timeout_s` is over; None sets no limit.

        Returns the rest of the time. Does nothing if another thread goes on with the call.
        """
        if not future.parked or os.getpid() != self._owner_pid:
            return timeout_s
        end_s = time.monotonic() + (MOST_POLL_S if timeout_s is None else timeout_s)
        try:
            self._go_on(future, lambda fd: fd >= 0 and self._take_over(fd, end_s))
        except BaseException:
            self._rescue(future)
            raise
        return None if timeout_s is None else max(end_s - time.monotonic(), 0.0)

    def finish(self, future: Pending) -> None:
        """Go on with the call to its end, unless another thread does. May block."""
        self._go_on(future, lambda fd: True)

    def read(self) -> None:
        """Go on with each call whose worker has sent bytes, until `end`."""
        while True:
            for fd, _ in self._epoll.poll():
                if fd == self._end_fd:
                    return
                future = self.running.get(self._waiting[fd])
                if future is not None:
                    try:
                        self._go_on(future, lambda fd: fd >= 0 and self._is_readable(fd))
                    except BaseException:  # see Dispatch._serve
                        logger.exception("a callback of a call has failed")
                del future  # no reference to a result is kept

    def end(self) -> None:
        """Let `read` return. Idempotent."""
        os.eventfd_write(self._end_fd, 1)

    def close(self) -> None:
        """Close the descriptors, after `read` has returned."""
        self._epoll.close()
        os.close(self._end_fd)

    def _go_on(self, future: Pending, may_go_on: Callable[[int], bool]) -> None:
        # Takes steps as long as `may_go_on` with the descriptor that they wait for, and parks the rest.
        taken: list[tuple[Steps[None], int]] = []
        try:
            taken.extend(map(call, (future.parked.pop,)))
        except IndexError:
            return
        steps, fd = taken[0]
        try:
            while fd != ENDED and may_go_on(fd):
                try:
                    fd = next(steps, ENDED)
                except BaseException:
                    fd = ENDED
                    raise
        finally:
            if fd != ENDED:
                self._park(future, steps, fd)

    def _rescue(self, future: Pending) -> None:
        # An interrupt may have come before the reader watches the descriptor.
        if future.parked:
            self._delegate(future)

    def _park(self, future: Pending, steps: Steps[None], fd: int) -> None:
        future.parked.append((steps, fd))
        if fd < 0:
            self._delegate(future)
            return
        self._waiting[fd] = future.number
        try:
            self._epoll.modify(fd, select.EPOLLIN | select.EPOLLONESHOT)
        except FileNotFoundError:  # the first call of this worker
            self._epoll.register(fd, select.EPOLLIN | select.EPOLLONESHOT)

    def _is_readable(self, fd: int) -> bool:
        return bool(self._polls[fd].poll(0))

    def _take_over(self, fd: int, end_s: float) -> bool:
        # Waits for the descriptor in place of the reader. Returns whether it is readable.
        try:
            self._epoll.modify(fd, select.EPOLLONESHOT)
        except FileNotFoundError:  # an interrupt came before it was registered
            pass
        return bool(self._polls[fd].poll(max(end_s - time.monotonic(), 0.0) * 1000))
