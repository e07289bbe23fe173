"""The coordinator and sessions: one call at a time, on the worker that has the state, and nobody else held up."""

from __future__ import annotations

from pool_v2.circuit import Circuit
from pool_v2.coordinator import Bury, Coordinator, Wake
from pool_v2.sessions import Session
from pool_v2.ticket import Ticket, TicketState


def coordinator(*, ready: int, workers: int = 2, lazy: bool = False) -> Coordinator:
    made = Coordinator("p", Circuit(failures_to_open=2, reset_s=2.0), workers=workers, lazy=lazy)
    for worker_id in range(1, ready + 1):
        made.started(worker_id)
        made.ready(worker_id)
    return made


def entered(core: Coordinator, call: int, session: Session | None = None) -> Ticket:
    ticket = Ticket(call, session)
    core.enter(ticket, 0)
    if ticket.worker_id is not None and session is not None:
        session.move(ticket.worker_id)
    return ticket


def test_the_calls_of_a_session_go_to_its_worker_even_if_another_has_been_idle_longer() -> None:
    core = coordinator(ready=2)
    session = Session("s")
    first = entered(core, 1, session)
    assert first.worker_id == 1
    core.leave(first, clean=True)

    assert entered(core, 2, session).worker_id == 1


def test_a_session_runs_one_call_at_a_time_though_another_worker_is_idle() -> None:
    core = coordinator(ready=2)
    session = Session("s")
    first = entered(core, 1, session)
    second = entered(core, 2, session)

    assert session.busy
    assert second.state is TicketState.WAITING
    assert core.leave(first, clean=True) == [Wake(second)]
    assert second.worker_id == 1


def test_a_session_waits_for_its_own_worker_and_holds_nobody_else_up() -> None:
    core = coordinator(ready=2)
    session = Session("s")
    core.leave(entered(core, 1, session), clean=True)
    other, stranger = entered(core, 2), entered(core, 3)
    assert {other.worker_id, stranger.worker_id} == {1, 2}
    holders = {ticket.worker_id: ticket for ticket in (other, stranger)}
    waiting = entered(core, 4, session)
    behind = entered(core, 5)

    assert core.leave(holders[2], clean=True) == [Wake(behind)], "worker 2 is not the session's"
    assert core.leave(holders[1], clean=True) == [Wake(waiting)]


def test_the_order_within_a_session_is_the_order_of_arrival() -> None:
    core = coordinator(ready=2)
    session = Session("s")
    holder = entered(core, 1, session)
    queued = [entered(core, call, session) for call in (2, 3, 4)]
    order = []
    for _ in queued:
        (wake,) = core.leave(holder, clean=True)
        assert isinstance(wake, Wake)
        holder = wake.ticket
        core.accept(holder)
        order.append(holder.call)

    assert order == [2, 3, 4]


def test_a_waiter_for_a_living_session_worker_is_no_reason_to_start_another() -> None:
    core = coordinator(ready=1, lazy=True)
    session = Session("s")
    entered(core, 1, session)
    entered(core, 2, session)

    assert core.wanted_starts(0) == 0


def test_a_session_whose_worker_died_is_served_by_any_other() -> None:
    core = coordinator(ready=2)
    session = Session("s")
    core.leave(entered(core, 1, session), clean=True)
    core.exited(1)

    assert entered(core, 2, session).worker_id == 2


def test_a_waiter_whose_session_worker_dies_under_another_call_goes_elsewhere_at_once() -> None:
    core = coordinator(ready=2)
    session = Session("s")
    core.leave(entered(core, 1, session), clean=True)
    two, three = entered(core, 2), entered(core, 3)
    on_one, on_two = sorted((two, three), key=lambda ticket: ticket.worker_id or 0)
    waiting = entered(core, 4, session)
    core.leave(on_two, clean=True)
    assert waiting.state is TicketState.WAITING

    assert list(core.exited(1)) == [Wake(waiting)]
    assert waiting.worker_id == 2
    assert core.leave(on_one, clean=False) == [Bury(1)]


def test_a_waiter_whose_session_worker_dies_idle_is_given_another_with_the_burial() -> None:
    core = coordinator(ready=2)
    session = Session("s")
    holder = entered(core, 1, session)
    waiting = entered(core, 2, session)
    core.leave(holder, clean=False)

    assert waiting.state is TicketState.OFFERED, "the dirty worker is dying, so the state goes elsewhere"
    assert waiting.worker_id == 2
    assert session.busy


def test_a_session_is_free_again_when_its_offer_is_withdrawn() -> None:
    core = coordinator(ready=1, workers=1)
    session = Session("s")
    holder = entered(core, 1)
    waiting = entered(core, 2, session)
    core.leave(holder, clean=True)
    assert session.busy

    core.leave(waiting, clean=True)

    assert not session.busy
    assert entered(core, 3, session).state is TicketState.ACCEPTED


def test_two_sessions_share_a_worker_in_turn() -> None:
    core = coordinator(ready=1, workers=1)
    one, two = Session("one"), Session("two")
    first = entered(core, 1, one)
    second = entered(core, 2, two)

    assert core.leave(first, clean=True) == [Wake(second)]
    assert (one.busy, two.busy) == (False, True)
