"""The coordinator's rules, each with a literal case: the queue, grants, leaving."""

from __future__ import annotations

from typing import Any

import pytest

from poolproof.bridge import CheckoutTimeout, QueueFull
from poolproof.pool_v2.core.ticket import Ticket, TicketState

NOW_NS = 1_000_000_000

# Grants.


def test_an_idle_worker_is_given_at_once(desk: Any) -> None:
    pool = desk(ready=1)
    ticket = pool.enter(1)

    assert (ticket.state, ticket.worker_id) == (TicketState.ACCEPTED, 1)
    assert pool.core.held == {1: ticket}
    assert pool.core.open_calls() == [ticket]
    assert pool.states() == {1: "leased"}


@pytest.mark.parametrize("idle", [0, 1])
def test_a_call_whose_time_is_over_is_refused_and_owns_nothing(desk: Any, idle: int) -> None:
    # N9
    pool = desk(ready=1)
    holders = [pool.lease(call) for call in range(1 - idle)]
    ticket = Ticket(7, None, deadline_ns=NOW_NS)
    with pytest.raises(CheckoutTimeout, match="passed before a worker could serve it"):
        pool.core.enter(ticket, NOW_NS)
    assert (ticket.state, ticket.worker, pool.core.waiting) == (TicketState.REFUSED, None, 0)
    assert pool.core.open_calls() == holders
    assert len(pool.core.idle_workers()) == idle


def test_the_worker_that_has_been_idle_longest_is_given_first(desk: Any) -> None:
    pool = desk(ready=2)
    pool.leave(pool.lease(1))

    assert [worker.worker_id for worker in pool.core.idle_workers()] == [2, 1]
    assert pool.lease(2).worker_id == 2


def test_a_hot_pool_gives_the_worker_that_served_last(desk: Any) -> None:
    pool = desk(ready=3, workers=3, hot=True)
    one, two = pool.lease(1), pool.lease(2)
    assert (one.worker_id, two.worker_id) == (3, 2)
    pool.leave(two)
    pool.leave(one)

    assert pool.lease(3).worker_id == 3


def test_without_an_idle_worker_a_ticket_waits_and_the_supervisor_looks_if_there_is_room(desk: Any) -> None:
    pool = desk(ready=1, workers=2)
    pool.lease(1)
    pool.plan()
    waiting = pool.enter(2)

    assert pool.core.attention
    assert (waiting.state, waiting.worker_id, pool.core.waiting) == (TicketState.WAITING, None, 1)


def test_at_full_size_nobody_is_bothered_by_a_new_waiter(desk: Any) -> None:
    pool = desk(ready=1, workers=1)
    pool.lease(1)
    pool.plan()
    pool.enter(2)

    assert not pool.core.attention


def test_a_deadline_before_the_next_look_wants_a_look_and_a_later_one_does_not(desk: Any) -> None:
    pool = desk(ready=3, workers=3)
    pool.lease(1)
    pool.plan()
    pool.lease(2, deadline_ns=pool.core.watch_ns)
    assert not pool.core.attention

    pool.lease(3, deadline_ns=pool.core.watch_ns - 1)
    assert pool.core.attention


def test_a_checkin_offers_the_worker_to_the_head_of_the_queue(desk: Any) -> None:
    pool = desk(ready=1, workers=1)
    holder, head, tail = pool.lease(1), pool.enter(2), pool.enter(3)

    assert pool.leave(holder) == [head]
    assert (head.state, head.worker_id) == (TicketState.OFFERED, 1)
    assert (tail.state, holder.state, holder.worker_id) == (TicketState.WAITING, TicketState.WITHDRAWN, None)
    pool.core.accept(head)
    assert head.state is TicketState.ACCEPTED


def test_waiters_are_served_in_the_order_of_their_arrival(desk: Any) -> None:
    pool = desk(ready=1, workers=1)
    holder = pool.lease(1)
    for call in range(2, 8):
        pool.enter(call)
    served = []
    for _ in range(6):
        (holder,) = pool.leave(holder)
        pool.core.accept(holder)
        served.append(holder.call)

    assert served == [2, 3, 4, 5, 6, 7]
    assert pool.leave(holder) == []


def test_a_newcomer_does_not_overtake_who_waits_for_a_worker_that_comes_back(desk: Any) -> None:
    pool = desk(ready=1, workers=1)
    holder, head = pool.lease(1), pool.enter(2)
    pool.leave(holder)

    newcomer = pool.enter(3)

    assert (head.state, newcomer.state) == (TicketState.OFFERED, TicketState.WAITING)


