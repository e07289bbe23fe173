"""How simulated clients wait: like threads or like tasks; each wait ends by a step of the scheduler."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Iterable
from typing import Any, cast

from poolproof.bridge.errors import Sent
from poolproof.bridge.wire.transport import ReplyEnd, Transport
from poolproof.harness.simulation.state import State
from poolproof.harness.simulation.transport import SimPipe, SimTransport
from poolproof.pool_v2.calls.io import WATCHED_NS
from poolproof.pool_v2.calls.lease import Client, Open
from poolproof.pool_v2.core.sessions import Session
from poolproof.pool_v2.core.ticket import Ticket


class SimTicket(Ticket, kw_only=True):
    """A ticket (a place in the pool's queue) of a simulated client."""

    client: Any
    woken: bool = False

    def arm(self) -> None:
        """Prepare the ticket: the client's next wait lasts until `wake`. Called before the ticket enters the queue."""
        self.client.world.note("queue", self.call)
        if self.request is not None:
            self.written = []
            self.claim = [self.request]

    def outlives(self, error: BaseException) -> bool:
        """See Ticket."""
        keeps = self.client.world.plan.traits["keep_on_cancel"] and not self.client.may_sleep
        return bool(keeps) and isinstance(error, CancelledError)

    def wake(self) -> None:
        """Let the waiting client continue. May be called from any thread. A second call has no effect."""
        if self.reply_pipe is not None:
            self.reply_pipe.poke()
        else:
            self.woken = True
            self.client.wake_up()


PAUSE = (None,)
"""The value that a wait yields, so that the scheduler continues with another step."""


class SimIo:
    """How one simulated client waits: as a thread does, or as a task. Each wait yields once; `wake_up` ends it.

    `stage` says what the client is waiting for.
    """

    def __init__(self, world: State, *, task: bool = False) -> None:
        self.world = world
        self.may_sleep = not task
        self.stage = ""
        self.asleep = False
        self._moment = 0
        self.alive = True

    # Waits.

    def pause(self, stage: str, until_ns: int | None = None) -> Iterable[Any]:
        """Wait for `wake_up`, at most until this time."""
        self.stage, self.asleep = stage, True
        self._moment += 1
        if until_ns is not None:
            self.world.scheduler.at(max(until_ns, self.world.now_ns()), self._time_up, self._moment)
        return PAUSE

    def _time_up(self, moment: int) -> None:
        if moment == self._moment and self.asleep:
            self.wake_up()

    def wake_up(self) -> None:
        """End the wait."""
        if self.asleep:
            self.asleep = False
            self.world.scheduler.soon(self.go_on, self._moment)

    def go_on(self, moment: int) -> None:
        """Continue after a wait."""

    # poolproof.pool_v2.calls.io.ClientIo.

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
        """Create a ticket of the current client, whose wait ends at `until_ns`."""
        self.on_ticket(call, session)
        ahead = request if self.may_sleep else None
        ticket = SimTicket(call, session, deadline_ns, until_ns, 0, ahead, reply_pipe, client=self)
        if reply_pipe is not None:
            assert isinstance(reply_pipe, SimPipe)
            reply_pipe.client = self
        if not self.may_sleep:
            self.world.engine.open.by_call[call] = TaskRecord(ticket, self)
        return ticket

    def on_ticket(self, call: int, session: Session | None) -> None:
        """Record that the pool has made this ticket for the client's call."""

    def wait(self, ticket: Ticket, until_ns: int) -> Iterable[Any]:
        """Wait until the ticket is woken, at most until `until_ns`. May return early."""
        assert isinstance(ticket, SimTicket)
        watched = self.may_sleep and until_ns - ticket.queued_ns > WATCHED_NS  # the supervisor ends this wait
        pipe = ticket.reply_pipe
        if pipe is not None:
            return self._wait_at(ticket, cast(SimPipe, pipe), None if watched else until_ns)
        if ticket.woken:
            ticket.woken = False
            return ()
        return self._wait_for(ticket, None if watched else until_ns)

    def _wait_for(self, ticket: SimTicket, until_ns: int | None) -> Iterable[Any]:
        yield from self.pause("waiting", until_ns)
        ticket.woken = False

    def _wait_at(self, ticket: SimTicket, pipe: SimPipe, until_ns: int | None) -> Iterable[Any]:
        if not pipe.data:
            yield from self.pause("waiting", until_ns)
        ticket.reply = pipe.read()

    def own(self, record: Open) -> None:
        """Make the current client the owner of this lease record."""
        record.thread = self

    def is_alive(self) -> bool:
        """Whether the client can still return the worker that it holds."""
        return self.alive

    def read(self, transport: Transport, deadline_ns: int) -> Iterable[Any]:
        """Wait until the worker has sent bytes, and receive them. Raises CallTimeout or WorkerCrashed."""
        assert isinstance(transport, SimTransport)
        if transport.receiver.torn and self.world.now_ns() > deadline_ns:
            raise transport.unanswered(Sent.YES)
        pipe = cast("SimPipe | None", transport.reply_pipe)
        while not (pipe.data or transport.abandoned if pipe is not None else transport.readable()):
            if not transport.watched and self.world.now_ns() >= deadline_ns:
                raise transport.unanswered(Sent.YES)
            assert transport.reader is None, "two clients read from one worker"
            transport.reader = self
            try:
                yield from self.pause("reading", None if transport.watched else deadline_ns)
            finally:
                transport.reader = None
        gap = transport.take_in()
        if gap:
            raise transport.crashed(gap)

    def write(self, transport: Transport, left: memoryview, sent: Sent, deadline_ns: int) -> Iterable[Any]:
        """Write all bytes of `left`; `sent` says what was sent before. Raises CallTimeout or WorkerCrashed."""
        assert isinstance(transport, SimTransport)
        transport.dirty = True
        while left:
            if not transport.can_write():
                if self.world.now_ns() >= deadline_ns:
                    raise transport.unanswered(sent)
                transport.writer = self
                try:
                    yield from self.pause("writing", deadline_ns)
                except CancelledError:
                    transport.kill()  # nobody will write the rest of the request
                    raise
                finally:
                    transport.writer = None
                continue
            try:
                written = transport.put(cast(bytearray, left))
            except BrokenPipeError as error:
                raise transport.crashed("does not read its requests", sent=sent) from error
            sent = Sent.MAYBE
            left = left[written:]

    def await_end(self, transport: Transport) -> Iterable[Any]:
        """Wait briefly until a worker that seems to be gone has ended and is reaped."""
        return ()

    def await_last_words(self, transport: Transport) -> Iterable[Any]:
        """Wait briefly until the stderr of a killed worker has ended."""
        return ()


class TaskRecord:
    """The pool's record of a simulated task."""

    opened: tuple[str, ...]
    thread: Client
    ticket: Ticket

    def __init__(self, ticket: Ticket, client: SimIo) -> None:
        self.ticket = ticket
        self.thread = client
        self.opened = ("a simulation",)


class BlockingIo(SimIo):
    """How the pool's own jobs wait: each wait makes other steps until it is over."""

    def pause(self, stage: str, until_ns: int | None = None) -> Iterable[Any]:
        """Wait for `wake_up`, at most until this time."""
        self.asleep = True
        self.world.block(lambda: not self.asleep, 2**62 if until_ns is None else until_ns)
        self.asleep = False
        return ()

    def wake_up(self) -> None:
        """End the wait."""
        self.asleep = False

    def on_ticket(self, call: int, session: Session | None) -> None:
        """Record that the pool has made this ticket for the client's call."""
        self.world.note("own", call, "" if session is None else session.session_id)
