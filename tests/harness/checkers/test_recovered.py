"""Recovered: what a fault may cost, on literal histories just inside and just outside each bound."""

from __future__ import annotations

from typing import Any

import pytest

from poolproof.bridge import EventKind
from poolproof.harness.checkers import Recovered
from poolproof.harness.model.fault import FaultKind, FaultRecord
from poolproof.harness.model.verdict import Verdict

READY, KILL = EventKind.READY, EventKind.KILL


def struck(build: Any, *, lost: int = 0, answered: float | None = 150, back: float | None = 300, **fields: Any) -> Any:
    """A pool of two whose worker 1 is killed at 100 ms; the first answer and the new worker come when they are said."""
    events = [build.event(READY, 0, worker=1), build.event(READY, 0, worker=2), build.event(KILL, 101, worker=1)]
    if back is not None:
        events.append(build.event(READY, back, worker=3))
    ops = [build.op(number, 90, 120, outcome="WorkerCrashed") for number in range(lost)]
    if answered is not None:
        ops.append(build.op(lost, 110, answered))
    fault = FaultRecord(kind=FaultKind.KILL, at_ns=build.at(100), landed=True, worker=1)
    usual: dict[str, Any] = {"close_began": 900, "info": {"observed": True}}
    return build.history(*ops, events=events, faults=[fault], **{**usual, **fields})


@pytest.mark.parametrize(("answered", "verdict"), [(295, Verdict.PASS), (305, Verdict.FAIL)])
def test_the_first_answer_comes_within_its_bound(build: Any, answered: float, verdict: Verdict) -> None:
    assert Recovered(first_ok_s=0.2).check(struck(build, answered=answered)).verdict is verdict


@pytest.mark.parametrize(("back", "verdict"), [(295, Verdict.PASS), (305, Verdict.FAIL)])
def test_the_full_size_comes_within_its_bound(build: Any, back: float, verdict: Verdict) -> None:
    assert Recovered(full_size_s=0.2).check(struck(build, back=back)).verdict is verdict


@pytest.mark.parametrize(("lost", "verdict"), [(0, Verdict.PASS), (2, Verdict.PASS), (3, Verdict.FAIL)])
def test_so_many_calls_may_be_lost_and_no_more(build: Any, lost: int, verdict: Verdict) -> None:
    assert Recovered(lost=2).check(struck(build, lost=lost)).verdict is verdict


@pytest.mark.parametrize(("close_began", "verdict"), [(290, Verdict.UNKNOWN), (310, Verdict.FAIL)])
def test_what_never_came_fails_from_the_bound_on(build: Any, close_began: float, verdict: Verdict) -> None:
    cases: list[tuple[Recovered, dict[str, Any]]] = [
        (Recovered(first_ok_s=0.2), {"answered": None}),
        (Recovered(full_size_s=0.2), {"back": None}),
    ]
    for checker, fields in cases:
        history = struck(build, close_began=close_began, **fields)
        assert checker.check(history).verdict is verdict


def test_without_bounds_nothing_is_missed_and_the_figures_are_told(build: Any) -> None:
    found = Recovered().check(struck(build, lost=3))
    assert found.verdict is Verdict.PASS
    assert found.figures == {"faults": 1, "lost": 3, "first_ok_s": 0.05, "full_size_s": 0.2}


def test_the_size_is_not_asked_of_a_run_without_an_observer(build: Any) -> None:
    history = struck(build, back=None, info={"observed": False})
    assert Recovered(full_size_s=0.2).check(history).verdict is Verdict.PASS


def test_a_fault_that_never_landed_tells_nothing(build: Any) -> None:
    assert Recovered(lost=0).check(build.history(build.op(0), close_began=900)).verdict is Verdict.UNKNOWN
