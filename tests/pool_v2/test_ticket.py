"""The ticket: armed before it waits, woken once, and never woken for another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pool_v2.ticket import Ticket, TicketState


def armed(call: int) -> Ticket:
    ticket = Ticket(call)
    ticket.arm()
    return ticket


def test_a_new_ticket_owns_nothing() -> None:
    ticket = Ticket(7)

    assert (ticket.call, ticket.state, ticket.worker_id, ticket.error) == (7, TicketState.NEW, None, None)


def test_a_wake_before_the_wait_is_not_lost() -> None:
    ticket = armed(1)
    ticket.wake()

    assert ticket.wait(0.0)


def test_a_wake_ends_a_wait_in_another_thread(client: Callable[..., Any]) -> None:
    ticket = armed(1)
    waiter = client(ticket.wait, 15.0)

    ticket.wake()

    assert waiter.result() is True


@pytest.mark.parametrize("timeout_s", [-1.0, 0.0, 0.01])
def test_a_wait_that_nobody_ends_says_so(timeout_s: float) -> None:
    assert not armed(1).wait(timeout_s)


def test_waking_one_ticket_leaves_another_asleep() -> None:
    one, other = armed(1), armed(2)
    one.wake()

    assert one.wait(0.0)
    assert not other.wait(0.0)


def test_a_second_wake_is_refused() -> None:
    ticket = armed(1)
    ticket.wake()

    with pytest.raises(RuntimeError):
        ticket.wake()


def test_a_ticket_that_was_not_armed_neither_waits_nor_wakes() -> None:
    with pytest.raises(AssertionError, match="only an armed ticket waits"):
        Ticket(1).wait(1.0)
    with pytest.raises(AssertionError, match="never waited"):
        Ticket(1).wake()
