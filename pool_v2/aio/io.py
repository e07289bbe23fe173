"""How an asyncio task waits, on its own loop, for a worker and for a worker's pipes. A call uses no thread.

When a task ends early
1. If the task is cancelled while it waits, it leaves the queue at once. If it is cancelled between the grant and its
   wake-up, the worker goes to the next ticket in the queue. If it is cancelled during its exchange, the worker is
   killed and replaced; with `keep_on_cancel`, the supervisor reads the responses instead, and the worker is kept.
   CancelledError is passed on unchanged.
2. If the task's loop is closed while the task waits, the thread that grants it a worker finds the loop closed, and the
   supervisor takes the worker back. If the task already holds a worker, the housekeeper finds that worker.
3. If the task's coroutine is finalized (GeneratorExit), this may happen in the garbage collector, in any thread and
   under any lock. So the remaining work is appended to a deque, and the supervisor does it.

Nothing here blocks the loop. The read end of a worker's stdout is in blocking mode, because a thread may use it next.
So a task reads only after the loop has reported data, only once, and `read` returns at most the available bytes. The
loop watches the pipe only while the task waits. Data that the task does not ask for stays in the pipe, which makes the
worker wait.
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
from poolproof.bridge.processes.blocking import TAIL_WAIT_S
from poolproof.bridge.wire.exchange import Steps, T, crashed
from poolproof.bridge.wire.transport import ReplyEnd, Transport
from poolproof.pool_v2.calls.lease import Client, Open, OpenLeases
from poolproof.pool_v2.core.sessions import Session
from poolproof.pool_v2.core.ticket import Ticket, TicketState

TAIL_LOOK_S = 0.002


@types.coroutine
def follow(steps: Steps[T]) -> Generator[Any, Any, T]:
    """Await each wait of `steps`, one after another. Returns the result of `steps`."""
    return (yield from steps)


class AsyncTicket(Ticket, kw_only=True):
    """A ticket whose waiter is a future of the running loop. The pool also uses it to check whether the task is alive.

    If the loop was closed, the thread that grants a worker calls `on_dead_loop` with the ticket.
    """

    loop: asyncio.AbstractEventLoop
    on_dead_loop: Callable[[Ticket], None]
    keep_on_cancel: bool = False
    future: asyncio.Future[None] | None = None

    def outlives(self, error: BaseException) -> bool:
        """Return whether the pool shall wait for the response of a call that `error` has ended, and keep the worker."""
        return self.keep_on_cancel and isinstance(error, asyncio.CancelledError)

    def arm(self) -> None:
        """Prepare the ticket: the client's next wait lasts until `wake`."""
        Ticket.arm(self)
        self.future = self.loop.create_future()

    def wake(self) -> None:
        """Let the waiting task continue. May be called from any thread. A second call has no effect."""
        future = self.future
        if future is None or future.done():
            return
        if events._get_running_loop() is self.loop:
            self._go_on()
            return
        try:
            self.loop.call_soon_threadsafe(self._go_on)
        except RuntimeError:  # the loop was closed: the task will never take the worker
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
        """Return whether the task may still continue.

        False if the loop is closed, or if an offer is past its deadline and the loop does not run.
        """
        if self.loop.is_closed():
            return False
        overslept = self.state is TicketState.OFFERED and self.deadline_ns <= now_ns()
        return not overslept or self.loop.is_running()

    def _go_on(self) -> None:
        if self.future is not None and not self.future.done():
            self.future.set_result(None)


class TaskRecord:
    """The pool's record of a task that waits for a worker or holds one."""

    __slots__ = ("opened", "thread", "ticket")

    def __init__(self, ticket: AsyncTicket) -> None:
        self.ticket: Ticket = ticket
        self.thread: Client = ticket
        self.opened: tuple[str, ...] = ("await pool.execute(...)",)


class TaskIo:
    """How tasks wait. One instance serves all tasks of a pool, on any number of loops."""

    may_sleep = False

    def __init__(
        self, opened: OpenLeases, on_dead_loop: Callable[[Ticket], None], *, keep_on_cancel: bool = False
    ) -> None:
        """With `keep_on_cancel`, a cancelled call does not end its worker."""
        self._keep_on_cancel = keep_on_cancel
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
        """Create a ticket for the current task. The pool keeps a record of the task until the task owns nothing.

        No other thread writes a task's request: tasks are often cancelled, and a task that is cancelled before it
        continues must not cost a worker.
        """
        ticket = AsyncTicket(
            call,
            session,
            deadline_ns,
            until_ns,
            thread_id,
            loop=asyncio.get_running_loop(),
            on_dead_loop=self._on_dead_loop,
            keep_on_cancel=self._keep_on_cancel,
        )
        self._open.by_call[call] = TaskRecord(ticket)
        return ticket

    def wait(self, ticket: Ticket, until_ns: int) -> Iterable[Any]:
        """Wait until the ticket is woken, at most until `until_ns`."""
        assert isinstance(ticket, AsyncTicket), "a task waits for a ticket of its own"
        return ticket.wait(remaining_s(until_ns))

    def own(self, record: Open) -> None:
        """Make the current task the owner of this lease record."""
        assert isinstance(record.ticket, AsyncTicket), "a task's lease has a task's ticket"
        record.thread = record.ticket

    def read(self, transport: Transport, deadline_ns: int) -> Iterable[Any]:
        """Wait until the worker has sent bytes, and receive them. Raises CallTimeout or WorkerCrashed."""
        if transport.receiver.torn and now_ns() > deadline_ns:
            raise transport.unanswered(Sent.YES)  # a worker that never stops sending must not extend the deadline (G11)
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
            raise (yield from crashed(self, transport, gap, gone=True))

    def write(self, transport: Transport, left: memoryview, sent: Sent, deadline_ns: int) -> Iterable[Any]:
        """Write all bytes of `left`, waiting for room in the pipe as needed. Raises CallTimeout or WorkerCrashed."""
        loop, fd, exit_fd = asyncio.get_running_loop(), transport.request_fd, transport.exit_fd
        while left:
            room: asyncio.Future[None] = loop.create_future()
            # The supervisor kills a late worker, and that normally ends this wait. But if an unrelated process holds
            # the other end of the pipe, it does not. So this loop also watches the clock and the worker's exit.
            timer = loop.call_later(remaining_s(deadline_ns), _settle, room)
            loop.add_writer(fd, _settle, room)
            loop.add_reader(exit_fd, _settle, room)
            try:
                yield from room
            except asyncio.CancelledError:
                transport.kill()  # nobody will write the rest of the request
                raise
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
                raise (yield from crashed(self, transport, "does not read its requests", sent, gone=True)) from error
            if written:
                sent = Sent.MAYBE  # some bytes were written, but a worker never executes an incomplete request
                left = left[written:]
            elif transport.exited():
                raise (yield from crashed(self, transport, "died before it had read its request", sent, gone=True))
            elif now_ns() > deadline_ns:
                raise transport.unanswered(sent)

    def await_end(self, transport: Transport) -> Iterable[Any]:
        """Wait briefly until a worker that seems to be gone has ended and is reaped."""
        return self._await(transport.await_end)

    def await_last_words(self, transport: Transport) -> Iterable[Any]:
        """Wait briefly until the stderr of a killed worker has ended."""
        return self._await(transport.await_last_words)

    def _await(self, over: Callable[[float], bool]) -> Iterable[Any]:
        deadline = now_ns() + int(TAIL_WAIT_S * 1e9)
        while not over(0.0) and now_ns() < deadline:
            yield from asyncio.sleep(TAIL_LOOK_S).__await__()


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
