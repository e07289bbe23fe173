"""What the coordinator has its supervisor do, and when: deadlines, strangers, ends, mending, the next look."""

from __future__ import annotations

from typing import Any

import pytest

from poolproof.pool_v2.core.actions import (
    HEARTBEAT_NS,
    OFFER_GRACE_NS,
    RETIRE_GRACE_NS,
    STRANGER_GRACE_NS,
    Act,
    watch_queue,
)
from poolproof.pool_v2.core.ticket import TicketState
from poolproof.pool_v2.core.worker_table import NEVER_NS

NOW_NS = 1_000_000_000

# Deadlines.


def test_a_call_past_its_deadline_is_cut_off_once_and_not_a_moment_early(desk: Any) -> None:
    pool = desk(ready=1, workers=1)
    deadline_ns = NOW_NS + 7
    pool.lease(1, deadline_ns=deadline_ns)

    assert pool.plan(deadline_ns - 1) == []
    assert pool.core.watch_ns == deadline_ns
    (order,) = pool.core.plan(deadline_ns)
    assert (order.act, order.worker, order.reason) == ("cut_off", pool.worker(1), "CallTimeout")
    assert pool.plan(deadline_ns) == pool.plan(deadline_ns + NOW_NS) == []


def test_a_worker_gets_a_signal_once_before_each_deadline(desk: Any) -> None:
    pool = desk(ready=1, workers=1, term_grace_ns=5)
    pool.plan(NOW_NS)
    assert pool.core.look_ns == pool.core.watch_ns + 5
    ticket = pool.lease(1, deadline_ns=NOW_NS + 10)
    assert pool.core.attention

    assert pool.plan(NOW_NS + 4) == []
    assert pool.core.watch_ns == NOW_NS + 5
    assert pool.plan(NOW_NS + 5) == [("term", 1)]
    assert pool.core.watch_ns == NOW_NS + 10
    assert pool.plan(NOW_NS + 6) == []
    ticket.deadline_ns = NOW_NS + 20  # the next call of the lease
    assert pool.plan(NOW_NS + 16) == [("term", 1)]
    assert pool.plan(NOW_NS + 20) == [("cut_off", 1)]


def test_a_worker_that_was_cut_off_is_never_handed_on_though_its_client_leaves_clean(desk: Any) -> None:
    pool = desk(ready=1, workers=1)
    holder, waiting = pool.lease(1, deadline_ns=NOW_NS), pool.enter(2)
    assert pool.plan() == [("cut_off", 1)]

    assert pool.leave(holder, clean=True) == []

    assert (waiting.state, pool.states()) == (TicketState.WAITING, {1: "dying"})
    assert pool.plan() == [], "it was ended already"
    pool.end(1)
    assert pool.plan() == [("start", None)]


def test_a_deadline_that_is_near_is_checked_on_time_though_its_offer_was_not_accepted_yet(desk: Any) -> None:
    pool = desk(ready=1, workers=1)
    holder = pool.lease(1)
    pool.enter(2, deadline_ns=NOW_NS + 7)
    pool.leave(holder)

    assert pool.plan(NOW_NS) == [("wake", 2)]
    assert pool.core.watch_ns == NOW_NS + 7


def test_a_call_whose_request_was_written_for_it_is_cut_off_on_time_though_it_sleeps(desk: Any) -> None:
    pool = desk(ready=1, workers=1)
    holder = pool.lease(1)
    late = pool.enter(2, deadline_ns=NOW_NS)
    pool.leave(holder)
    late.written = [7]

    assert pool.plan(NOW_NS) == [("wake", 2), ("cut_off", 1)]


def test_a_client_of_a_dead_worker_is_woken_by_its_deadline_though_a_stranger_holds_the_stdout(desk: Any) -> None:
    pool = desk(ready=1, workers=1)
    pool.lease(1, deadline_ns=NOW_NS + 7)
    pool.exit(1, NOW_NS)

    assert pool.plan(NOW_NS) == []
    assert pool.core.watch_ns == NOW_NS + 7
    assert pool.plan(NOW_NS + 7) == [("wake_reader", 1)]


