"""A history's lookups."""

from __future__ import annotations

from typing import Any

from poolproof.bridge import EventKind


def test_events_of_a_kind_come_in_order_of_time(build: Any) -> None:
    events = [build.event(EventKind.SPAWN, ms, worker=n) for n, ms in enumerate((30, 10, 20))]
    history = build.history(events=[*events, build.event(EventKind.REAP, 5)])
    assert [event.worker for event in history.events_by_kind[EventKind.SPAWN]] == [1, 2, 0]
    assert history.events_by_kind[EventKind.CLOSE] == ()


def test_journals_are_believed_before_the_wire(build: Any) -> None:
    journal = build.service(101, 1, 2, 3)
    history = build.history(build.op(0, call=1), events=build.lease(1, 1, 0, 9), services=[journal])
    assert history.intervals == (journal,)


def test_without_journals_the_time_between_send_and_receive_counts(build: Any) -> None:
    op = build.op(0, call=1, command="sleep")
    history = build.history(op, events=build.lease(1, 1, 0, 9))
    (interval,) = history.intervals
    assert (interval.start_ns, interval.end_ns) == (build.at(3), build.at(6))
    assert (interval.worker_id, interval.pid, interval.command, interval.nonce) == (1, 101, "sleep", op.nonce)
    assert interval.ok is True


def test_a_send_without_an_answer_is_an_interval_without_an_end(build: Any) -> None:
    history = build.history(events=[build.event(EventKind.SEND, 3, call=7, worker=1, pid=101)])
    (interval,) = history.intervals
    assert (interval.request_id, interval.end_ns, interval.ok) == (7, None, None)


def test_operations_are_found_by_label(build: Any) -> None:
    history = build.history(build.op(0, label="a"), build.op(1), build.op(2, label="a"))
    assert [op.index for op in history.labelled("a")] == [0, 2]
    assert history.labelled("b") == ()


def test_the_response_time_counts_from_the_intended_begin(build: Any) -> None:
    assert build.op(0, 100, 250, intended=50).response_s == 0.2
    assert build.op(0, 100, None).response_s is None


def test_a_journal_belongs_to_its_nonce_unless_the_pool_promises_its_request_ids(build: Any) -> None:
    # Both workers number their requests from 1, so the ids of the calls 1 and 2 mean nothing.
    services = [build.service(101, 1, 0, 9, nonce="1.0.0"), build.service(102, 1, 0, 9, nonce="1.0.1")]
    ops = [build.op(0, call=2, worker=1, pid=101), build.op(1, call=1, worker=2, pid=102)]
    history = build.history(*ops, services=services, info={"capabilities": ()})
    assert [history.services[row].nonce for row in history.serving] == ["1.0.0", "1.0.1"]
    promised = build.history(*ops, services=services)
    assert [row if row < 0 else promised.services[row].pid for row in promised.serving] == [-1, 102]