def test_a_call_that_comes_again_waits_at_its_old_place(desk: Any) -> None:
    pool = desk(ready=1, workers=1)
    unlucky, two, four = pool.lease(1), pool.enter(2), pool.enter(4)
    pool.exit(1)
    pool.leave(unlucky, clean=False)
    back = pool.enter(1, again=True)
    third = pool.enter(3, again=True)
    pool.end(1)

    served = []
    waiting = pool.start(2)
    while waiting:
        (holder,) = waiting
        served.append(holder)
        pool.core.accept(holder)
        waiting = pool.leave(holder)
    assert served == [back, two, third, four]


def test_a_full_queue_takes_a_call_that_comes_again(desk: Any) -> None:
    pool = desk(ready=1, workers=1, max_queue=1)
    pool.lease(1)
    pool.enter(3)

    assert pool.enter(2, again=True).state is TicketState.WAITING
    with pytest.raises(QueueFull):
        pool.enter(4)


def test_a_ticket_that_was_offered_nothing_cannot_be_accepted(desk: Any) -> None:
    pool = desk(ready=1, workers=1)
    pool.lease(1)
    waiting = pool.enter(2)

    with pytest.raises(AssertionError, match="cannot be accepted"):
        pool.core.accept(waiting)


def test_a_full_queue_refuses_the_next_and_keeps_those_who_wait(desk: Any) -> None:
    pool = desk(ready=1, workers=1, max_queue=1)
    holder, head, refused = pool.lease(1), pool.enter(2), Ticket(3)

    with pytest.raises(QueueFull, match="1 calls are waiting already"):
        pool.core.enter(refused, NOW_NS)

    assert refused.state is TicketState.REFUSED
    assert pool.leave(refused) == []
    assert pool.leave(holder) == [head]


def test_a_queue_of_no_places_still_gives_idle_workers(desk: Any) -> None:
    pool = desk(ready=1, workers=1, max_queue=0)

    pool.lease(1)
    with pytest.raises(QueueFull):
        pool.enter(2)


# Leaving.


def test_a_waiter_that_leaves_is_gone_from_the_queue_at_once(desk: Any) -> None:
    pool = desk(ready=1, workers=1, max_queue=1)
    holder, early = pool.lease(1), pool.enter(2)

    assert pool.leave(early) == []
    assert (early.state, pool.core.waiting) == (TicketState.WITHDRAWN, 0)
    late = pool.enter(3)
    assert pool.leave(holder) == [late]


def test_a_waiter_in_the_middle_that_leaves_costs_nobody_his_place(desk: Any) -> None:
    pool = desk(ready=1, workers=1)
    holder, head, gone, tail = pool.lease(1), pool.enter(2), pool.enter(3), pool.enter(4)
    pool.leave(gone)

    assert pool.leave(holder) == [head]
    assert pool.leave(head) == [tail]


def test_an_offer_that_is_withdrawn_goes_to_the_next_waiter_at_once(desk: Any) -> None:
    pool = desk(ready=1, workers=1)
    holder, gone, following = pool.lease(1), pool.enter(2), pool.enter(3)
    pool.leave(holder)
    assert gone.state is TicketState.OFFERED

    assert pool.leave(gone) == [following]
    assert (gone.state, gone.worker_id) == (TicketState.WITHDRAWN, None)
    assert pool.core.held == {1: following}


def test_an_offer_that_is_withdrawn_without_waiters_leaves_the_worker_idle_and_unused(desk: Any) -> None:
    pool = desk(ready=1, workers=1)
    holder, gone = pool.lease(1), pool.enter(2)
    pool.leave(holder)

    assert pool.leave(gone) == []
    assert pool.states() == {1: "idle"}
    assert pool.worker(1).served == 1, "nobody used it the second time"
    assert pool.lease(3).worker_id == 1


def test_leaving_twice_does_nothing(desk: Any) -> None:
    pool = desk(ready=1)
    holder = pool.lease(1)
    pool.leave(holder)

    assert pool.leave(holder, clean=False) == []
    assert pool.states() == {1: "idle"}
    assert pool.worker(1).served == 1


def test_a_late_leave_does_not_take_the_worker_from_who_has_it_now(desk: Any) -> None:
    pool = desk(ready=1, workers=1)
    holder, head = pool.lease(1), pool.enter(2)
    worker = holder.worker
    pool.leave(holder)
    holder.worker = worker

    assert pool.leave(holder, clean=False) == []
    assert pool.core.held == {1: head}
    assert (holder.worker, holder.state) == (None, TicketState.WITHDRAWN)
    assert pool.plan() == [("wake", 2), ("wake", 2)]


