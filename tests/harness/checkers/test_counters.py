"""SessionCounters: a session's counter tells its answered calls."""

from __future__ import annotations

from typing import Any

import pytest

from poolproof.bridge import SessionStatus
from poolproof.harness.checkers import SessionCounters
from poolproof.harness.model.verdict import Verdict


def table(**operations: int) -> tuple[SessionStatus, ...]:
    return tuple(
        SessionStatus(session_id=session, operations=count, version=0, worker_id=1)
        for session, count in operations.items()
    )


def calls(build: Any, *outcomes: str, session: str | None = "a", first: int = 0, **fields: Any) -> list[Any]:
    return [
        build.op(first + number, outcome=outcome, session=session, **fields) for number, outcome in enumerate(outcomes)
    ]


def test_counters_that_are_the_callers_pass(build: Any) -> None:
    ops = calls(build, "result", "CommandError", "CheckoutTimeout")
    ops += calls(build, "result", session="b", first=3) + calls(build, "result", session=None, first=4)
    found = SessionCounters().check(build.history(*ops, sessions=table(a=2, b=1)))
    assert found.verdict is Verdict.PASS
    assert found.figures == {"sessions": 2, "calls_in_doubt": 0}


@pytest.mark.parametrize("counted", [0, 1, 3])
def test_a_counter_that_lost_a_call_or_invented_one_fails(build: Any, counted: int) -> None:
    found = SessionCounters().check(build.history(*calls(build, "result", "result"), sessions=table(a=counted)))
    assert found.verdict is Verdict.FAIL
    assert found.examples == (f"session 'a': the pool counted {counted} calls; its callers saw 2 answered calls",)


def test_a_session_that_went_with_its_thread_fails(build: Any) -> None:
    found = SessionCounters().check(build.history(*calls(build, "result"), sessions=()))
    assert found.verdict is Verdict.FAIL
    assert found.examples == ("session 'a': the pool does not know the session; its callers saw 1 answered calls",)


def test_a_session_that_nobody_called_must_count_nothing(build: Any) -> None:
    ops = calls(build, "result")
    assert SessionCounters().check(build.history(*ops, sessions=table(a=1, b=0))).verdict is Verdict.PASS
    assert SessionCounters().check(build.history(*ops, sessions=table(a=1, b=1))).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("counted", "verdict"), [(0, Verdict.FAIL), (1, Verdict.PASS), (3, Verdict.PASS), (4, Verdict.FAIL)]
)
def test_a_call_in_doubt_may_count_or_not(build: Any, counted: int, verdict: Verdict) -> None:
    ops = calls(build, "result", "CallTimeout", "WorkerCrashed")
    assert SessionCounters().check(build.history(*ops, sessions=table(a=counted))).verdict is verdict


def test_a_call_that_never_ended_is_in_doubt(build: Any) -> None:
    ops = [*calls(build, "result"), build.op(1, 0, None, session="a")]
    for counted in (1, 2):
        assert SessionCounters().check(build.history(*ops, sessions=table(a=counted))).verdict is Verdict.PASS


def test_a_session_that_was_cleaned_up_is_left_out(build: Any) -> None:
    ops = [*calls(build, "result"), build.op(1, command="cleanup_session", session="a")]
    assert SessionCounters().check(build.history(*ops, sessions=())).verdict is Verdict.UNKNOWN
    ops += calls(build, "result", session="b", first=2)
    assert SessionCounters().check(build.history(*ops, sessions=table(b=1))).verdict is Verdict.PASS


def test_without_a_table_or_an_answer_nothing_is_known(build: Any) -> None:
    assert SessionCounters().check(build.history(*calls(build, "result"))).verdict is Verdict.UNKNOWN
    ops = calls(build, "WorkerCrashed")
    assert SessionCounters().check(build.history(*ops, sessions=table(a=1))).verdict is Verdict.UNKNOWN


def test_a_doubtful_count_is_told_as_a_range(build: Any) -> None:
    found = SessionCounters().check(build.history(*calls(build, "result", "CallTimeout"), sessions=table(a=5)))
    assert found.examples == ("session 'a': the pool counted 5 calls; its callers saw 1 to 2 answered calls",)
