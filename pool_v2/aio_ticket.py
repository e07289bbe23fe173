"""A task's place in the queue: woken on its own loop, by whatever thread has a worker for it.

Decides nothing about workers. A loop may be closed, or stand still, while its tasks wait: the ticket tells.
"""

from __future__ import annotations

import asyncio
from asyncio import events
from collections.abc import Callable

from bridge.clock import now_ns
from pool_v2.lease import Client
from pool_v2.ticket import Ticket, TicketState


class AsyncTicket(Ticket, kw_only=True):
    """A ticket whose waiter is a future of the running loop. It also stands for the task where the pool asks who lives.

    `on_dead_loop` is called with the ticket, by the thread that has a worker for it, if its loop was closed.
    """

    loop: asyncio.AbstractEventLoop
    on_dead_loop: Callable[[Ticket], None]
    future: asyncio.Future[None] | None = None

    def arm(self) -> None:
        """Make `wait_on_loop` wait; before the ticket is put in the queue."""
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

    async def wait_on_loop(self, timeout_s: float) -> None:
        """Wait for `wake` at most `timeout_s` seconds."""
        assert self.future is not None, "only an armed ticket waits"
        timer = self.loop.call_later(timeout_s, self._go_on)
        try:
            await self.future
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
