"""A request that waits may be written by the client that hands its worker over: once, by one of the two, and whole."""

from __future__ import annotations

import itertools
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

from bridge import CheckoutTimeout, PoolError, Sent, WorkerCrashed
from bridge.channel import Channel
from bridge.journal import JOURNAL_VARIABLE, read_journals
from pool_v2 import PoolV2
from pool_v2 import ticket as ticket_module
from pool_v2.roster import Worker
from pool_v2.ticket import BROKEN_OFF, UNTOLD, Gate, Ticket, TicketState

HARD_LIMIT_S = 15.0
LARGER_THAN_A_PIPE = "x" * 3_000_000
Write = Callable[[Channel, Any], int]


class Door:
    """Remembers what is written ahead to a worker; the write lasts until it is let go."""

    def __init__(self, *, takes: int = 1000, error: Exception | None = None) -> None:
        self.written: list[bytes] = []
        self.killed = False
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self._takes = takes
        self._error = error

    def write_ahead(self, left: bytearray) -> int:
        """Take a part of it."""
        self.begun.set()
        assert self.go_on.wait(HARD_LIMIT_S)
        if self._error is not None:
            raise self._error
        self.written.append(bytes(left))
        return min(self._takes, len(left))

    def kill(self) -> None:
        """End the worker."""
        self.killed = True


