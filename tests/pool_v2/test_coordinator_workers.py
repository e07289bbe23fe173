"""The coordinator and its workers, each rule with a literal case: starts, replacement, the circuit."""

from __future__ import annotations

from typing import Any

import pytest

from poolproof.bridge import CircuitOpen
from poolproof.pool_v2.core.sessions import Session
from poolproof.pool_v2.core.ticket import Ticket, TicketState

NOW_NS = 1_000_000_000
RESET_NS = 2_000_000_000
START = ("start", None)

# Starting and replacing.


def test_an_eager_pool_wants_all_its_workers_at_once_and_a_lazy_one_none(desk: Any) -> None:
    assert desk(workers=3).plan() == [START] * 3
    assert desk(workers=3, floor=0).plan() == []


def test_a_lazy_pool_starts_one_worker_for_each_waiter_that_none_is_starting_for(desk: Any) -> None:
    pool = desk(workers=3, floor=0)
    pool.enter(1)
    assert pool.plan() == [START]
    pool.core.started(1, NOW_NS)
    assert pool.plan() == []
    pool.enter(2)
    assert pool.plan() == [START]


def test_a_lazy_pool_reuses_its_worker_for_calls_one_after_another(desk: Any) -> None:
    pool = desk(workers=3, floor=0)
    first = pool.enter(1)
    assert pool.start(1) == [first]
    pool.leave(first)

    assert pool.lease(2).worker_id == 1
    assert pool.plan() == []


def test_an_idle_worker_that_a_session_may_not_have_spares_another_start(desk: Any) -> None:
    pool, session = desk(ready=1, workers=2, floor=0), Session("s")
    pool.leave(pool.lease(1, session))
    pool.lease(2)
    pool.enter(3, session)
    pool.enter(4)

    assert pool.plan() == [START], "for call 4 only"


def test_a_floor_that_is_raised_is_reached(desk: Any) -> None:
    pool = desk(workers=3, floor=0)
    pool.core.floor = 2

    assert pool.plan() == [START] * 2


def test_no_more_workers_are_wanted_than_the_pool_may_have(desk: Any) -> None:
    pool = desk(ready=2, workers=2, overflow=1)
    for call in range(1, 7):
        pool.enter(call)

    assert pool.plan() == [START]
    pool.core.started(3, NOW_NS)
    assert pool.plan() == []


def test_a_worker_above_the_size_leaves_when_nobody_waits(desk: Any) -> None:
    pool = desk(ready=1, workers=1, overflow=1)
    one, two = pool.lease(1), pool.enter(2)
    pool.start(2)

    assert pool.leave(two) == []
    assert pool.plan() == [("retire", 2)]
    pool.end(2)
    assert pool.leave(one) == []
    assert (pool.plan(), pool.states()) == ([], {1: "idle"})


def test_a_worker_above_the_size_stays_as_long_as_somebody_waits(desk: Any) -> None:
    pool = desk(ready=1, workers=1, overflow=1)
    pool.lease(1)
    two, three = pool.enter(2), pool.enter(3)
    pool.start(2)

    assert pool.leave(two) == [three]
    assert pool.states() == {1: "leased", 2: "leased"}


def test_a_dying_worker_is_no_reason_to_retire_another(desk: Any) -> None:
    pool = desk(ready=1, workers=1, overflow=1)
    one, two = pool.lease(1), pool.enter(2)
    pool.start(2)
    pool.leave(one, clean=False)

    assert pool.leave(two) == []
    assert pool.states() == {1: "dying", 2: "idle"}


def test_a_worker_above_the_size_that_comes_too_late_for_its_waiter_leaves(desk: Any) -> None:
    pool = desk(ready=1, workers=1, overflow=1)
    pool.lease(1)
    impatient = pool.enter(2)
    late = pool.core.started(2, NOW_NS)
    pool.leave(impatient)

    assert pool.core.ready(late, NOW_NS) == []
    assert ("retire", 2) in pool.plan()
    assert pool.states() == {1: "leased", 2: "dying"}


def test_a_dead_idle_worker_is_buried_and_replaced(desk: Any) -> None:
    pool = desk(ready=2, workers=2)
    pool.leave(pool.lease(1))  # a worker that has served a call may end at any time

    assert pool.exit(1) == []
    assert pool.states() == {1: "dying", 2: "idle"}
    assert pool.plan() == [START, ("release", 1)]  # whoever waits need not wait for the burial
    pool.core.released(pool.worker(1))
    assert pool.core.attention
    assert pool.plan() == [START]


