"""The coordinator closes: who waits is refused, what is idle ends, what is leased goes on, whatever interrupts it."""

from __future__ import annotations

from typing import Any

import pytest

from poolproof.bridge import PoolClosed
from poolproof.bridge.lifecycle import WorkerState
from poolproof.pool_v2.core.sessions import Session
from poolproof.pool_v2.core.ticket import TicketState

NOW_NS = 1_000_000_000


def test_closing_refuses_waiters_retires_idle_kills_starting_and_lets_the_leased_go_on(desk: Any) -> None:
    pool, session = desk(ready=2, workers=3), Session("s")
    holder = pool.lease(1, session)
    pool.core.started(3, NOW_NS)
    waiting = pool.enter(2, session)
    assert pool.states() == {1: "leased", 2: "idle", 3: "starting"}

    assert pool.core.close() == [waiting]
    assert isinstance(waiting.error, PoolClosed)
    assert (waiting.state, holder.state) == (TicketState.REFUSED, TicketState.ACCEPTED)
    assert pool.plan() == [("retire", 2), ("kill", 3)]
    assert pool.leave(holder) == []
    assert pool.plan() == [("retire", 1)]
    assert (pool.core.close(), pool.plan()) == ([], [])


def test_a_closing_pool_starts_nothing_and_buries_only_once(desk: Any) -> None:
    pool = desk(ready=2, workers=2)
    pool.core.close()

    assert pool.plan() == [("retire", 1), ("retire", 2)]
    pool.end(1)
    assert (pool.plan(), pool.states()) == ([], {2: "dying"})


def test_a_closed_pool_takes_nobody_and_says_why(desk: Any) -> None:
    pool = desk(workers=2)
    pool.core.close()

    with pytest.raises(PoolClosed, match=r"pool 'p' is closed$"):
        pool.enter(1)
    pool.core.stop_reason = "a ping said so"
    with pytest.raises(PoolClosed, match="pool 'p' is closed: a ping said so"):
        pool.enter(2)
    assert pool.core.wanted_starts(NOW_NS) == 0


def test_the_rest_is_killed_leased_workers_included_but_no_dead_ones(desk: Any) -> None:
    pool = desk(ready=3, workers=3)
    holder, _ = pool.lease(1), pool.lease(2)
    pool.core.close()
    pool.exit(2)

    rest = pool.core.kill_rest()

    assert [(order.act, order.worker) for order in rest] == [("kill", pool.worker(1)), ("kill", pool.worker(3))]
    assert pool.core.state_of(pool.worker(1)) is WorkerState.LEASED
    assert pool.leave(holder, clean=False) == []


def test_a_close_that_was_interrupted_at_any_step_is_made_good_by_the_next(desk: Any, interrupt: Any) -> None:
    steps = 0
    came = True
    while came:
        pool = desk(ready=2, workers=3)
        holder, other = pool.lease(1), pool.lease(2)
        waiting = [pool.enter(call) for call in (3, 4)]
        pool.leave(other, clean=False)
        pool.start(3)
        woken = waiting[:1]
        came = interrupt(lambda pool=pool, woken=woken: woken.extend(pool.core.close()), steps)

        pool.core.close()

        assert waiting[0].state is TicketState.OFFERED
        assert (waiting[1].state, pool.core.waiting) == (TicketState.REFUSED, 0)
        assert isinstance(waiting[1].error, PoolClosed)
        pool.leave(holder)
        pool.leave(waiting[0])
        pool.core.suspect()
        pool.plan()
        assert set(pool.states().values()) == {"dying"}
        steps += 1
    assert steps > 10
