"""How a task waits: on its own loop, for a worker and for a worker's pipes. No thread is used for a call.

When a task goes away
1. Cancelled while it waits, it leaves the queue at once. Cancelled between hand-off and wake-up, the worker goes to the
   next in the queue. Cancelled in its exchange, the worker is killed and replaced. CancelledError goes on unchanged.
2. Its loop was closed around it: whoever has a worker for it finds the loop closed, and the supervisor takes the
   worker back. A worker that it holds already is found by the housekeeper.
3. Its coroutine is finalized (GeneratorExit). That may happen in the garbage collector, in any thread and under any
   lock; so what is left to do is appended to a deque, and the supervisor does it.

Nothing here blocks the loop. The read end of a worker's stdout is in blocking mode, since a thread may be the next to
use it; so it is read only when the loop says that there is something, once, and `read` gives at most what is there. The
loop watches it only while the task waits, so what the task does not ask for stays in the pipe, and the worker with it.
"""

from __future__ import annotations

import asyncio
import os
import types
from asyncio import events
from collections.abc import Callable, Generator, Iterable
from typing import Any

from poolproof.bridge.clock import now_ns, remaining_s
from poolproof.bridge.errors import Sent
from poolproof.bridge.processes.channel import TAIL_WAIT_S
from poolproof.bridge.wire.exchange import Steps, T, crashed
from poolproof.bridge.wire.transport import ReplyEnd, Transport
from poolproof.pool_v2.calls.lease import Client, Open
from poolproof.pool_v2.core.sessions import Session
from poolproof.pool_v2.core.ticket import Ticket, TicketState
from poolproof.pool_v2.running.runtime import OpenLeases

TAIL_LOOK_S = 0.002


@types.coroutine
def follow(steps: Steps[T]) -> Generator[Any, Any, T]:
    """Await the waits of these steps, one after another, and give their result."""
    return (yield from steps)


class AsyncTicket(Ticket, kw_only=True):
    """A ticket whose waiter is a future of the running loop. It also stands for the task where the pool asks who lives.

    `on_dead_loop` is called with the ticket, by the thread that has a worker for it, if its loop was closed.
    """

    loop: asyncio.AbstractEventLoop
    on_dead_loop: Callable[[Ticket], None]
    future: asyncio.Future[None] | None = None

    def arm(self) -> None:
        """Make its client's next wait last until `wake`."""
        Ticket.arm(self)
        self.future = self.loop.create_future()

    def wake(self) -> None:
        """Let the waiting task go on. From any thread; a second time changes nothing."""
        future = self.future
        if future is None or future.done():
            return
        if events._get_running_loop() is self.loop:
            self._go_on()
            return
        try:
            self.loop.call_soon_threadsafe(self._go_on)
        except RuntimeError:  # the loop was closed: nobody will ever take the worker
            self.on_dead_loop(self)

    def wait(self, timeout_s: float) -> Iterable[Any]:
        """Wait for `wake` at most `timeout_s` seconds."""
        assert self.future is not None, "only an armed ticket waits"
        timer = self.loop.call_later(timeout_s, self._go_on)
        try:
            yield from self.future
        finally:
            timer.cancel()

    def is_alive(self) -> bool:
        """Whether its task may still go on: the loop is open, and does not sleep on an offer past the deadline."""
        if self.loop.is_closed():
            return False
        overslept = self.state is TicketState.OFFERED and self.deadline_ns <= now_ns()
        return not overslept or self.loop.is_running()

    def _go_on(self) -> None:
        if self.future is not None and not self.future.done():
            self.future.set_result(None)


class TaskRecord:
    """What the pool keeps of a task that waits for a worker, or holds one."""

    __slots__ = ("opened", "thread", "ticket")

    def __init__(self, ticket: AsyncTicket) -> None:
        self.ticket: Ticket = ticket
        self.thread: Client = ticket
        self.opened: tuple[str, ...] = ("await pool.execute(...)",)


