"""A request that waits may be written by the thread that hands its worker over: once, by one of the two."""

from __future__ import annotations

import fcntl
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from poolproof.bridge import EventKind
from poolproof.bridge.clock import now_ns
from poolproof.pool_v2.calls import handoff
from poolproof.pool_v2.calls.handoff import hand_over, note_ahead, take_back
from poolproof.pool_v2.core.ticket import Ticket
from poolproof.pool_v2.core.worker_table import Worker

HARD_LIMIT_S = 15.0
REQUEST = b"request"
PIPE_BYTES = 4096


class Pipe:
    """A worker's stdin; `taken` is what has been written to it."""

    def __init__(self) -> None:
        self.read_fd, self.request_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.put = partial(os.write, self.request_fd)
        fcntl.fcntl(self.request_fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self.pid = 99
        self.killed = 0
        self.closed = False

    def kill(self) -> None:
        """End the worker."""
        self.killed += 1

    def taken(self) -> bytes:
        """What has been written to it so far."""
        found = b""
        while not self.closed:
            try:
                found += os.read(self.read_fd, PIPE_BYTES)
            except BlockingIOError:
                break
        return found

    def fill(self) -> None:
        """Leave no room."""
        os.write(self.request_fd, b"x" * PIPE_BYTES)

    def hang_up(self) -> None:
        """Close the worker's end."""
        os.close(self.read_fd)
        self.closed = True

    def close(self) -> None:
        """Both ends."""
        if not self.closed:
            os.close(self.read_fd)
        os.close(self.request_fd)


class WokenTicket(Ticket, kw_only=True):
    """Counts how often it was woken."""

    woken: int = 0

    def wake(self) -> None:
        """Count."""
        self.woken += 1


class Notes:
    """Keeps the kinds and times of what is noted."""

    now_ns = staticmethod(now_ns)

    def __init__(self) -> None:
        self.kinds: list[EventKind] = []
        self.times: list[int] = []

    def append(self, note: tuple[Any, ...]) -> None:
        """Keep its kind and time."""
        self.kinds.append(note[0])
        self.times.append(note[1])


Offer = Callable[..., tuple[WokenTicket, Pipe]]


@pytest.fixture
def offered() -> Iterator[Offer]:
    """A ticket that was offered a worker, and the worker's stdin."""
    pipes: list[Pipe] = []

    def make(request: bytes = REQUEST) -> tuple[WokenTicket, Pipe]:
        pipes.append(pipe := Pipe())
        worker: Any = Worker(1)
        worker.transport, worker.reachable = pipe, True
        ticket = WokenTicket(1, request=bytearray(request), worker=worker)
        ticket.arm()
        return ticket, pipe

    yield make
    for pipe in pipes:
        pipe.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for a writer waits for a moment only."""
    monkeypatch.setattr(handoff, "LONGEST_WRITING_S", 0.003)


@pytest.fixture
def slow_writes(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """A write has begun, and may go on: as if the machine were busy in between."""
    begun, go_on = threading.Event(), threading.Event()

    def write(put: Callable[[bytearray], int], data: bytearray) -> int:
        begun.set()
        assert go_on.wait(HARD_LIMIT_S)
        return put(data)

    monkeypatch.setattr(handoff, "call", write)
    return begun, go_on


# Who writes.


def test_a_request_that_was_written_for_its_client_is_not_written_by_it(offered: Offer) -> None:
    ticket, pipe = offered()
    hand_over(ticket, None)
    hand_over(ticket, None)

    assert pipe.taken() == REQUEST, "once"
    assert (take_back(ticket), take_back(ticket)) == (len(REQUEST), len(REQUEST))
    assert (ticket.woken, pipe.killed) == (2, 0), "a second wake does no harm"


def test_a_request_that_its_client_took_back_is_written_by_nobody_else(offered: Offer) -> None:
    ticket, pipe = offered()
    assert take_back(ticket) == 0
    hand_over(ticket, None)

    assert pipe.taken() == b""
    assert (take_back(ticket), ticket.woken, pipe.killed) == (0, 1, 0)


def test_a_part_of_a_request_leaves_the_rest_to_its_client(offered: Offer) -> None:
    ticket, pipe = offered(b"r" * (PIPE_BYTES + 1000))
    hand_over(ticket, None)

    assert take_back(ticket) == len(pipe.taken()) == PIPE_BYTES
    assert ticket.woken == 1


@pytest.mark.parametrize("spoil", [Pipe.fill, Pipe.hang_up])
def test_a_pipe_that_takes_nothing_leaves_the_request_to_its_client(
    offered: Offer, spoil: Callable[[Pipe], None]
) -> None:
    ticket, pipe = offered()
    spoil(pipe)
    hand_over(ticket, None)

    assert (take_back(ticket), ticket.woken, pipe.killed) == (0, 1, 0)
    assert REQUEST not in pipe.taken()


@pytest.mark.parametrize("lacking", ["claim", "wait", "worker", "way"])
def test_a_ticket_without_a_claim_or_a_worker_is_only_woken(offered: Offer, lacking: str) -> None:
    ticket, pipe = offered()
    if lacking == "claim":
        ticket.claim = None
    elif lacking == "wait":  # it was given an idle worker at once
        ticket.claim = ticket.written = None
    elif lacking == "worker":
        ticket.worker = None
    else:
        assert ticket.worker is not None
        ticket.worker.reachable = False
    hand_over(ticket, None)

    assert (take_back(ticket), ticket.woken, pipe.killed, pipe.taken()) == (0, 1, 0, b"")


def test_a_client_that_takes_back_what_is_just_being_written_waits_for_it(
    offered: Offer, slow_writes: tuple[threading.Event, threading.Event], client: Any
) -> None:
    begun, go_on = slow_writes
    ticket, pipe = offered()
    writer = client(hand_over, ticket, None)
    assert begun.wait(HARD_LIMIT_S)
    taker = client(take_back, ticket)
    assert taker.thread.is_alive()
    go_on.set()
    writer.result()

    assert (taker.result(), pipe.killed) == (len(REQUEST), 0)


@pytest.mark.usefixtures("impatient")
def test_a_writer_that_was_broken_off_costs_the_worker_and_the_request_counts_as_written(offered: Offer) -> None:
    ticket, pipe = offered()
    assert ticket.claim is not None
    ticket.claim.pop()

    assert take_back(ticket) != 0
    assert pipe.killed == 1
    assert take_back(ticket) != 0
    assert pipe.killed == 1, "and nobody waits for it again"


def test_of_two_threads_one_writes_and_both_know_who(offered: Offer, client: Any) -> None:
    for _ in range(100):
        ticket, pipe = offered()
        start = threading.Barrier(2)

        def race(
            work: Callable[..., Any], *args: Any, start: threading.Barrier = start, ticket: Ticket = ticket
        ) -> Any:
            start.wait(HARD_LIMIT_S)
            return work(ticket, *args)

        writer, taker = client(race, hand_over, None), client(race, take_back)
        writer.result()
        assert taker.result() == len(pipe.taken()) == take_back(ticket)
        assert pipe.killed == 0


# What is noted.


@pytest.mark.parametrize(
    ("request_bytes", "kinds"),
    [(7, [EventKind.ACCEPT, EventKind.SEND]), (PIPE_BYTES + 1, [EventKind.ACCEPT])],
)
def test_the_client_notes_once_what_another_thread_has_written_and_that_it_was_sent_if_it_was_sent_whole(
    offered: Offer, request_bytes: int, kinds: list[EventKind]
) -> None:
    ticket, _ = offered(b"r" * request_bytes)
    notes: Any = Notes()
    hand_over(ticket, notes)
    assert notes.kinds == [EventKind.OFFER], "the thread that writes may be paused while the call ends"
    for _ in range(2):
        note_ahead(ticket, notes, take_back(ticket))

    assert notes.kinds == [EventKind.OFFER, *kinds]
    assert notes.times == sorted(notes.times)


def test_nothing_is_noted_without_an_observer(offered: Offer) -> None:
    ticket, _ = offered()
    hand_over(ticket, None)
    note_ahead(ticket, None, take_back(ticket))

    assert ticket.ahead_ns == 0


@pytest.mark.parametrize("taken_by", ["client", "nobody"])
def test_what_its_client_writes_it_notes_itself(offered: Offer, taken_by: str) -> None:
    ticket, pipe = offered()
    if taken_by == "client":
        take_back(ticket)
    else:
        pipe.fill()
    notes: Any = Notes()
    hand_over(ticket, notes)

    assert notes.kinds == [EventKind.OFFER]


# Interrupts, anywhere.


@pytest.fixture
def interrupted_before(interrupted_after: Callable[..., bool]) -> Callable[[int, Callable[[], object]], bool]:
    """Do some work; a KeyboardInterrupt comes before the n-th instruction of the hand-off's. Gives whether it came.

    The interpreter looks for interrupts after some instructions only; the rules hold at all of them.
    """
    return lambda step, work: interrupted_after(step, work, {handoff.__file__}, everywhere=True)


@pytest.mark.parametrize("observed", [False, True])
@pytest.mark.parametrize("size", [7, PIPE_BYTES + 1000])
def test_wherever_the_writer_is_broken_off_its_client_knows_what_was_written(
    offered: Offer, interrupted_before: Any, size: int, observed: bool
) -> None:
    notes: Any = Notes() if observed else None
    found: set[int] = set()
    for step in itertools.count():
        ticket, pipe = offered(b"r" * size)
        more = interrupted_before(step, lambda ticket=ticket: hand_over(ticket, notes))
        found.add(take_back(ticket))
        assert take_back(ticket) == len(pipe.taken()), f"at step {step}"
        assert pipe.killed == 0, f"at step {step} nobody had to guess"
        if not more:
            break
    assert found == {0, min(size, PIPE_BYTES)}
    assert step > 20, "there were instructions to interrupt"


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("spoil", [Pipe.fill, Pipe.hang_up])
def test_wherever_the_writer_is_broken_off_at_a_pipe_that_takes_nothing_nothing_is_sent_to_a_worker_that_lives(
    offered: Offer, interrupted_before: Any, spoil: Callable[[Pipe], None]
) -> None:
    for step in itertools.count():
        ticket, pipe = offered()
        spoil(pipe)
        more = interrupted_before(step, lambda ticket=ticket: hand_over(ticket, None))
        assert (take_back(ticket) != 0) == (pipe.killed == 1), f"at step {step}"
        assert REQUEST not in pipe.taken()
        if not more:
            break
    assert (take_back(ticket), pipe.killed) == (0, 0), "without an interrupt it costs nothing"
    assert step > 20


@pytest.mark.parametrize("writes_first", [False, True])
def test_wherever_a_client_is_broken_off_as_it_takes_its_request_back_it_still_knows(
    offered: Offer, interrupted_before: Any, writes_first: bool
) -> None:
    for step in itertools.count():
        ticket, pipe = offered()
        if writes_first:
            hand_over(ticket, None)
        more = interrupted_before(step, lambda ticket=ticket: take_back(ticket))
        hand_over(ticket, None)
        assert take_back(ticket) == len(pipe.taken()), f"at step {step}"
        assert pipe.killed == 0
        if not more:
            break
    assert step > 10


def test_wherever_a_client_is_broken_off_as_it_waits_for_its_writer_it_still_knows(
    offered: Offer,
    interrupted_before: Any,
    slow_writes: tuple[threading.Event, threading.Event],
    client: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, go_on = slow_writes
    writer: Any
    monkeypatch.setattr(handoff, "time", SimpleNamespace(sleep=lambda _: (go_on.set(), writer.join())))
    for step in itertools.count():
        begun.clear()
        go_on.clear()
        ticket, pipe = offered()
        writer = client(hand_over, ticket, None)
        assert begun.wait(HARD_LIMIT_S)
        more = interrupted_before(step, lambda ticket=ticket: take_back(ticket))
        go_on.set()
        writer.result()
        assert take_back(ticket) == len(pipe.taken()) == len(REQUEST), f"at step {step}"
        if not more:
            break
    assert step > 10
