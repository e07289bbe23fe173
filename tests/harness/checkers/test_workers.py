"""StableWorkers, Replaced, LiveBound and FaultLanded: how long workers live, and what was done to them."""

from __future__ import annotations

from typing import Any

import pytest

from poolproof.bridge import EventKind
from poolproof.harness.checkers import FaultLanded, LiveBound, Replaced, StableWorkers
from poolproof.harness.model.fault import FaultKind
from poolproof.harness.model.verdict import Verdict

SPAWN, KILL, REAP = EventKind.SPAWN, EventKind.KILL, EventKind.REAP


def test_workers_that_live_until_the_close_pass(build: Any) -> None:
    ops = (build.op(0, pid=101), build.op(1, pid=102), build.op(2, pid=101))
    events = [build.event(KILL, 101, worker=1), build.event(REAP, 102, worker=1)]
    assert StableWorkers().check(build.history(*ops, events=events, close_began=100)).verdict is Verdict.PASS


@pytest.mark.parametrize("kind", [KILL, REAP])
def test_a_worker_that_ended_before_the_close_fails(build: Any, kind: EventKind) -> None:
    events = [build.event(kind, 99, worker=1, detail="with its client")]
    found = StableWorkers().check(build.history(build.op(0, pid=101), events=events, close_began=100))
    assert found.verdict is Verdict.FAIL
    assert found.examples == ("worker 1 ended before the pool was closed: with its client",)


def test_more_processes_than_workers_fail(build: Any) -> None:
    ops = tuple(build.op(n, pid=100 + n) for n in range(3))
    found = StableWorkers().check(build.history(*ops, close_began=100))
    assert found.verdict is Verdict.FAIL
    assert found.claim == "3 processes served calls, but the pool has 2 workers"


def test_without_a_close_the_workers_end_is_unknown(build: Any) -> None:
    assert StableWorkers().check(build.history(build.op(0, pid=101))).verdict is Verdict.UNKNOWN


def victims(build: Any, later_pid: int) -> tuple[Any, Any]:
    return build.op(0, 0, 10, outcome="CallTimeout", label="slow", pid=101), build.op(1, 20, 30, pid=later_pid)


def test_a_worker_that_was_ended_and_never_served_again_is_replaced(build: Any) -> None:
    events = [build.event(KILL, 11, worker=1, pid=101)]
    history = build.history(*victims(build, 102), events=events, close_began=100)
    found = Replaced(label="slow").check(history)
    assert found.verdict is Verdict.PASS
    assert found.checker == "replaced:slow"


def test_a_worker_that_serves_again_fails(build: Any) -> None:
    events = [build.event(KILL, 11, worker=1, pid=101)]
    found = Replaced(label="slow").check(build.history(*victims(build, 101), events=events))
    assert found.verdict is Verdict.FAIL
    assert found.examples == ("process 101 served call 1 after call 0",)


def test_a_worker_that_only_the_close_ended_was_not_replaced(build: Any) -> None:
    events = [build.event(KILL, 110, worker=1, pid=101), build.event(REAP, 111, worker=1, pid=101)]
    history = build.history(*victims(build, 102), events=events, close_began=100)
    found = Replaced(label="slow").check(history)
    assert found.verdict is Verdict.FAIL
    assert found.examples == ("process 101 was still alive after call 0",)


def test_a_victim_without_a_known_worker_is_unknown(build: Any) -> None:
    assert Replaced(label="slow").check(build.history(build.op(0, label="slow"))).verdict is Verdict.UNKNOWN


def lives(build: Any, *spans: tuple[float, float | None]) -> list[Any]:
    events = []
    for worker, (spawned, reaped) in enumerate(spans):
        events.append(build.event(SPAWN, spawned, worker=worker))
        if reaped is not None:
            events.append(build.event(REAP, reaped, worker=worker))
    return events


