"""The coordinator's rules, each with a literal case: the queue, grants, leaving."""

from __future__ import annotations

import pytest

from bridge import QueueFull
from pool_v2.circuit import Circuit
from pool_v2.coordinator import ATTEND, Bury, Coordinator, Kill, Retire, Wake
from pool_v2.sessions import Session
from pool_v2.ticket import Ticket, TicketState

RESET_NS = 2_000_000_000


def coordinator(*, ready: int = 0, workers: int = 2, failures_to_open: int = 2, **options: object) -> Coordinator:
    """One with `ready` idle workers, numbered from 1."""
    made = Coordinator("p", Circuit(failures_to_open=failures_to_open, reset_s=2.0), workers=workers, **options)
    for worker_id in range(1, ready + 1):
        made.started(worker_id)
        made.ready(worker_id)
    return made


def entered(core: Coordinator, call: int, session: Session | None = None, *, now_ns: int = 0) -> Ticket:
    ticket = Ticket(call, session)
    core.enter(ticket, now_ns)
    return ticket


def accepted(core: Coordinator, call: int, session: Session | None = None) -> Ticket:
    """A ticket that was given an idle worker at once, and whose session was bound to it."""
    ticket = entered(core, call, session)
    assert ticket.state is TicketState.ACCEPTED
    if session is not None and ticket.worker_id is not None:
        session.move(ticket.worker_id)
    return ticket


def states(core: Coordinator) -> dict[int, str]:
    return {worker_id: worker.state.value for worker_id, worker in core.workers.items()}


def start(core: Coordinator, worker_id: int) -> list[object]:
    core.started(worker_id)
    return list(core.ready(worker_id))


def end(core: Coordinator, worker_id: int) -> list[object]:
    """The process ends and is buried."""
    return [*core.exited(worker_id), *core.buried(worker_id)]


# Grants.


def test_an_idle_worker_is_given_at_once() -> None:
    core = coordinator(ready=1)
    ticket = Ticket(1)

    assert core.enter(ticket, 0) == ()
    assert (ticket.state, ticket.worker_id) == (TicketState.ACCEPTED, 1)
    assert core.held == {1: ticket}
    assert states(core) == {1: "leased"}


def test_the_worker_that_has_been_idle_longest_is_given_first() -> None:
    core = coordinator(ready=2)
    one = accepted(core, 1)
    core.leave(one, clean=True)

    assert accepted(core, 2).worker_id == 2


def test_without_an_idle_worker_a_ticket_waits_and_the_supervisor_looks_if_there_is_room() -> None:
    core = coordinator(ready=1, workers=2)
    accepted(core, 1)
    waiting = Ticket(2)

    assert core.enter(waiting, 0) == (ATTEND,)
    assert (waiting.state, waiting.worker_id, core.waiting) == (TicketState.WAITING, None, 1)


def test_at_full_size_nobody_is_bothered_by_a_new_waiter() -> None:
    core = coordinator(ready=1, workers=1)
    accepted(core, 1)

    assert core.enter(Ticket(2), 0) == ()


def test_a_checkin_offers_the_worker_to_the_head_of_the_queue() -> None:
    core = coordinator(ready=1, workers=1)
    holder = accepted(core, 1)
    head, tail = entered(core, 2), entered(core, 3)

    assert core.leave(holder, clean=True) == [Wake(head)]
    assert (head.state, head.worker_id) == (TicketState.OFFERED, 1)
    assert (tail.state, holder.state, holder.worker_id) == (TicketState.WAITING, TicketState.WITHDRAWN, None)
    core.accept(head)
    assert head.state is TicketState.ACCEPTED


def test_waiters_are_served_in_the_order_of_their_arrival() -> None:
    core = coordinator(ready=1, workers=1)
    holder = accepted(core, 1)
    waiting = [entered(core, call) for call in range(2, 8)]
    served = []
    while waiting and holder.worker_id is not None:
        (wake,) = core.leave(holder, clean=True)
        assert isinstance(wake, Wake)
        holder = wake.ticket
        core.accept(holder)
        served.append(holder.call)
        waiting = [ticket for ticket in waiting if ticket.state is TicketState.WAITING]

    assert served == [2, 3, 4, 5, 6, 7]


