"""The coordinator and sessions: one call at a time, on the worker that has the state, and nobody else held up."""

from __future__ import annotations

from typing import Any

import pytest

from poolproof.bridge import SessionLost
from poolproof.pool_v2.core.sessions import Session
from poolproof.pool_v2.core.ticket import TicketState

NOW_NS = 1_000_000_000


def test_the_calls_of_a_session_go_to_its_worker_even_if_another_has_been_idle_longer(desk: Any) -> None:
    pool, session = desk(ready=2), Session("s")
    first = pool.lease(1, session)
    assert first.worker_id == 1
    pool.leave(first)

    assert pool.lease(2, session).worker_id == 1


@pytest.mark.parametrize("affinity", ["strict", "prefer", "none"])
def test_a_session_runs_one_call_at_a_time_though_another_worker_is_idle(desk: Any, affinity: str) -> None:
    pool, session = desk(ready=2, affinity=affinity), Session("s")
    first, second = pool.lease(1, session), pool.enter(2, session)

    assert second.state is TicketState.WAITING
    assert pool.plan() == [], "a new worker would not help"
    assert pool.leave(first) == [second]


def test_a_strict_session_waits_for_its_own_worker_and_holds_nobody_else_up(desk: Any) -> None:
    pool, session = desk(ready=2), Session("s")
    pool.leave(pool.lease(1, session))
    other, stranger = pool.lease(2), pool.lease(3)
    assert (other.worker_id, stranger.worker_id) == (2, 1)
    waiting, behind = pool.enter(4, session), pool.enter(5)

    assert pool.leave(other) == [behind], "worker 2 is not the session's"
    assert pool.leave(stranger) == [waiting]


def test_a_strict_session_waits_though_another_worker_is_idle(desk: Any) -> None:
    pool, session = desk(ready=2), Session("s")
    pool.leave(pool.lease(1, session))
    pool.leave(pool.lease(2))
    on_own = pool.lease(3)
    assert on_own.worker_id == 1

    waiting = pool.enter(4, session)

    assert waiting.state is TicketState.WAITING
    assert pool.leave(on_own) == [waiting]


def test_a_call_without_a_session_takes_an_idle_worker_that_the_waiting_session_may_not_have(desk: Any) -> None:
    pool, session = desk(ready=2), Session("s")
    pool.lease(1, session)
    waiting = pool.enter(2, session)

    assert pool.lease(3).worker_id == 2
    assert waiting.state is TicketState.WAITING


def test_a_preferring_session_takes_its_own_worker_if_it_is_idle_and_else_another(desk: Any) -> None:
    pool, session = desk(ready=3, workers=3, affinity="prefer"), Session("s")
    pool.leave(pool.lease(1, session))
    own = pool.lease(2, session)
    assert own.worker_id == 1, "though 2 and 3 have been idle longer"
    pool.leave(own)
    pool.lease(3)
    pool.lease(4)
    pool.lease(5)
    assert pool.core.held.keys() == {1, 2, 3}

    assert pool.leave(pool.core.held[3]) == []
    assert pool.lease(6, session).worker_id == 3


def test_an_indifferent_session_takes_whoever_has_been_idle_longest(desk: Any) -> None:
    pool, session = desk(ready=2, affinity="none"), Session("s")
    pool.leave(pool.lease(1, session))

    assert pool.lease(2, session).worker_id == 2


@pytest.mark.parametrize("affinity", ["prefer", "none"])
def test_a_session_whose_log_was_dropped_stays_on_its_worker_under_any_affinity(desk: Any, affinity: str) -> None:
    pool, session = desk(ready=2, affinity=affinity), Session("s")
    pool.leave(pool.lease(1, session))
    session.condense(None, 0, limit_bytes=0)
    pool.leave(pool.lease(2))
    assert pool.lease(3).worker_id == 1

    waiting = pool.enter(4, session)

    assert waiting.state is TicketState.WAITING, "nowhere else is its state"
    assert pool.plan() == [], "and a new worker would not have it"
    assert pool.leave(pool.core.held[1]) == [waiting]


@pytest.mark.parametrize("affinity", ["prefer", "none"])
def test_a_session_that_may_move_counts_as_a_waiter_for_a_new_worker(desk: Any, affinity: str) -> None:
    pool, session = desk(ready=1, floor=0, affinity=affinity), Session("s")
    pool.leave(pool.lease(1, session))
    pool.lease(2)
    pool.enter(3, session)

    assert pool.plan() == [("start", None)]


def test_the_order_within_a_session_is_the_order_of_arrival(desk: Any) -> None:
    pool, session = desk(ready=2), Session("s")
    holder = pool.lease(1, session)
    for call in (2, 3, 4):
        pool.enter(call, session)
    order = []
    for _ in range(3):
        (holder,) = pool.leave(holder)
        pool.core.accept(holder)
        order.append(holder.call)

    assert order == [2, 3, 4]