def test_a_dirty_worker_is_killed_and_never_given_again(desk: Any) -> None:
    pool = desk(ready=1, workers=1)

    assert pool.leave(pool.lease(1), clean=False) == []
    assert pool.states() == {1: "dying"}
    assert pool.enter(2).state is TicketState.WAITING
    (order,) = pool.core.plan(NOW_NS)
    assert (order.act, order.worker, order.reason) == ("kill", pool.worker(1), "dirty")


def test_a_clean_worker_that_is_left_for_a_reason_ends_too(desk: Any) -> None:
    pool = desk(ready=1, workers=1)
    pool.leave(pool.lease(1), reason="removed")

    (order,) = pool.core.plan(NOW_NS)
    assert (order.act, order.reason) == ("kill", "removed")


def test_a_broken_checkin_keeps_the_head_of_the_queue(desk: Any) -> None:
    pool = desk(ready=1, workers=1)
    holder, head, tail = pool.lease(1), pool.enter(2), pool.enter(3)
    assert pool.leave(holder, clean=False) == []
    assert ("start", None) not in pool.plan(), "the place is free only when the worker is released"
    pool.end(1)
    assert pool.plan() == [("start", None)]

    assert pool.start(2) == [head]
    assert tail.state is TicketState.WAITING


def test_a_broken_checkin_serves_the_next_waiter_from_an_idle_worker(desk: Any) -> None:
    pool = desk(ready=1, workers=1, overflow=1)
    holder, head = pool.lease(1), pool.enter(2)
    pool.core.started(2, NOW_NS)

    assert pool.leave(holder, clean=False) == []
    assert pool.core.ready(pool.worker(2), NOW_NS) == [head]
    assert pool.states() == {1: "dying", 2: "leased"}


# The pool's own leases.


def test_the_pool_leases_an_idle_worker_to_itself_and_puts_it_back_where_it_was(desk: Any) -> None:
    pool = desk(workers=3)
    for worker_id in (1, 2, 3):
        pool.start(worker_id, NOW_NS + worker_id)
    own, since_ns = Ticket(1), pool.worker(1).idle_since_ns
    assert pool.core.take(pool.worker(1), own)
    assert (own.state, own.worker_id, pool.states()[1]) == (TicketState.ACCEPTED, 1, "leased")

    assert pool.core.put_back(own, NOW_NS * 2, since_ns=since_ns) == []

    assert [worker.worker_id for worker in pool.core.idle_workers()] == [1, 2, 3]
    assert (pool.worker(1).served, pool.worker(1).idle_since_ns) == (0, since_ns)


def test_a_worker_that_is_not_idle_is_not_taken(desk: Any) -> None:
    pool = desk(ready=2)
    holder = pool.lease(1)
    own = Ticket(2)

    assert not pool.core.take(pool.worker(1), own)
    assert pool.core.held == {1: holder}
    pool.core.close()
    assert not pool.core.take(pool.worker(2), own)
    assert own.worker is None


def test_a_worker_that_is_put_back_goes_to_who_waits(desk: Any) -> None:
    pool = desk(ready=1, workers=1)
    own = Ticket(1)
    pool.core.take(pool.worker(1), own)
    waiting = pool.enter(2)

    assert pool.core.put_back(own, NOW_NS, since_ns=NOW_NS) == [waiting]
    assert pool.states() == {1: "leased"}


@pytest.mark.parametrize("how", ["dirty", "reason"])
def test_a_worker_that_is_put_back_dirty_or_for_a_reason_ends(desk: Any, how: str) -> None:
    pool = desk(ready=1, workers=1)
    own = Ticket(1)
    pool.core.take(pool.worker(1), own)
    pool.worker(1).dirty = how == "dirty"

    assert pool.core.put_back(own, NOW_NS, since_ns=NOW_NS, reason="stale" if how == "reason" else "") == []
    (order,) = pool.core.plan(NOW_NS)
    assert (order.act, order.reason) == ("kill", "dirty" if how == "dirty" else "stale")


def test_a_lease_of_the_pool_s_own_is_no_request(desk: Any) -> None:
    pool = desk(ready=1, workers=1, max_requests=1)
    own = Ticket(1)
    pool.core.take(pool.worker(1), own)
    pool.core.put_back(own, NOW_NS, since_ns=NOW_NS)

    assert pool.states() == {1: "idle"}, "a ping retires nobody"
    pool.leave(pool.lease(2))
    assert pool.states() == {1: "dying"}


def test_putting_back_what_was_taken_away_meanwhile_does_nothing(desk: Any) -> None:
    pool = desk(ready=1, workers=1)
    own = Ticket(1)
    pool.core.take(pool.worker(1), own)
    pool.core.abandon(own)

    assert pool.core.put_back(own, NOW_NS, since_ns=NOW_NS) == []
    assert pool.plan() == [("kill", 1)]
