"""Overlap and ParallelStart: workers work, and start, side by side."""

from __future__ import annotations

from typing import Any

from poolproof.bridge import EventKind
from poolproof.harness.checkers import Overlap, ParallelStart
from poolproof.harness.model.verdict import Verdict


def test_all_workers_at_once_pass(build: Any) -> None:
    services = [build.service(101, 1, 0, 50), build.service(102, 2, 40, 90)]
    found = Overlap().check(build.history(services=services))
    assert found.verdict is Verdict.PASS
    assert found.figures == {"max": 2, "mean": 1.111, "workers": 2}


def test_a_serial_pool_fails_though_its_intervals_touch(build: Any) -> None:
    services = [build.service(101, 1, 0, 50), build.service(102, 2, 50, 100), build.service(101, 3, 100, 150)]
    found = Overlap().check(build.history(services=services))
    assert found.verdict is Verdict.FAIL
    assert found.claim == "at most 1 of 2 workers were at work at the same time"


def test_the_wanted_degree_may_be_given(build: Any) -> None:
    services = [build.service(101, 1, 0, 50), build.service(102, 2, 10, 60)]
    history = build.history(services=services, info={"workers": 8})
    assert Overlap(at_least=2).check(history).verdict is Verdict.PASS
    assert Overlap(at_least=3).check(history).verdict is Verdict.FAIL


def test_nothing_is_decided_where_the_clients_never_had_so_many_calls_under_way(build: Any) -> None:
    services = [build.service(101, 1, 0, 50), build.service(102, 2, 60, 100)]
    one_after_another = [build.op(0, 0, 55), build.op(1, 56, 110)]
    found = Overlap().check(build.history(*one_after_another, services=services))
    assert found.verdict is Verdict.UNKNOWN
    assert (
        found.claim == "the clients had at most 1 calls under way at the same time, too few to keep 2 workers at work"
    )
    at_once = [build.op(0, 0, 55), build.op(1, 1, 110)]
    assert Overlap().check(build.history(*at_once, services=services)).verdict is Verdict.FAIL
    unanswered = [build.op(0, 0, None), build.op(1, 1, 110)]
    assert Overlap().check(build.history(*unanswered, services=services)).verdict is Verdict.FAIL


def test_more_than_may_be_at_once_fails(build: Any) -> None:
    services = [build.service(101, 1, 0, 50), build.service(102, 2, 10, 60)]
    history = build.history(services=services)
    assert Overlap(at_least=1, at_most=1).check(history).verdict is Verdict.FAIL
    assert Overlap(at_least=1, at_most=2).check(history).verdict is Verdict.PASS


def test_without_journals_the_wire_tells(build: Any) -> None:
    side_by_side = [*build.lease(1, 1, 0, 30), *build.lease(2, 2, 5, 35)]
    in_turn = [*build.lease(1, 1, 0, 30), *build.lease(2, 2, 30, 60)]
    assert Overlap().check(build.history(events=side_by_side)).verdict is Verdict.PASS
    assert Overlap().check(build.history(events=in_turn)).verdict is Verdict.FAIL


def starts(build: Any, *times: tuple[float, float | None]) -> list[Any]:
    events = []
    for worker, (spawned, ready) in enumerate(times):
        events.append(build.event(EventKind.SPAWN, spawned, worker=worker, pid=100 + worker))
        if ready is not None:
            events.append(build.event(EventKind.READY, ready, worker=worker, pid=100 + worker))
    return events


def test_workers_that_start_side_by_side_pass(build: Any) -> None:
    found = ParallelStart(at_least=2).check(build.history(events=starts(build, (0, 100), (1, 101))))
    assert found.verdict is Verdict.PASS
    assert found.figures == {"max": 2, "started": 2}


def test_workers_that_start_one_by_one_fail(build: Any) -> None:
    found = ParallelStart(at_least=2).check(build.history(events=starts(build, (0, 100), (100, 200))))
    assert found.verdict is Verdict.FAIL


def test_a_worker_that_never_was_ready_tells_nothing(build: Any) -> None:
    assert ParallelStart().check(build.history(events=starts(build, (0, None)))).verdict is Verdict.UNKNOWN


def test_two_workers_that_start_at_once_are_enough_if_nothing_else_is_said(build: Any) -> None:
    for second, verdict in ((50, Verdict.PASS), (150, Verdict.FAIL)):
        events = starts(build, (0, 100), (second, 200), (300, 400))
        assert ParallelStart().check(build.history(events=events)).verdict is verdict


def test_a_start_lasts_until_the_worker_is_ready_or_ended_or_the_pool_closes(build: Any) -> None:
    for kind in (EventKind.KILL, EventKind.REAP):
        events = [*starts(build, (0, None), (50, 90)), build.event(kind, 40, worker=0)]
        assert ParallelStart().check(build.history(events=events)).verdict is Verdict.FAIL
        later = [*starts(build, (0, None), (50, 90)), build.event(kind, 60, worker=0)]
        assert ParallelStart().check(build.history(events=later)).verdict is Verdict.PASS
    found = ParallelStart().check(build.history(events=starts(build, (0, None), (50, None)), close_began=900))
    assert found.verdict is Verdict.PASS