def test_a_waiter_for_a_living_session_worker_is_no_reason_to_start_another(desk: Any) -> None:
    pool, session = desk(ready=1, floor=0), Session("s")
    pool.leave(pool.lease(1, session))
    pool.lease(2)
    pool.enter(3, session)

    assert pool.plan() == []


def test_a_session_whose_worker_died_is_served_by_any_other(desk: Any) -> None:
    pool, session = desk(ready=2), Session("s")
    pool.leave(pool.lease(1, session))
    pool.exit(1)

    assert pool.lease(2, session).worker_id == 2


def test_a_session_whose_worker_was_cut_off_waits_for_it_no_longer(desk: Any) -> None:
    pool, session = desk(ready=2), Session("s")
    pool.leave(pool.lease(1, session))
    pool.leave(pool.lease(2))
    pool.lease(3, deadline_ns=NOW_NS)
    assert ("cut_off", 1) in pool.plan(NOW_NS)

    assert pool.lease(4, session).worker_id == 2


def test_a_waiter_whose_session_worker_dies_under_another_call_goes_elsewhere_at_once(desk: Any) -> None:
    pool, session = desk(ready=2), Session("s")
    pool.leave(pool.lease(1, session))
    on_two, on_one = pool.lease(2), pool.lease(3)
    waiting = pool.enter(4, session)
    pool.leave(on_two)
    assert waiting.state is TicketState.WAITING

    assert pool.exit(1) == [waiting]
    assert waiting.worker_id == 2
    assert pool.leave(on_one, clean=False) == []
    assert ("release", 1) in pool.plan()


def test_a_waiter_whose_session_worker_is_left_dirty_goes_elsewhere_at_once(desk: Any) -> None:
    pool, session = desk(ready=2), Session("s")
    holder, waiting = pool.lease(1, session), pool.enter(2, session)

    assert pool.leave(holder, clean=False) == [waiting], "the dirty worker is dying"
    assert (waiting.state, waiting.worker_id) == (TicketState.OFFERED, 2)


def test_a_waiter_whose_session_holder_is_abandoned_goes_elsewhere(desk: Any) -> None:
    pool, session = desk(ready=2), Session("s")
    holder, waiting = pool.lease(1, session), pool.enter(2, session)
    pool.core.abandon(holder)

    assert ("wake", 2) in pool.plan()
    assert (waiting.state, waiting.worker_id) == (TicketState.OFFERED, 2)


def test_a_session_is_free_again_when_its_offer_is_withdrawn(desk: Any) -> None:
    pool, session = desk(ready=1, workers=1), Session("s")
    holder, waiting = pool.lease(1), pool.enter(2, session)
    pool.leave(holder)
    assert waiting.state is TicketState.OFFERED

    pool.leave(waiting)

    assert pool.enter(3, session).state is TicketState.ACCEPTED


def test_two_sessions_share_a_worker_in_turn(desk: Any) -> None:
    pool, one, two = desk(ready=1, workers=1), Session("one"), Session("two")
    first, second = pool.lease(1, one), pool.enter(2, two)

    assert pool.leave(first) == [second]
    third = pool.enter(3, one)
    assert pool.leave(second) == [third]


def test_a_session_that_is_lost_is_refused_before_it_takes_a_worker(desk: Any) -> None:
    pool, session = desk(ready=1), Session("s")
    session.lost = "its state went with worker 7"

    with pytest.raises(SessionLost, match="session 's': its state went with worker 7"):
        pool.enter(1, session)
    assert pool.states() == {1: "idle"}


def test_what_a_dead_worker_had_of_a_session_is_forgotten(desk: Any) -> None:
    pool = desk(ready=2)
    session = pool.core.sessions.begin("s", 1)
    pool.leave(pool.lease(1, session))
    assert session.held.keys() == {1}

    pool.exit(1)
    pool.core.released(pool.worker(1))

    sessions = pool.core.sessions
    sessions.end("s")
    assert session.stale == {1}, "a call of it still goes on"
    sessions.release(session, 1, 5)
    assert sessions.begin("s", 2).stale == set()


def test_a_session_does_not_keep_a_dead_worker_that_its_client_met_after_its_end(desk: Any) -> None:
    pool = desk(ready=1)
    session = pool.core.sessions.begin("s", 1)
    holder = pool.lease(1, session)
    pool.exit(1)
    session.met(1)  # its last response came before its end was noticed
    pool.leave(holder, clean=False)
    pool.core.released(pool.worker(1))

    sessions = pool.core.sessions
    sessions.release(session, 1, 5)
    sessions.end("s")
    assert sessions.begin("s", 2).stale == set()
    assert not sessions._stale