def test_a_dead_leased_worker_is_buried_only_after_its_holder_has_left(desk: Any) -> None:
    pool = desk(ready=1, workers=1)
    holder = pool.lease(1)

    assert pool.exit(1) == []
    assert pool.worker(1).exited
    assert (pool.plan(), pool.core.ready_workers) == ([], 0)
    assert pool.leave(holder) == []
    assert pool.states() == {1: "dying"}
    assert pool.plan() == [START, ("release", 1)]


def test_only_living_ready_workers_count_as_ready(desk: Any) -> None:
    pool = desk(ready=2, workers=3)
    pool.core.started(3, NOW_NS)
    pool.lease(1)

    assert pool.core.ready_workers == 2


def test_news_of_a_start_that_was_given_up_changes_nothing(desk: Any) -> None:
    pool = desk(workers=1)
    worker = pool.core.started(1, NOW_NS)
    pool.core.start_failed(worker, "mute", 0)

    assert pool.core.ready(worker, NOW_NS) == []
    assert pool.core.start_failed(worker, "mute", 0) == []
    assert pool.states() == {1: "dying"}


def test_a_worker_moves_only_along_its_table(desk: Any) -> None:
    pool = desk(ready=1)

    with pytest.raises(ValueError, match="a worker that is idle cannot make the transition release"):
        pool.core.released(pool.worker(1))


def test_a_condemned_idle_worker_ends_now_and_a_leased_one_when_its_client_leaves(desk: Any) -> None:
    pool = desk(ready=2)
    holder = pool.lease(1)
    pool.core.retire(pool.worker(1), "heavy")
    pool.core.retire(pool.worker(2), "heavy")

    assert pool.plan() == [("kill", 2)]
    assert not pool.worker(1).usable
    pool.leave(holder)
    assert pool.plan() == [("retire", 1)]


# Starts that an init hook prolongs.


def test_a_starting_worker_that_its_init_hook_uses_is_given_to_nobody(desk: Any) -> None:
    pool = desk(workers=1)
    worker, own = pool.core.started(1, NOW_NS), Ticket(1, deadline_ns=NOW_NS * 9)
    own.state = TicketState.ACCEPTED
    pool.core.hold_start(worker, own)
    waiting = pool.enter(2)
    assert (pool.states(), waiting.state) == ({1: "starting"}, TicketState.WAITING)

    pool.core.release_start(worker, own)

    assert (own.worker, pool.core.held) == (None, {})
    assert pool.core.ready(worker, NOW_NS) == [waiting]


def test_an_init_hook_past_its_deadline_costs_its_worker(desk: Any) -> None:
    pool = desk(workers=1)
    worker, own = pool.core.started(1, NOW_NS), Ticket(1, deadline_ns=NOW_NS * 2)
    own.state = TicketState.ACCEPTED
    pool.core.hold_start(worker, own)
    waiting = pool.enter(2)

    assert pool.plan(NOW_NS * 2) == [("cut_off", 1)]
    pool.core.release_start(worker, own)
    assert pool.core.ready(worker, NOW_NS * 2) == []
    assert waiting.state is TicketState.WAITING
    assert pool.states() == {1: "dying"}


def test_a_worker_that_dies_under_its_init_hook_is_never_ready(desk: Any) -> None:
    pool = desk(workers=1)
    worker, own = pool.core.started(1, NOW_NS), Ticket(1)
    own.state = TicketState.ACCEPTED
    pool.core.hold_start(worker, own)
    waiting = pool.enter(2)
    pool.exit(1)
    pool.core.release_start(worker, own)

    assert pool.core.ready(worker, NOW_NS) == []
    assert waiting.state is TicketState.WAITING
    assert pool.plan() == [("release", 1)]
    pool.core.released(worker)
    assert pool.plan(NOW_NS) == [], "it backs off, as after any failed start"
    assert pool.plan(NOW_NS + 50_000_000) == [START]


