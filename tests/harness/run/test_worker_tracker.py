"""The worker tracker: which workers are busy, by the workers' journals or else by the pool's events."""

from __future__ import annotations

from typing import Any

from poolproof.bridge import EventKind
from poolproof.harness.run.recording.worker_tracker import WorkerTracker


def test_the_worker_that_has_begun_first_is_the_busiest() -> None:
    roll = WorkerTracker()
    assert roll.busiest() is None
    for worker in (2, 1):
        roll.begin(100 + worker, worker)
    assert roll.busiest() == (102, 2)
    roll.end(102)
    assert roll.busiest() == (101, 1)
    assert (roll.busy(101), roll.busy(102)) == (True, False)
    assert roll.seen == {101, 102}


def test_events_tell_who_is_busy_where_no_journal_does(build: Any) -> None:
    roll = WorkerTracker()
    roll.observe(build.event(EventKind.SEND, 2, call=1, worker=1, pid=101))
    assert roll.busiest() == (101, 1)
    roll.observe(build.event(EventKind.RECEIVE, 3, call=1, worker=1, pid=101))
    assert roll.busiest() is None


def test_late_events_change_nothing_where_journals_tell(build: Any) -> None:
    roll = WorkerTracker()
    roll.journalled = True
    roll.begin(101, 1)
    for kind in (EventKind.SEND, EventKind.RECEIVE):  # of the call before, delivered when it was over
        roll.observe(build.event(kind, 0, call=1, worker=1, pid=101))
    assert roll.busy(101)
    roll.observe(build.event(EventKind.SEND, 0, call=2, worker=2, pid=102))
    assert not roll.busy(102)


def test_a_worker_that_was_ended_is_not_busy_but_was_seen(build: Any) -> None:
    roll = WorkerTracker()
    for kind in (EventKind.SPAWN, EventKind.READY, EventKind.SEND, EventKind.KILL, EventKind.REAP):
        roll.observe(build.event(kind, 0, worker=1, pid=101))
    roll.observe(build.event(EventKind.CLOSE, 1))
    assert (roll.busiest(), roll.seen) == (None, {101})