def test_a_replacement_that_starts_as_its_predecessor_is_reaped_passes(build: Any) -> None:
    found = LiveBound().check(build.history(events=lives(build, (0, 50), (0, None), (50, None))))
    assert found.verdict is Verdict.PASS
    assert found.figures == {"max": 2, "limit": 2}


def test_a_replacement_that_starts_while_its_predecessor_lives_fails(build: Any) -> None:
    found = LiveBound().check(build.history(events=lives(build, (0, 50), (0, None), (49, None))))
    assert found.verdict is Verdict.FAIL
    assert found.claim == "3 workers lived at the same time; the limit is 2"


def test_the_limit_may_be_given(build: Any) -> None:
    history = build.history(events=lives(build, (0, None), (0, None), (0, None)))
    assert LiveBound(at_most=3).check(history).verdict is Verdict.PASS


def test_a_fault_that_landed_passes(build: Any) -> None:
    faults = [build.fault(FaultKind.KILL), build.fault(FaultKind.KILL, landed=False), build.fault(FaultKind.STOP)]
    found = FaultLanded(kinds=(FaultKind.KILL,)).check(build.history(faults=faults))
    assert found.verdict is Verdict.PASS
    assert found.figures == {"landed": 1}


def test_a_fault_that_never_landed_is_unknown_with_its_reason(build: Any) -> None:
    faults = [build.fault(FaultKind.KILL, landed=False, detail="its call was over already")]
    found = FaultLanded(kinds=(FaultKind.KILL,)).check(build.history(faults=faults))
    assert found.verdict is Verdict.UNKNOWN
    assert found.examples == ("kill: its call was over already",)


def test_every_kind_must_land(build: Any) -> None:
    checker = FaultLanded(kinds=(FaultKind.KILL, FaultKind.STOP))
    found = checker.check(build.history(faults=[build.fault(FaultKind.KILL)]))
    assert found.verdict is Verdict.UNKNOWN
    assert found.claim == "these kinds of faults were never in effect: stop"


@pytest.mark.parametrize(("count", "verdict"), [(2, Verdict.PASS), (3, Verdict.FAIL)])
def test_as_many_workers_as_the_limit_may_live_and_no_more(build: Any, count: int, verdict: Verdict) -> None:
    history = build.history(events=lives(build, *((0, None) for _ in range(count))), info={"workers": 1})
    assert LiveBound(at_most=2).check(history).verdict is verdict
    usual = build.history(events=lives(build, *((0, None) for _ in range(count))))
    assert LiveBound().check(usual).verdict is verdict


@pytest.mark.parametrize(("count", "verdict"), [(2, Verdict.PASS), (3, Verdict.FAIL)])
def test_as_many_processes_as_workers_may_serve_and_no_more(build: Any, count: int, verdict: Verdict) -> None:
    ops = [build.op(n, pid=100 + n) for n in range(count)]
    for observed in (True, False):
        found = StableWorkers().check(build.history(*ops, close_began=100, info={"observed": observed}))
        assert found.verdict is verdict


def test_a_victim_of_a_run_without_an_observer_need_only_serve_no_more(build: Any) -> None:
    for later_pid, verdict in ((102, Verdict.PASS), (101, Verdict.FAIL)):
        history = build.history(*victims(build, later_pid), close_began=100, info={"observed": False})
        assert Replaced(label="slow").check(history).verdict is verdict


def test_what_a_victim_served_before_is_no_later_call(build: Any) -> None:
    before = build.op(0, 0, 10, pid=101)
    victim = build.op(1, 20, 30, outcome="CallTimeout", label="slow", pid=101)
    events = [build.event(KILL, 31, worker=1, pid=101)]
    history = build.history(before, victim, events=events, close_began=100)
    assert Replaced(label="slow").check(history).verdict is Verdict.PASS


def test_a_worker_that_nobody_saw_serve_or_start_is_unknown(build: Any) -> None:
    assert StableWorkers().check(build.history(build.op(0), close_began=100)).verdict is Verdict.UNKNOWN
    assert LiveBound().check(build.history(build.op(0))).verdict is Verdict.UNKNOWN