class ToldGate(Gate):
    """Remembers how it was opened."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []

    def open(self) -> None:
        """Now."""
        self.opened.append("now")
        super().open()

    def was_written(self) -> None:
        """When the worker answers."""
        self.opened.append("at the answer")
        super().open()


def offered(door: Door) -> Any:
    ticket = Ticket(1, claim=[bytearray(b"request")], gate=ToldGate())
    ticket.worker = Worker(1)
    ticket.worker.transport = door
    return ticket


@pytest.mark.parametrize(("takes", "ahead"), [(1000, 7), (3, 3), (0, 0)])
def test_what_was_written_ahead_is_told_to_its_client(takes: int, ahead: int) -> None:
    door = Door(takes=takes)
    door.go_on.set()
    ticket = offered(door)
    ticket.hand_over()

    assert ticket.gate.opened == (["at the answer"] if ahead == 7 else ["now"]), "if nothing is left to be written"
    ticket.hand_over()
    assert (ticket.take_back(), ticket.take_back(), door.written) == (ahead, ahead, [b"request"])
    assert (ticket.state is TicketState.ACCEPTED) == (ahead == 7), "else its client accepts it"


def test_a_request_that_its_client_took_back_is_written_by_nobody_else() -> None:
    door = Door()
    ticket = offered(door)

    assert ticket.take_back() == 0
    ticket.hand_over()
    assert (ticket.take_back(), door.written, ticket.gate.opened) == (0, [], ["now"])


def test_a_client_that_takes_back_what_is_just_being_written_waits_for_it(client: Any) -> None:
    door = Door()
    ticket = offered(door)

    writer = client(ticket.hand_over)
    assert door.begun.wait(HARD_LIMIT_S)
    taker = client(ticket.take_back)
    assert taker.thread.is_alive()
    door.go_on.set()
    writer.result()
    assert taker.result() == 7


def test_a_write_that_breaks_off_counts_as_written_and_its_client_ends_the_worker() -> None:
    door = Door(error=MemoryError())
    door.go_on.set()
    ticket = offered(door)

    with pytest.raises(MemoryError):
        ticket.hand_over()
    assert (door.killed, ticket.gate.opened) == (False, ["now"]), "the worker may be another's by now"
    assert (ticket.take_back(), door.killed) == (BROKEN_OFF, True)


def test_a_client_that_has_its_answer_does_not_wait_for_the_one_that_wrote(client: Any) -> None:
    door = Door()
    ticket = offered(door)

    writer = client(ticket.hand_over)
    assert door.begun.wait(HARD_LIMIT_S)
    ticket.gate.answer = b"the answer"
    assert ticket.take_back() < 0
    door.go_on.set()
    writer.result()


def test_wherever_the_writer_is_broken_off_its_client_goes_on_and_nothing_is_sent_twice(interrupted_after: Any) -> None:
    # Not by a signal, as the main thread takes no part; but any thread can raise something in any other.
    for step in itertools.count():
        door = Door()
        door.go_on.set()
        ticket = offered(door)
        if not interrupted_after(step, ticket.hand_over, {ticket_module.__file__}):
            break
        assert ticket.claim or ticket.ahead != UNTOLD, f"at step {step} its client would wait for ever"
        assert len(door.written) <= (ticket.take_back() != 0), f"at step {step} it is sent twice"
    assert step >= 5


def test_a_client_that_was_broken_off_when_it_took_its_request_back_does_not_wait_for_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ticket_module, "LONGEST_WRITING_S", 0.05)
    door = Door()
    ticket = offered(door)
    ticket.claim.pop()

    assert (ticket.take_back(), door.killed) == (BROKEN_OFF, True)


def test_a_ticket_without_a_claim_or_a_worker_is_left_alone() -> None:
    plain, lost = Ticket(1), offered(Door())
    lost.worker = None
    for ticket in (plain, lost):
        ticket.hand_over()
        assert ticket.take_back() == 0


# With a pool of one worker, which is stopped while somebody has it and others come.


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> Callable[[Write], list[int]]:
    """Put a function in the place of Channel.write_ahead; the list says in which threads it was called."""

    def replace(write: Write) -> list[int]:
        threads: list[int] = []

        def told(channel: Channel, left: Any) -> int:
            threads.append(threading.get_ident())
            return write(channel, left)

        monkeypatch.setattr(Channel, "write_ahead", told)
        return threads

    return replace


@pytest.fixture
def busy(make_pool: Any, pid_of: Any, client: Any, until: Any, tmp_path: Any) -> Callable[..., tuple[PoolV2, int, Any]]:
    """A pool whose one worker is stopped in the midst of the call of a thread; its pid, and that client."""

    def make(*, by_main: bool = False) -> tuple[PoolV2, int, Any]:
        pool = make_pool(env={JOURNAL_VARIABLE: str(tmp_path)})
        pid = pid_of(pool)
        os.kill(pid, signal.SIGSTOP)
        holder = None
        if not by_main:
            holder = client(pool.execute, "echo", {"value": "first"})
            until(lambda: [worker.state for worker in pool.status().workers] == ["leased"], "the worker is taken")
        return pool, pid, holder

    return make


def in_line(pool: PoolV2, client: Any, until: Any, *args: Any, **options: Any) -> Any:
    before = pool.status().waiting
    made = client(pool.execute, *args, **options)
    waiting = pool._engine.coordinator._queue
    until(
        lambda: len(waiting) > before and all(each.claim for each in waiting.copy().values()),
        "it waits, and may be sent",
    )
    return made


def test_the_client_that_leaves_writes_the_next_request(busy: Any, writes: Any, client: Any, until: Any) -> None:
    threads = writes(Channel.write_ahead)
    pool, pid, holder = busy()
    second = in_line(pool, client, until, "echo", {"value": "second"})
    third = in_line(pool, client, until, "echo", {"value": "third"})
    os.kill(pid, signal.SIGCONT)

    assert [each.result() for each in (holder, second, third)] == ["first", "second", "third"]
    assert threads == [holder.thread.ident, second.thread.ident]
    assert pool.status().statistics.outcomes == {"result": 3}


def test_one_that_is_larger_than_the_pipe_is_ended_by_its_own_client(
    busy: Any, writes: Any, client: Any, until: Any
) -> None:
    threads = writes(Channel.write_ahead)
    pool, pid, holder = busy()
    second = in_line(pool, client, until, "echo", {"value": LARGER_THAN_A_PIPE})
    os.kill(pid, signal.SIGCONT)

    assert holder.result() == "first"
    assert second.result() == LARGER_THAN_A_PIPE
    assert len(threads) == 1


def test_the_main_thread_can_be_interrupted_and_so_writes_for_nobody(
    busy: Any, writes: Any, client: Any, until: Any
) -> None:
    threads = writes(Channel.write_ahead)
    pool, pid, _ = busy(by_main=True)
    waiters: list[Any] = []

    def come_later() -> None:
        until(lambda: [worker.state for worker in pool.status().workers] == ["leased"], "the worker is taken")
        waiters.append(in_line(pool, client, until, "echo", {"value": "second"}))
        os.kill(pid, signal.SIGCONT)

    helper = client(come_later)
    assert pool.execute("echo", {"value": "first"}) == "first"
    helper.result()
    assert waiters[0].result() == "second"
    assert threads == []


def test_nobody_writes_for_the_main_thread(busy: Any, writes: Any, client: Any, until: Any) -> None:
    threads = writes(Channel.write_ahead)
    pool, pid, holder = busy()

    def go_on() -> None:
        until(lambda: pool.status().waiting, "the main thread waits")
        os.kill(pid, signal.SIGCONT)

    helper = client(go_on)
    assert pool.execute("echo", {"value": "main"}) == "main"
    helper.result()
    holder.result()
    assert threads == []


def test_one_whose_patience_ends_while_it_is_written_is_served(
    busy: Any, writes: Any, client: Any, until: Any, tmp_path: Any
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    write = Channel.write_ahead

    def slowly(channel: Channel, left: Any) -> int:
        begun.set()
        assert go_on.wait(HARD_LIMIT_S)
        return write(channel, left)

    writes(slowly)
    pool, pid, holder = busy()
    second = in_line(pool, client, until, "echo", {"value": "second", "nonce": "n2"}, checkout_timeout_s=3.0)
    os.kill(pid, signal.SIGCONT)
    assert begun.wait(HARD_LIMIT_S)
    second.thread.join(3.2)
    assert second.thread.is_alive(), "it waits for the one that writes"
    go_on.set()

    assert second.result() == "second"
    assert holder.result() == "first"
    assert [entry.nonce for entry in read_journals(tmp_path)].count("n2") == 1


def test_one_whose_patience_ended_before_is_never_sent(
    busy: Any, writes: Any, client: Any, until: Any, tmp_path: Any
) -> None:
    threads = writes(Channel.write_ahead)
    pool, pid, holder = busy()
    second = client(pool.execute, "echo", {"value": "second", "nonce": "n2"}, checkout_timeout_s=0.05)
    with pytest.raises(CheckoutTimeout) as caught:
        second.result()
    os.kill(pid, signal.SIGCONT)

    assert caught.value.sent is Sent.NO
    assert holder.result() == "first"
    assert pool.execute("echo", {"value": "third"}) == "third"
    assert threads == []
    assert "n2" not in [entry.nonce for entry in read_journals(tmp_path)]


def test_a_worker_that_dies_with_a_request_that_was_written_ahead_costs_that_call_and_runs_it_once(
    busy: Any, writes: Any, client: Any, until: Any, tmp_path: Any
) -> None:
    write = Channel.write_ahead
    pids: list[int] = []

    def then_die(channel: Channel, left: Any) -> int:
        os.kill(pids[0], signal.SIGSTOP)
        written = write(channel, left)
        os.kill(pids[0], signal.SIGKILL)
        return written

    writes(then_die)
    pool, pid, holder = busy()
    pids.append(pid)
    second = in_line(pool, client, until, "echo", {"value": "second", "nonce": "n2"})
    os.kill(pid, signal.SIGCONT)
    with pytest.raises(WorkerCrashed) as caught:
        second.result()

    assert caught.value.sent is Sent.YES
    assert holder.result() == "first"
    assert "n2" not in [entry.nonce for entry in read_journals(tmp_path)]
    assert pool.execute("echo", {"value": "third"}) == "third"


def test_a_worker_that_was_dead_before_the_write_costs_nobody_anything(
    busy: Any, writes: Any, client: Any, until: Any, gone: Any
) -> None:
    write = Channel.write_ahead
    pids: list[int] = []

    def to_a_dead_one(channel: Channel, left: Any) -> int:
        os.kill(pids[0], signal.SIGKILL)
        until(lambda: channel.process.exited(), "it is dead")
        return write(channel, left)

    writes(to_a_dead_one)
    pool, pid, holder = busy()
    pids.append(pid)
    second = in_line(pool, client, until, "echo", {"value": "second"})
    os.kill(pid, signal.SIGCONT)

    assert (holder.result(), second.result()) == ("first", "second")
    assert pool.status().statistics.outcomes == {"result": 2}


def test_a_deadline_that_passes_while_the_request_is_written_is_a_call_timeout(
    busy: Any, writes: Any, client: Any, until: Any
) -> None:
    write = Channel.write_ahead
    seconds: list[Any] = []

    def late(channel: Channel, left: Any) -> int:
        written = write(channel, left)
        until(lambda: channel.process.exited(), "the supervisor has ended it at the deadline")
        return written

    writes(late)
    pool, pid, holder = busy()
    seconds.append(in_line(pool, client, until, "sleep", {"seconds": 60}, timeout_s=3.0))
    os.kill(pid, signal.SIGCONT)
    with pytest.raises(PoolError) as caught:
        seconds[0].result()

    assert (type(caught.value).__name__, caught.value.sent) == ("CallTimeout", Sent.YES)
    assert holder.result() == "first"
    assert pool.execute("echo", {"value": "third"}) == "third"


def test_one_that_is_offered_a_worker_just_after_its_patience_was_over_is_never_sent(
    busy: Any, writes: Any, client: Any, until: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = writes(Channel.write_ahead)
    pool, pid, holder = busy()

    def meanwhile(_: str) -> None:  # the client has seen that it waits in vain, and is about to leave the queue
        os.kill(pid, signal.SIGCONT)
        holder.result()

    monkeypatch.setattr(pool._engine.hooks, "cancelled", meanwhile)
    second = client(pool.execute, "echo", {"value": "second", "nonce": "n2"}, checkout_timeout_s=0.05)
    with pytest.raises(CheckoutTimeout) as caught:
        second.result()

    assert caught.value.sent is Sent.NO
    assert pool.execute("echo", {"value": "third"}) == "third"
    assert threads == []
    assert "n2" not in [entry.nonce for entry in read_journals(tmp_path)]