class TaskIo:
    """How a task waits. One for all tasks of a pool, on whatever loops they run."""

    may_sleep = False

    def __init__(self, opened: OpenLeases, on_dead_loop: Callable[[Ticket], None]) -> None:
        self._open = opened
        self._on_dead_loop = on_dead_loop

    def ticket(
        self,
        call: int,
        session: Session | None,
        deadline_ns: int,
        until_ns: int,
        thread_id: int,
        request: bytearray | None,
        reply_pipe: ReplyEnd | None = None,
    ) -> Ticket:
        """A ticket of the current task; the pool keeps a record of it until it owns nothing.

        Nobody writes a task's request for it: a task is often cancelled, which may cost no worker before it went on.
        """
        ticket = AsyncTicket(
            call,
            session,
            deadline_ns,
            until_ns,
            thread_id,
            loop=asyncio.get_running_loop(),
            on_dead_loop=self._on_dead_loop,
        )
        self._open.by_call[call] = TaskRecord(ticket)
        return ticket

    def wait(self, ticket: Ticket, until_ns: int) -> Iterable[Any]:
        """Wait until somebody wakes the ticket, at most until `until_ns`."""
        assert isinstance(ticket, AsyncTicket), "a task waits for a ticket of its own"
        return ticket.wait(remaining_s(until_ns))

    def own(self, record: Open) -> None:
        """Make the current task the owner of this lease's record."""
        assert isinstance(record.ticket, AsyncTicket), "a task's lease has a task's ticket"
        record.thread = record.ticket

    def read(self, transport: Transport, deadline_ns: int) -> Iterable[Any]:
        """Wait until the worker has sent something, and take it in. Raises CallTimeout and WorkerCrashed."""
        if transport.receiver.torn and now_ns() > deadline_ns:
            raise transport.unanswered(Sent.YES)  # bytes that never stop coming must not stretch the deadline (G11)
        loop, fd = asyncio.get_running_loop(), transport.answer_fd
        readable: asyncio.Future[None] = loop.create_future()
        loop.add_reader(fd, _settle, readable)
        try:
            yield from readable
        finally:
            if not loop.is_closed():
                loop.remove_reader(fd)
        gap = transport.take_in()
        if gap:
            raise (yield from crashed(self, transport, gap))

    def write(self, transport: Transport, left: memoryview, sent: Sent, deadline_ns: int) -> Iterable[Any]:
        """Write all of these bytes, whenever the pipe has room again. Raises CallTimeout and WorkerCrashed."""
        loop, fd, exit_fd = asyncio.get_running_loop(), transport.request_fd, transport.exit_fd
        while left:
            room: asyncio.Future[None] = loop.create_future()
            # The supervisor ends a late worker, which ends this, too, unless a stranger holds the other end of the
            # pipe: hence the clock and the worker's end.
            timer = loop.call_later(remaining_s(deadline_ns), _settle, room)
            loop.add_writer(fd, _settle, room)
            loop.add_reader(exit_fd, _settle, room)
            try:
                yield from room
            finally:
                timer.cancel()
                if not loop.is_closed():
                    loop.remove_writer(fd)
                    loop.remove_reader(exit_fd)
            try:
                written = os.write(fd, left)
            except BlockingIOError:
                written = 0
            except OSError as error:  # EPIPE: the worker has closed its end
                raise (yield from crashed(self, transport, "does not read its requests", sent)) from error
            if written:
                sent = Sent.MAYBE  # some bytes have left, but a request that is not whole is never executed
                left = left[written:]
            elif transport.exited():
                raise (yield from crashed(self, transport, "died before it had read its request", sent))
            elif now_ns() > deadline_ns:
                raise transport.unanswered(sent)

    def await_last_words(self, transport: Transport) -> Iterable[Any]:
        """Wait for a moment until the stderr of a worker that was killed has ended."""
        deadline = now_ns() + int(TAIL_WAIT_S * 1e9)
        while not transport.await_last_words(0.0) and now_ns() < deadline:
            yield from asyncio.sleep(TAIL_LOOK_S).__await__()


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
