"""How a thread waits for a worker: armed before it waits, woken once or more, and never woken for another."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from pool_v2.io import THREAD, ThreadTicket
from pool_v2.ticket import Ticket

HARD_LIMIT_S = 15.0
AT_ONCE = 0.0


def armed(call: int) -> ThreadTicket:
    ticket = THREAD.ticket(call, None, 2**63, None)
    assert isinstance(ticket, ThreadTicket)
    ticket.arm()
    return ticket


def is_woken(ticket: ThreadTicket) -> bool:
    """Whether a wait would be over at once."""
    assert ticket.gate is not None
    return not ticket.gate.locked()


def wait(ticket: Ticket, timeout_s: float) -> Iterable[Any]:
    return THREAD.wait(ticket, timeout_s)


def test_a_thread_s_ticket_says_who_waits() -> None:
    claim = [bytearray(b"request")]
    ticket = THREAD.ticket(7, None, 5, claim)

    assert (ticket.call, ticket.deadline_ns, ticket.thread_id) == (7, 5, threading.get_ident())
    assert ticket.claim is claim


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


def test_a_wait_without_end_is_no_longer_than_the_interpreter_can_wait(client: Callable[..., Any]) -> None:
    ticket = armed(1)
    waiter = client(wait, ticket, 1e300)
    ticket.wake()

    assert waiter.result() == ()


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
    ticket = THREAD.ticket(1, None, 2**63, None)
    ticket.wake()

    with pytest.raises(AssertionError, match="only an armed ticket waits"):
        wait(ticket, 1.0)


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