def test_an_offer_is_never_cut_off_and_its_worker_serves_the_next(desk: Any) -> None:
    pool = desk(ready=1, workers=1)
    holder = pool.lease(1)
    late, following = pool.enter(2, deadline_ns=NOW_NS), pool.enter(3)
    pool.leave(holder)
    assert late.state is TicketState.OFFERED

    assert pool.plan(NOW_NS * 9) == [("wake", 2)]
    assert pool.leave(late) == [following]
    pool.core.accept(following)
    assert pool.plan(NOW_NS * 9) == []


def test_an_offer_that_is_accepted_after_its_deadline_is_cut_off_then(desk: Any) -> None:
    pool = desk(ready=1, workers=1)
    holder, late = pool.lease(1), pool.enter(2, deadline_ns=NOW_NS)
    pool.leave(holder)
    pool.plan()
    pool.core.accept(late)

    assert pool.plan() == [("cut_off", 1)]


def test_an_offer_past_its_deadline_is_looked_at_again_soon(desk: Any) -> None:
    pool = desk(ready=1, workers=1)
    holder = pool.lease(1)
    pool.enter(2, deadline_ns=NOW_NS + 7 * OFFER_GRACE_NS)
    pool.leave(holder)

    pool.plan(NOW_NS)
    assert pool.core.watch_ns == NOW_NS + 7 * OFFER_GRACE_NS
    pool.plan(NOW_NS + 9 * OFFER_GRACE_NS)
    assert pool.core.watch_ns == NOW_NS + 10 * OFFER_GRACE_NS


def test_a_deadline_that_the_client_has_seen_to_already_is_not_seen_to_again(desk: Any) -> None:
    pool = desk(ready=1, workers=1)
    pool.lease(1, deadline_ns=NOW_NS)
    pool.worker(1).killed = True

    assert pool.plan() == []


def test_each_of_two_calls_is_cut_off_at_its_own_time(desk: Any) -> None:
    pool = desk(ready=2)
    pool.lease(1, deadline_ns=NOW_NS + 9)
    pool.lease(2, deadline_ns=NOW_NS + 5)
    pool.plan()
    assert pool.core.watch_ns == NOW_NS + 5

    assert pool.plan(NOW_NS + 5) == [("cut_off", 2)]
    assert pool.core.watch_ns == NOW_NS + 9
    assert pool.plan(NOW_NS + 9) == [("cut_off", 1)]


def test_an_offer_is_woken_in_every_plan_until_it_is_taken(desk: Any) -> None:
    pool = desk(ready=1, workers=1)
    holder, waiting = pool.lease(1), pool.enter(2)
    pool.leave(holder)

    assert pool.plan() == pool.plan() == [("wake", 2)]
    pool.core.accept(waiting)
    assert pool.plan() == []


# Waits that are over.


def test_a_client_is_woken_when_its_wait_is_over_and_not_a_moment_early(desk: Any) -> None:
    pool = desk(ready=1, workers=1)
    pool.lease(1)
    until_ns = NOW_NS + 7
    late, patient = pool.enter(2, until_ns=until_ns), pool.enter(3, until_ns=until_ns + 2)

    assert pool.plan(until_ns - 1) == []
    assert pool.core.watch_ns == until_ns, "the earliest end of a wait"
    assert pool.plan(until_ns) == [("wake", 2)]
    assert pool.core.watch_ns == until_ns + 2
    assert pool.plan(until_ns + 2) == [("wake", 2), ("wake", 3)], "again, until it has left"
    assert [ticket.state for ticket in (late, patient)] == [TicketState.WAITING] * 2, "to leave is the client's own"
    pool.leave(late)
    pool.leave(patient)
    assert pool.plan(until_ns + 3) == []


