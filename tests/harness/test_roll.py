"""The roll of workers: who lives and who is busy, by the pool's events."""

from __future__ import annotations

from typing import Any

from bridge import EventKind
from harness.roll import Roll


def test_the_worker_that_was_sent_to_first_is_the_busiest(build: Any) -> None:
    roll = Roll()
    assert roll.busiest() is None
    for worker in (1, 2):
        roll.observe(build.event(EventKind.SPAWN, 0, worker=worker, pid=100 + worker))
        roll.observe(build.event(EventKind.READY, 1, worker=worker, pid=100 + worker))
    for worker in (2, 1):
        roll.observe(build.event(EventKind.SEND, 2, call=worker, worker=worker, pid=100 + worker))
    assert roll.busiest() == (102, 2)
    roll.observe(build.event(EventKind.RECEIVE, 3, call=2, worker=2, pid=102))
    assert roll.busiest() == (101, 1)
    assert (roll.busy(101), roll.busy(102)) == (True, False)
    assert roll.ready == 2


def test_a_worker_that_was_ended_is_neither_ready_nor_busy_but_was_seen(build: Any) -> None:
    roll = Roll()
    for kind in (EventKind.SPAWN, EventKind.READY, EventKind.SEND, EventKind.KILL, EventKind.REAP):
        roll.observe(build.event(kind, 0, worker=1, pid=101))
    roll.observe(build.event(EventKind.CLOSE, 1))
    assert (roll.busiest(), roll.ready, roll.seen) == (None, 0, {101})
