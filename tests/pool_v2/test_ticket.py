"""The ticket: armed before it waits, woken once or more, and never woken for another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pool_v2.roster import Worker
from pool_v2.ticket import Gate, Ticket, TicketState


def armed(call: int) -> Ticket:
    ticket = Ticket(call)
    ticket.arm()
    return ticket


def test_a_new_ticket_owns_nothing() -> None:
    ticket = Ticket(7)

    assert (ticket.call, ticket.state, ticket.worker, ticket.worker_id) == (7, TicketState.NEW, None, None)
    assert (ticket.error, ticket.session, ticket.thread_id) == (None, None, 0)


def test_a_ticket_names_the_worker_that_it_owns() -> None:
    ticket = Ticket(7, deadline_ns=5, thread_id=3)
    ticket.worker = Worker(4)

    assert (ticket.worker_id, ticket.deadline_ns, ticket.thread_id) == (4, 5, 3)


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


def test_a_second_wake_changes_nothing() -> None:
    ticket = armed(1)
    ticket.wake()
    ticket.wake()

    assert ticket.wait(0.0)
    assert not ticket.wait(0.0), "two wakes are one"


def test_a_ticket_that_was_not_armed_does_not_wait_and_is_woken_in_vain() -> None:
    ticket = Ticket(1)
    ticket.wake()

    with pytest.raises(AssertionError, match="only an armed ticket waits"):
        ticket.wait(1.0)


def test_a_ticket_that_has_a_gate_keeps_it() -> None:
    ticket = Ticket(1, gate=(gate := Gate()))
    ticket.arm()

    assert ticket.gate is gate