def test_the_wait_of_a_client_that_has_a_worker_is_not_watched(desk: Any) -> None:
    pool = desk(ready=1, workers=1)
    holder = pool.lease(1, until_ns=NOW_NS + 7)
    assert pool.plan(NOW_NS + 9) == []
    waiting = pool.enter(2, until_ns=NOW_NS + 7)
    pool.leave(holder)
    pool.core.accept(waiting)

    assert pool.plan(NOW_NS + 9) == []


def test_only_those_whose_wait_is_over_are_woken(desk: Any) -> None:
    pool = desk(ready=1, workers=1)
    tickets = [pool.enter(call, until_ns=until_ns) for call, until_ns in enumerate((5, 7, 6, NEVER_NS), start=1)]
    times: list[int] = []

    assert watch_queue([], 6, times) == []
    assert times == []
    found = watch_queue(tickets, 6, times)
    assert [(order.act, order.ticket) for order in found] == [(Act.WAKE, tickets[0]), (Act.WAKE, tickets[2])]
    assert times == [7, NEVER_NS]


# Workers that died under their clients.


def test_a_client_of_a_dead_worker_is_woken_once_and_only_after_a_while(desk: Any) -> None:
    pool = desk(ready=1, workers=1)
    holder = pool.lease(1, deadline_ns=NOW_NS * 9)
    pool.exit(1, NOW_NS)

    assert pool.plan(NOW_NS) == pool.plan(NOW_NS + STRANGER_GRACE_NS - 1) == []
    assert pool.core.watch_ns == NOW_NS + STRANGER_GRACE_NS
    assert pool.plan(NOW_NS + STRANGER_GRACE_NS) == [("wake_reader", 1)]
    assert pool.plan(NOW_NS + STRANGER_GRACE_NS) == pool.plan(NOW_NS * 10) == [], "and a dead worker is not cut off"
    pool.leave(holder, clean=False)
    assert pool.plan(NOW_NS * 10) == [("start", None), ("release", 1)]


def test_nobody_is_buried_while_somebody_holds_it_whatever_else_happened(desk: Any) -> None:
    pool = desk(ready=1, workers=1)
    holder = pool.lease(1, deadline_ns=NOW_NS)
    pool.plan()
    pool.core.close()
    pool.exit(1)

    for now_ns in (NOW_NS, NOW_NS + STRANGER_GRACE_NS, NOW_NS + RETIRE_GRACE_NS):
        assert ("release", 1) not in pool.plan(now_ns)
    pool.leave(holder)
    assert pool.plan() == [("release", 1)]


def test_a_dead_worker_that_was_offered_to_a_client_is_not_given_to_the_next(desk: Any) -> None:
    pool = desk(ready=1, workers=1)
    holder, offered, following = pool.lease(1), pool.enter(2), pool.enter(3)
    pool.leave(holder)
    pool.exit(1)

    assert pool.leave(offered) == []
    assert following.state is TicketState.WAITING
    assert pool.plan() == [("start", None), ("release", 1)]


# Ends.


def test_a_worker_that_does_not_leave_when_asked_is_killed_after_the_grace_and_once(desk: Any) -> None:
    pool = desk(ready=1, workers=1, max_requests=1)
    pool.leave(pool.lease(1))

    assert pool.plan(NOW_NS) == [("retire", 1)]
    assert pool.core.watch_ns == NOW_NS + RETIRE_GRACE_NS
    assert pool.plan(NOW_NS + RETIRE_GRACE_NS - 1) == []
    assert pool.core.watch_ns == NOW_NS + RETIRE_GRACE_NS
    (order,) = pool.core.plan(NOW_NS + RETIRE_GRACE_NS)
    assert (order.act, order.reason) == ("kill", "did not leave in time")
    assert pool.plan(NOW_NS + 2 * RETIRE_GRACE_NS) == []
    pool.exit(1)
    assert pool.plan(NOW_NS + 2 * RETIRE_GRACE_NS) == [("start", None), ("release", 1)]


