"""The coordinator replaces workers by age and use, lets an idle pool shrink, and has idle workers pinged."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from poolproof.pool_v2.core.actions import HEARTBEAT_NS
from poolproof.pool_v2.core.sessions import Session
from poolproof.pool_v2.core.ticket import Ticket
from poolproof.pool_v2.core.worker_table import NEVER_NS, age_limit_ns

S = 1_000_000_000


def idle(pool: Any) -> list[int]:
    return [worker.worker_id for worker in pool.core.idle_workers()]


# Requests.


def test_a_worker_that_has_served_its_requests_is_retired_between_leases(desk: Any) -> None:
    pool = desk(ready=1, workers=1, max_requests=2)
    pool.leave(pool.lease(1))
    assert pool.states() == {1: "idle"}

    assert pool.leave(pool.lease(2)) == []
    assert pool.plan() == [("retire", 1)]
    pool.end(1)
    assert pool.plan() == [("start", None)]


def test_a_spent_worker_is_retired_though_somebody_waits(desk: Any) -> None:
    pool = desk(ready=1, workers=1, max_requests=1)
    holder, head = pool.lease(1), pool.enter(2)

    assert pool.leave(holder) == []
    pool.end(1)
    assert pool.start(2) == [head]


def test_no_worker_serves_more_than_its_limit_and_not_all_end_together(desk: Any) -> None:
    pool = desk(ready=4, workers=4, max_requests=40)
    served: Counter[int] = Counter()
    for call in range(200):
        if not idle(pool):
            break
        ticket = pool.lease(call)
        served[ticket.worker_id] += 1
        pool.leave(ticket)

    assert max(served.values()) <= 40
    assert min(served.values()) >= 30, "at most a quarter is given up"
    assert len(set(served.values())) == 4


# Age.


def test_old_workers_are_retired_one_at_a_time_and_the_next_when_the_new_one_serves(desk: Any) -> None:
    pool = desk(ready=3, workers=3, max_age_ns=10 * S)
    now_ns = 20 * S

    assert pool.plan(now_ns) == [("retire", 1)]
    assert pool.plan(now_ns) == []
    pool.exit(1, now_ns)
    assert pool.plan(now_ns) == [("start", None), ("release", 1)]
    pool.core.released(pool.worker(1))
    assert pool.plan(now_ns) == [("start", None)]
    young = pool.core.started(4, now_ns)
    assert pool.plan(now_ns) == [], "worker 4 does not serve yet"
    assert pool.core.watch_ns == now_ns + HEARTBEAT_NS
    pool.core.ready(young, now_ns)
    assert pool.plan(now_ns) == [("retire", 2)]


def test_an_old_worker_ends_only_between_leases(desk: Any) -> None:
    pool = desk(ready=1, workers=1, max_age_ns=10 * S)
    holder = pool.lease(1)

    assert pool.plan(20 * S) == []
    pool.leave(holder, 20 * S)
    assert pool.plan(20 * S) == [("retire", 1)]


def test_a_worker_is_looked_at_when_it_becomes_old_and_not_retired_before(desk: Any) -> None:
    pool = desk(ready=2, max_age_ns=10 * S)
    old = {worker_id: S + age_limit_ns(pool.core.limits, worker_id) for worker_id in (1, 2)}
    first = min(old, key=lambda worker_id: old[worker_id])

    assert pool.plan(old[first] - 1) == []
    assert pool.core.watch_ns == old[first]
    assert pool.plan(old[first]) == [("retire", first)]
    assert old[1] != old[2], "those of one birth do not end at once"


def test_the_only_worker_of_a_pool_is_recycled_too(desk: Any) -> None:
    pool = desk(ready=1, workers=1, max_age_ns=10 * S)

    assert pool.plan(20 * S) == [("retire", 1)]


# Shrinking.


def test_workers_above_the_size_that_became_idle_while_a_call_waited_go_when_none_waits(desk: Any) -> None:
    pool, session = desk(ready=1, workers=1, overflow=2), Session("s")
    first, second, third = pool.lease(1), pool.enter(2), pool.enter(3, session)
    pool.start(2)
    pool.start(3)
    waiting = pool.enter(4, session)
    pool.leave(first)
    pool.leave(second)
    assert third.worker_id == 3
    assert [order for order in pool.plan() if order[0] == "retire"] == [], "a call waits"

    pool.leave(waiting)
    assert [order for order in pool.plan() if order[0] == "retire"] == [("retire", 1), ("retire", 2)]


def test_a_worker_that_has_ended_in_its_lease_is_none_above_the_size(desk: Any) -> None:
    pool = desk(ready=2, workers=2, overflow=1)
    first = pool.lease(1)
    pool.lease(2)
    pool.enter(3)
    pool.start(3)
    pool.exit(2)
    pool.leave(first)

    assert idle(pool) == [1], "with worker 3 it makes two"


def test_an_idle_pool_shrinks_to_its_floor_and_no_further(desk: Any) -> None:
    pool = desk(ready=4, workers=4, floor=2, idle_timeout_ns=5 * S)

    assert pool.plan(6 * S - 1) == []
    assert pool.core.watch_ns == 6 * S
    assert pool.plan(6 * S) == [("retire", 1), ("retire", 2)]
    assert pool.plan(60 * S) == [("kill", 1), ("kill", 2)], "they did not go"
    pool.end(1)
    pool.end(2)
    assert (pool.plan(60 * S), idle(pool)) == ([], [3, 4])
    assert pool.core.watch_ns == NEVER_NS


def test_only_workers_that_were_idle_for_long_enough_leave(desk: Any) -> None:
    pool = desk(ready=3, workers=3, floor=0, idle_timeout_ns=5 * S)
    pool.leave(pool.lease(1), 4 * S)

    assert pool.plan(6 * S) == [("retire", 2), ("retire", 3)]
    assert pool.core.watch_ns == 8 * S, "the end of the grace"
    assert ("retire", 1) in pool.plan(9 * S)


def test_a_pool_with_waiters_does_not_shrink(desk: Any) -> None:
    pool = desk(ready=2, workers=2, floor=0, idle_timeout_ns=5 * S)
    session = pool.core.sessions.begin("s", 1)
    pool.lease(1, session)
    pool.enter(2, session)

    assert pool.plan(60 * S) == []


def test_shrinking_and_recycling_together_never_go_below_the_floor(desk: Any) -> None:
    pool = desk(ready=2, workers=2, floor=1, idle_timeout_ns=5 * S, max_age_ns=10 * S)

    assert pool.plan(20 * S) == [("retire", 1)]
    assert idle(pool) == [2]


def test_a_worker_that_shrinks_away_keeps_an_old_one_from_being_recycled_at_once(desk: Any) -> None:
    pool = desk(workers=2, floor=1, idle_timeout_ns=5 * S, max_age_ns=100 * S)
    pool.start(1, 90 * S)
    pool.start(2, S)
    pool.worker(2).idle_since_ns = 99 * S

    assert pool.plan(120 * S) == [("retire", 1)], "worker 2 is old, but the last"
    assert idle(pool) == [2]


def test_a_closing_pool_neither_shrinks_nor_pings(desk: Any) -> None:
    pool = desk(ready=2, floor=0, idle_timeout_ns=S, ping_interval_ns=S, max_age_ns=S)
    pool.core.close()

    assert pool.plan(60 * S) == [("retire", 1), ("retire", 2)]


def test_recycling_two_old_workers_leaves_the_pool_one_that_serves_at_every_moment(desk: Any) -> None:
    pool = desk(ready=2, max_age_ns=10 * S)
    now_ns, next_id = 20 * S, 3
    retired = []
    for _ in range(20):
        orders = pool.plan(now_ns)
        retired += [worker_id for act, worker_id in orders if act == "retire"]
        assert pool.core.ready_workers >= 1
        for act, worker_id in orders:
            if act == "start":
                pool.start(next_id, now_ns)
                next_id += 1
            elif act == "retire":
                pool.exit(worker_id, now_ns)
            elif act == "release":
                pool.core.released(pool.worker(worker_id))

    assert retired == [1, 2]
    assert idle(pool) == [3, 4]


# Pings.


@pytest.mark.parametrize("most", [1, 2, 3])
def test_a_plan_pings_at_most_so_many_workers_in_the_order_in_which_they_became_idle(desk: Any, most: int) -> None:
    pool = desk(ready=3, workers=3, ping_interval_ns=5 * S, max_idle_pings=most)

    assert pool.plan(6 * S) == [("ping", worker_id) for worker_id in (1, 2, 3)][:most]
    assert idle(pool) == [1, 2, 3]
    pinged = pool.plan(6 * S) + pool.plan(6 * S)
    assert sorted(pinged) == [("ping", worker_id) for worker_id in (1, 2, 3)][most:]


def test_only_workers_that_have_been_idle_for_the_interval_are_pinged(desk: Any) -> None:
    pool = desk(ready=2, ping_interval_ns=5 * S, max_idle_pings=9)
    pool.leave(pool.lease(1), 4 * S)

    assert pool.plan(5 * S) == []
    assert pool.core.watch_ns == 6 * S
    assert pool.plan(6 * S - 1) == []
    assert pool.plan(6 * S) == [("ping", 2)]
    assert pool.core.watch_ns == 9 * S
    assert pool.plan(9 * S - 1) == []
    assert pool.plan(9 * S) == [("ping", 1)]
    assert pool.plan(11 * S) == [("ping", 2)], "and again after the interval"


def test_a_leased_worker_is_not_pinged(desk: Any) -> None:
    pool = desk(ready=1, workers=1, ping_interval_ns=5 * S)
    pool.lease(1)

    assert pool.plan(60 * S) == []


def test_a_cycle_of_pings_leaves_the_idle_as_they_were(desk: Any) -> None:
    pool = desk(workers=3, floor=0, ping_interval_ns=5 * S, max_idle_pings=3, max_requests=1)
    for worker_id in (1, 2, 3):
        pool.start(worker_id, S + worker_id)
    since = {worker_id: pool.worker(worker_id).idle_since_ns for worker_id in (1, 2, 3)}

    for call, (act, worker_id) in enumerate(pool.plan(7 * S)):
        assert act == "ping"
        own = Ticket(call)
        assert pool.core.take(pool.worker(worker_id), own)
        assert pool.core.put_back(own, 7 * S, since_ns=since[worker_id]) == []

    assert idle(pool) == [1, 2, 3]
    assert {worker_id: pool.worker(worker_id).idle_since_ns for worker_id in (1, 2, 3)} == since
    assert [pool.worker(worker_id).served for worker_id in (1, 2, 3)] == [0, 0, 0]
    assert pool.plan(7 * S) == []


def test_pings_do_not_keep_an_idle_pool_from_shrinking(desk: Any) -> None:
    pool = desk(ready=1, workers=1, floor=0, ping_interval_ns=4 * S, idle_timeout_ns=6 * S)
    assert pool.plan(5 * S) == [("ping", 1)]
    own = Ticket(1)
    pool.core.take(pool.worker(1), own)
    pool.core.put_back(own, 5 * S, since_ns=S)

    assert pool.plan(7 * S) == [("retire", 1)]
