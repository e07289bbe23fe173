"""The figures after a fault: first answer, full size, calls lost."""

from __future__ import annotations

from typing import Any

from poolproof.bridge import EventKind
from poolproof.harness.checkers import Recovered
from poolproof.harness.history.history import History
from poolproof.harness.history.recovery import Recovery, recoveries
from poolproof.harness.model.fault import FaultKind, FaultRecord
from poolproof.harness.model.verdict import Verdict


def struck(build: Any, *, back: float | None = 400, answered: float | None = 250) -> History:
    """Two workers, of which the first is killed at 100 ms and replaced by the third."""
    events = [
        build.event(EventKind.READY, 0, worker=1),
        build.event(EventKind.READY, 0, worker=2),
        build.event(EventKind.REAP, 110, worker=1),
    ]
    if back is not None:
        events.append(build.event(EventKind.READY, back, worker=3))
    ops = [
        build.op(0, 50, 105, outcome="WorkerCrashed"),
        build.op(1, 60, 120),
        build.op(2, 0, 40, outcome="WorkerCrashed"),
    ]
    if answered is not None:
        ops.append(build.op(3, 130, answered))
    fault = FaultRecord(kind=FaultKind.KILL, at_ns=build.at(100), landed=True, worker=1)
    missed = FaultRecord(kind=FaultKind.STOP, at_ns=build.at(100), landed=False)
    return build.history(*ops, events=events, faults=[fault, missed], close_began=900)


def test_the_figures_of_one_fault(build: Any) -> None:
    assert recoveries(struck(build)) == (
        Recovery(kind=FaultKind.KILL, at_ns=build.at(100), first_ok_s=0.15, full_size_s=0.3, lost=1),
    )


def test_what_never_came_has_no_figure(build: Any) -> None:
    [found] = recoveries(struck(build, back=None, answered=None))
    assert (found.first_ok_s, found.full_size_s) == (None, None)


def test_a_fault_that_takes_no_worker_leaves_the_size_as_it_was(build: Any) -> None:
    events = [build.event(EventKind.READY, 0, worker=1)]
    fault = FaultRecord(kind=FaultKind.PRINT, at_ns=build.at(100), landed=True)
    [found] = recoveries(build.history(events=[*events, build.event(EventKind.KILL, 500, worker=1)], faults=[fault]))
    assert found.full_size_s == 0.0


def test_a_stopped_worker_that_goes_on_is_back(build: Any) -> None:
    events = [build.event(EventKind.READY, 0, worker=1), *build.lease(1, 1, 50, 300)]
    fault = FaultRecord(kind=FaultKind.STOP, at_ns=build.at(100), landed=True, worker=1)
    [found] = recoveries(build.history(events=events, faults=[fault]))
    assert found.full_size_s == 0.2


def test_a_pool_that_came_back_in_time_passes(build: Any) -> None:
    found = Recovered(first_ok_s=0.2, full_size_s=0.4, lost=1).check(struck(build))
    assert found.verdict is Verdict.PASS
    assert found.figures == {"faults": 1, "lost": 1, "first_ok_s": 0.15, "full_size_s": 0.3}


def test_each_limit_that_is_missed_fails(build: Any) -> None:
    found = Recovered(first_ok_s=0.1, full_size_s=0.2, lost=0).check(struck(build))
    assert found.verdict is Verdict.FAIL
    assert found.examples == (
        "after kill the first_ok_s is 0.150; the limit is 0.1",
        "after kill the full_size_s is 0.300; the limit is 0.2",
        "after kill 1 calls got no answer; at most 0 calls may get none",
    )


def test_a_pool_that_never_came_back_fails_if_it_had_the_time(build: Any) -> None:
    history = struck(build, back=None)
    assert Recovered(full_size_s=0.5).check(history).verdict is Verdict.FAIL
    assert Recovered(full_size_s=5.0).check(history).verdict is Verdict.UNKNOWN
