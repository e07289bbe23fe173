"""How a thread waits for a worker: armed before it waits, woken once or more, and never woken for another."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from poolproof.bridge.clock import now_ns
from poolproof.pool_v2.calls.io import THREAD, WATCHED_NS, ThreadTicket
from poolproof.pool_v2.core.ticket import Ticket

HARD_LIMIT_S = 15.0
AT_ONCE = 0.0


def made(call: int, request: bytearray | None = None) -> ThreadTicket:
    ticket = THREAD.ticket(call, None, 2**63, 2**63, threading.get_ident(), request)
    assert isinstance(ticket, ThreadTicket)
    return ticket


def armed(call: int) -> ThreadTicket:
    """A ticket that has been put in the queue just now."""
    ticket = made(call)
    ticket.arm()
    ticket.queued_ns = now_ns()
    return ticket


def is_woken(ticket: ThreadTicket) -> bool:
    """Whether a wait would be over at once."""
    assert ticket.gate is not None
    return not ticket.gate.locked()


def wait(ticket: Ticket, timeout_s: float) -> Iterable[Any]:
    """Wait at most so long from now."""
    return THREAD.wait(ticket, now_ns() + int(timeout_s * 1e9))


def test_a_thread_s_ticket_says_who_waits_and_until_when() -> None:
    request = bytearray(b"request")
    ticket = THREAD.ticket(7, None, 5, 4, 3, request)

    assert (ticket.call, ticket.deadline_ns, ticket.until_ns, ticket.thread_id) == (7, 5, 4, 3)
    assert ticket.request is request
    assert isinstance(ticket, ThreadTicket)


@pytest.mark.parametrize("request_", [None, bytearray(b"request")])
def test_only_while_its_client_waits_may_others_write_its_request(request_: bytearray | None) -> None:
    ticket = made(7, request_)
    assert (ticket.gate, ticket.claim, ticket.written) == (None, None, None)

    ticket.arm()
    assert not is_woken(ticket)
    assert (ticket.claim, ticket.written) == ((None, None) if request_ is None else ([request_], []))


@pytest.mark.parametrize("timeout_s", [AT_ONCE, -1.0, HARD_LIMIT_S])
def test_a_wake_before_the_wait_is_not_lost(timeout_s: float) -> None:
    ticket = armed(1)
    ticket.wake()
    assert is_woken(ticket)

    assert list(wait(ticket, timeout_s)) == [], "a thread's wait is over when it was made"
    assert not is_woken(ticket), "one wake ends one wait"


def test_a_wake_ends_a_wait_in_another_thread(client: Callable[..., Any]) -> None:
    ticket = armed(1)
    waiter = client(wait, ticket, 3600.0)
    ticket.wake()

    assert waiter.result() == ()


class Watched:
    """A gate that keeps how it was waited for."""

    def __init__(self) -> None:
        self.waits: list[float | None] = []

    def acquire(self, timeout: float | None = None) -> None:
        """Keep it."""
        self.waits.append(timeout)


def test_only_a_short_wait_has_a_timer_of_its_own() -> None:
    ticket: Any = armed(1)
    gate = ticket.gate = Watched()
    for limit_ns in (WATCHED_NS + 1, 3600 * 10**9, 2**63 - 1 - ticket.queued_ns):
        list(THREAD.wait(ticket, ticket.queued_ns + limit_ns))
    assert gate.waits == [None] * 3, "the supervisor ends them"
    gate.waits.clear()

    list(THREAD.wait(ticket, ticket.queued_ns + WATCHED_NS))
    (left_s,) = gate.waits
    assert left_s is not None
    assert 0 <= left_s <= WATCHED_NS / 1e9


@pytest.mark.parametrize("timeout_s", [-1.0, AT_ONCE, 0.01])
def test_a_wait_that_nobody_ends_ends_by_itself(timeout_s: float) -> None:
    ticket = armed(1)
    wait(ticket, timeout_s)

    assert not is_woken(ticket)


def test_waking_one_ticket_leaves_another_asleep() -> None:
    one, other = armed(1), armed(2)
    one.wake()

    assert is_woken(one)
    assert not is_woken(other)


def test_a_second_wake_changes_nothing() -> None:
    ticket = armed(1)
    ticket.wake()
    ticket.wake()
    wait(ticket, HARD_LIMIT_S)

    assert not is_woken(ticket), "two wakes are one"


def test_many_threads_may_wake_it_at_once(client: Callable[..., Any]) -> None:
    for _ in range(50):
        ticket, start = armed(1), threading.Barrier(4)

        def wake(ticket: Ticket = ticket, start: threading.Barrier = start) -> None:
            start.wait(HARD_LIMIT_S)
            ticket.wake()

        for waker in [client(wake) for _ in range(4)]:
            waker.result()
        assert is_woken(ticket)


def test_a_ticket_that_was_not_armed_does_not_wait_and_is_woken_in_vain() -> None:
    ticket = made(1)
    ticket.wake()
    assert ticket.gate is None
    with pytest.raises(AttributeError):
        wait(ticket, 1.0)

    ticket.arm()
    assert not is_woken(ticket), "a wake from before does not end the wait"


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_that_is_forked_while_a_thread_waits_has_tickets_of_its_own(client: Callable[..., Any]) -> None:
    waited, fresh = armed(1), armed(2)
    waiter = client(wait, waited, 3600.0)
    pid = os.fork()
    if pid == 0:
        fresh.wake()
        wait(fresh, HARD_LIMIT_S)
        waited.wake()  # its copy, for which nobody waits here
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert not is_woken(fresh)
    assert waiter.thread.is_alive(), "what the child did ends no wait here"
    waited.wake()
    waiter.result()