def test_a_worker_that_leaves_when_asked_is_not_killed(desk: Any) -> None:
    pool = desk(ready=1, workers=1, max_requests=1)
    pool.leave(pool.lease(1))
    pool.plan(NOW_NS)
    pool.exit(1)

    assert pool.plan(NOW_NS + RETIRE_GRACE_NS) == [("start", None), ("release", 1)]


# The time of the next look.


def test_a_pool_that_rests_is_not_looked_at_again(desk: Any) -> None:
    pool = desk(ready=2)
    pool.plan()

    assert (pool.core.watch_ns, pool.core.attention) == (NEVER_NS, False)


@pytest.mark.parametrize("what", ["held", "waiting"])
def test_a_pool_at_work_is_looked_at_regularly(desk: Any, what: str) -> None:
    pool = desk(ready=1, workers=1) if what == "held" else desk(workers=1)
    pool.enter(1)
    pool.plan(NOW_NS)

    assert pool.core.watch_ns == NOW_NS + HEARTBEAT_NS


def test_the_next_look_is_at_the_earliest_of_all_times(desk: Any) -> None:
    pool = desk(ready=3, workers=4, max_requests=1, failures_to_open=9)
    pool.leave(pool.lease(1))
    pool.plan(NOW_NS)  # worker 1 was asked to leave
    pool.core.start_failed(pool.core.started(4, NOW_NS), "mute", NOW_NS + RETIRE_GRACE_NS - 60_000_000)
    pool.end(4, NOW_NS)
    assert pool.core.watch_ns == NOW_NS + RETIRE_GRACE_NS - 10_000_000, "the end of the back-off"

    pool.plan(NOW_NS + RETIRE_GRACE_NS - 10_000_000)
    assert pool.core.watch_ns == NOW_NS + RETIRE_GRACE_NS, "the end of the grace"
    now_ns = NOW_NS + RETIRE_GRACE_NS - 10_000_000
    pool.lease(2, deadline_ns=now_ns + 5)
    pool.lease(3, deadline_ns=now_ns + 7)
    pool.plan(now_ns)
    assert pool.core.watch_ns == now_ns + 5, "the deadline of call 2"
    pool.exit(2, now_ns - STRANGER_GRACE_NS + 3)
    pool.plan(now_ns)
    assert pool.core.watch_ns == now_ns + 3, "the stranger"


# Mending.


def test_a_plan_without_a_suspicion_mends_nothing(desk: Any) -> None:
    pool = desk(ready=1, workers=1)
    pool.core._idle.clear()

    assert pool.plan() == []
    assert pool.states() == {1: "idle"}


def test_a_worker_that_is_neither_held_nor_idle_is_ended(desk: Any) -> None:
    pool = desk(ready=2)
    holder = pool.lease(1)
    del pool.core._idle[2]
    pool.core.suspect()
    assert pool.core.attention

    (order,) = pool.core.plan(NOW_NS)
    assert (order.act, order.worker, order.reason) == ("kill", pool.worker(2), "interrupted")
    assert pool.core.held == {1: holder}


def test_an_abandoned_ticket_gives_up_its_worker_which_is_ended(desk: Any) -> None:
    pool = desk(ready=1, workers=1)
    holder, waiting = pool.lease(1), pool.enter(2)
    pool.core.abandon(holder)
    pool.core.abandon(holder)

    (order,) = pool.core.plan(NOW_NS)
    assert (order.act, order.reason) == ("kill", "abandoned")
    assert (holder.worker, holder.state) == (None, TicketState.WITHDRAWN)
    assert waiting.state is TicketState.WAITING


def test_an_abandoned_waiter_is_gone_from_the_queue(desk: Any) -> None:
    pool = desk(ready=1, workers=1)
    holder, gone, following = pool.lease(1), pool.enter(2), pool.enter(3)
    pool.core.abandon(gone)

    assert pool.leave(holder) == [following]