def test_a_worker_whose_init_hook_ends_after_the_close_leaves_at_once(desk: Any) -> None:
    pool = desk(workers=1)
    worker, own = pool.core.started(1, NOW_NS), Ticket(1)
    own.state = TicketState.ACCEPTED
    pool.core.hold_start(worker, own)
    pool.core.close()
    pool.core.release_start(worker, own)

    assert pool.core.ready(worker, NOW_NS) == []
    assert pool.plan() == [("kill", 1)]
    assert not pool.core.circuit.tripped


def test_releasing_a_start_that_was_taken_away_leaves_the_others_alone(desk: Any) -> None:
    pool = desk(workers=1)
    worker, own = pool.core.started(1, NOW_NS), Ticket(1)
    pool.core.hold_start(worker, own)
    pool.core.abandon(own)

    pool.core.release_start(worker, own)

    assert pool.core.ready(worker, NOW_NS) == []
    assert pool.plan() == [("kill", 1)]


# The circuit.


def test_a_failed_start_backs_off_and_waiters_keep_their_places(desk: Any) -> None:
    pool = desk(workers=1, failures_to_open=5)
    head = pool.enter(1)

    assert pool.core.start_failed(pool.core.started(1, NOW_NS), "mute", NOW_NS) == []
    assert pool.plan() == [("kill", 1)]
    pool.end(1)
    assert (head.state, pool.plan()) == (TicketState.WAITING, [])
    assert pool.core.watch_ns == NOW_NS + 50_000_000
    assert pool.plan(NOW_NS + 50_000_000) == [START]
    assert pool.start(2) == [head]


def test_a_start_that_succeeds_ends_the_back_off_of_the_others_at_once(desk: Any) -> None:
    pool = desk(workers=2, failures_to_open=5)
    lucky, unlucky = pool.core.started(1, NOW_NS), pool.core.started(2, NOW_NS)
    pool.core.start_failed(unlucky, "mute", NOW_NS)
    pool.end(2)
    assert pool.plan() == []

    pool.core.ready(lucky, NOW_NS)

    assert pool.core.attention
    assert pool.plan() == [START]


def failed_starts(pool: Any, first: int, count: int, *, now_ns: int = NOW_NS) -> list[Ticket]:
    woken: list[Ticket] = []
    for worker_id in range(first, first + count):
        woken += pool.core.start_failed(pool.core.started(worker_id, now_ns), "mute", now_ns)
        pool.end(worker_id, now_ns)
    return woken


def test_an_open_circuit_refuses_who_waits_and_who_comes(desk: Any) -> None:
    pool = desk(workers=1)
    waiting = pool.enter(1)

    assert failed_starts(pool, 1, 2) == [waiting]
    assert waiting.state is TicketState.REFUSED
    assert isinstance(waiting.error, CircuitOpen)
    assert "mute" in str(waiting.error)
    refused = Ticket(2)
    with pytest.raises(CircuitOpen, match="too many workers failed to start; the last error: mute"):
        pool.core.enter(refused, NOW_NS + RESET_NS - 1)
    assert (refused.state, pool.core.waiting) == (TicketState.REFUSED, 0)


def test_after_its_time_an_open_circuit_lets_a_call_wait_for_the_probe(desk: Any) -> None:
    pool = desk(workers=3)
    failed_starts(pool, 1, 2)
    waiting = pool.enter(1, now_ns=NOW_NS + RESET_NS)

    assert pool.plan(NOW_NS + RESET_NS) == [START]
    assert pool.start(3) == [waiting]
    pool.core.accept(waiting)
    assert pool.plan(NOW_NS + RESET_NS) == [START] * 2


def test_a_probe_that_fails_refuses_who_waited_for_it(desk: Any) -> None:
    pool = desk(workers=1)
    failed_starts(pool, 1, 2)
    later = NOW_NS + RESET_NS
    waiting = pool.enter(1, now_ns=later)

    assert failed_starts(pool, 3, 1, now_ns=later) == [waiting]
    with pytest.raises(CircuitOpen):
        pool.enter(2, now_ns=later)


def test_an_open_circuit_refuses_nobody_while_a_worker_serves(desk: Any) -> None:
    pool = desk(ready=1, workers=2)
    holder, waiting = pool.lease(1), pool.enter(2)

    assert failed_starts(pool, 2, 2) == []
    assert pool.enter(3).state is TicketState.WAITING
    assert pool.leave(holder) == [waiting]
