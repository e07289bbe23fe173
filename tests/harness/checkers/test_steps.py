"""CallSteps: literal calls whose steps are complete and in order, and calls with one step out of place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from poolproof.bridge import Event, EventKind
from poolproof.harness.checkers import CallSteps
from poolproof.harness.model.verdict import Verdict

WHOLE: dict[str, float] = {"enqueue": 0, "accept": 10, "send": 20, "receive": 30, "checkin": 40, "done": 50}


def events_of(build: Any, steps: Mapping[str, float], detail: str = "result", call: int = 1) -> list[Event]:
    return [
        build.event(EventKind(kind), ms, call=call, worker=1, detail=detail if kind == "done" else "")
        for kind, ms in steps.items()
    ]


def judged(build: Any, *events: Event) -> Verdict:
    verdict: Verdict = CallSteps().check(build.history(events=events)).verdict
    return verdict


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, Verdict.PASS),
        ({"send": 10}, Verdict.PASS),  # steps of the same moment
        ({"offer": 60}, Verdict.PASS),  # another client reports it, perhaps late
        ({"send": 35}, Verdict.FAIL),
        ({"send": 5}, Verdict.FAIL),
        ({"accept": -5}, Verdict.FAIL),
        ({"receive": 55}, Verdict.FAIL),
        ({"checkin": 25}, Verdict.FAIL),
        ({"done": 15}, Verdict.FAIL),
    ],
)
def test_each_step_has_its_place(build: Any, changed: dict[str, float], expected: Verdict) -> None:
    assert judged(build, *events_of(build, {**WHOLE, **changed})) is expected


@pytest.mark.parametrize("kind", [EventKind.ENQUEUE, EventKind.DONE])
def test_the_first_and_the_last_step_are_not_repeated(build: Any, kind: EventKind) -> None:
    again = build.event(kind, 50 if kind is EventKind.DONE else 0, call=1)
    assert judged(build, *events_of(build, WHOLE), again) is Verdict.FAIL


@pytest.mark.parametrize(
    ("outcome", "expected"), [("result", Verdict.FAIL), ("CommandError", Verdict.FAIL), ("WorkerCrashed", Verdict.PASS)]
)
def test_an_answer_was_received(build: Any, outcome: str, expected: Verdict) -> None:
    other = events_of(build, WHOLE, call=2)
    unanswered = {kind: ms for kind, ms in WHOLE.items() if kind != "receive"}
    assert judged(build, *other, *events_of(build, unanswered, outcome)) is expected


@pytest.mark.parametrize(("outcome", "expected"), [("result", Verdict.FAIL), ("CallTimeout", Verdict.PASS)])
def test_an_answer_may_come_late_if_its_client_has_given_up(build: Any, outcome: str, expected: Verdict) -> None:
    steps = {"enqueue": 0, "accept": 10, "send": 20, "done": 30, "receive": 40, "checkin": 50}
    assert judged(build, *events_of(build, steps, outcome)) is expected


def test_calls_of_a_batch_need_no_worker_of_their_own(build: Any) -> None:
    second = {kind: ms for kind, ms in WHOLE.items() if kind not in ("accept", "checkin")}
    assert judged(build, *events_of(build, WHOLE), *events_of(build, second, call=2)) is Verdict.PASS


def test_without_events_nothing_is_known(build: Any) -> None:
    assert judged(build) is Verdict.UNKNOWN