def test_a_ticket_that_was_offered_nothing_cannot_be_accepted() -> None:
    core = coordinator(ready=1, workers=1)
    accepted(core, 1)
    waiting = entered(core, 2)

    with pytest.raises(AssertionError, match="cannot be accepted"):
        core.accept(waiting)


def test_a_full_queue_refuses_the_next_and_keeps_those_who_wait() -> None:
    core = coordinator(ready=1, workers=1, max_queue=1)
    holder = accepted(core, 1)
    head, refused = entered(core, 2), Ticket(3)

    with pytest.raises(QueueFull, match="1 calls wait already; the limit is 1"):
        core.enter(refused, 0)

    assert refused.state is TicketState.REFUSED
    assert core.leave(refused, clean=True) == ()
    assert core.leave(holder, clean=True) == [Wake(head)]


def test_a_queue_of_no_places_still_gives_idle_workers() -> None:
    core = coordinator(ready=1, workers=1, max_queue=0)

    accepted(core, 1)
    with pytest.raises(QueueFull):
        core.enter(Ticket(2), 0)


# Leaving.


def test_a_waiter_that_leaves_is_gone_from_the_queue_at_once() -> None:
    core = coordinator(ready=1, workers=1, max_queue=1)
    holder = accepted(core, 1)
    early = entered(core, 2)

    assert core.leave(early, clean=True) == ()
    assert (early.state, core.waiting) == (TicketState.WITHDRAWN, 0)
    late = entered(core, 3)
    assert core.leave(holder, clean=True) == [Wake(late)]


def test_an_offer_that_is_withdrawn_goes_to_the_next_waiter_at_once() -> None:
    core = coordinator(ready=1, workers=1)
    holder = accepted(core, 1)
    gone, following = entered(core, 2), entered(core, 3)
    core.leave(holder, clean=True)
    assert gone.state is TicketState.OFFERED

    assert core.leave(gone, clean=True) == [Wake(following)]
    assert (gone.state, gone.worker_id) == (TicketState.WITHDRAWN, None)
    assert core.held == {1: following}


def test_an_offer_that_is_withdrawn_without_waiters_leaves_the_worker_idle() -> None:
    core = coordinator(ready=1, workers=1)
    holder = accepted(core, 1)
    gone = entered(core, 2)
    core.leave(holder, clean=True)

    assert core.leave(gone, clean=True) == []
    assert states(core) == {1: "idle"}
    assert accepted(core, 3).worker_id == 1


def test_leaving_twice_does_nothing() -> None:
    core = coordinator(ready=1)
    holder = accepted(core, 1)
    core.leave(holder, clean=True)

    assert core.leave(holder, clean=False) == ()
    assert states(core) == {1: "idle"}


def test_a_dirty_worker_is_killed_and_never_given_again() -> None:
    core = coordinator(ready=1, workers=1)
    holder = accepted(core, 1)

    assert core.leave(holder, clean=False) == [Kill(1, "dirty")]
    assert states(core) == {1: "dying"}
    assert entered(core, 2).state is TicketState.WAITING


def test_a_broken_checkin_keeps_the_head_of_the_queue() -> None:
    core = coordinator(ready=1, workers=1)
    holder = accepted(core, 1)
    head, tail = entered(core, 2), entered(core, 3)
    core.leave(holder, clean=False)
    assert core.wanted_starts(0) == 0, "the place is free only when the worker is buried"
    assert end(core, 1) == [Bury(1), ATTEND]
    assert core.wanted_starts(0) == 1

    assert start(core, 2) == [Wake(head)]
    assert tail.state is TicketState.WAITING


def test_a_worker_that_has_served_its_requests_is_retired_between_leases() -> None:
    core = coordinator(ready=1, workers=1, max_requests=2)
    core.leave(accepted(core, 1), clean=True)
    assert states(core) == {1: "idle"}

    assert core.leave(accepted(core, 2), clean=True) == [Retire(1)]
    assert states(core) == {1: "dying"}


def test_recycling_gives_the_place_back() -> None:
    core = coordinator(ready=1, workers=1, max_requests=1)
    core.leave(accepted(core, 1), clean=True)
    end(core, 1)

    assert core.wanted_starts(0) == 1
