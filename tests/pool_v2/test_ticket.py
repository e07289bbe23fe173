"""The ticket: what a client that wants a worker owns."""

from __future__ import annotations

from poolproof.pool_v2.core.ticket import Ticket, TicketState
from poolproof.pool_v2.core.worker_table import Worker


def test_a_new_ticket_owns_nothing() -> None:
    ticket = Ticket(7)

    assert (ticket.call, ticket.state, ticket.worker, ticket.worker_id) == (7, TicketState.NEW, None, None)
    assert (ticket.error, ticket.session, ticket.thread_id, ticket.claim) == (None, None, 0, None)


def test_a_ticket_names_the_worker_that_it_owns() -> None:
    ticket = Ticket(7, deadline_ns=5, thread_id=3)
    ticket.worker = Worker(4)

    assert (ticket.worker_id, ticket.deadline_ns, ticket.thread_id) == (4, 5, 3)


def test_what_was_written_for_one_ticket_is_no_other_s() -> None:
    one, other = Ticket(1, request=bytearray(b"a")), Ticket(2, request=bytearray(b"b"))
    for ticket in (one, other):
        ticket.arm()
    assert one.written is not None
    one.written.append(7)

    assert (other.written, other.claim) == ([], [b"b"])
    assert one != other


def test_a_ticket_that_nobody_waits_for_is_armed_and_woken_in_vain() -> None:
    ticket = Ticket(1)
    ticket.arm()
    ticket.wake()

    assert ticket.state is TicketState.NEW
