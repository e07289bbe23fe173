"""The guardrails: each limit, its minimum counts, and windows that slide."""

from __future__ import annotations

import pytest

from poolproof.migration.guardrails import Guard
from poolproof.migration.plan import Guardrails, Side

S = 1_000_000_000
LIMITS = Guardrails(window_s=10.0, min_calls=10, min_errors=3, max_error_rate=0.05, max_failures_in_row=4)


@pytest.fixture
def guard() -> Guard:
    """A guard of ten-second windows."""
    return Guard(LIMITS.window_s)


def _calls(
    guard: Guard, side: Side, count: int, *, outcome: str = "result", at_s: float = 1, seconds: float = 0.01
) -> None:
    for _ in range(count):
        guard.ended(side, int(at_s * S), seconds, outcome)


def _breach(guard: Guard, *, at_s: float = 2, limits: Guardrails = LIMITS, in_flight_s: tuple[float, ...] = ()) -> str:
    return guard.view(int(at_s * S)).find_breach(limits, in_flight_s)


def test_nothing_and_good_calls_are_no_breach(guard: Guard) -> None:
    assert _breach(guard) == ""
    for side in Side:
        _calls(guard, side, 100)
    assert _breach(guard) == ""


def test_an_error_rate_breaches_with_enough_calls_and_errors_only(guard: Guard) -> None:
    _calls(guard, Side.V2, 1, outcome="WorkerCrashed")
    _calls(guard, Side.V2, 2)
    _calls(guard, Side.V2, 2, outcome="WorkerCrashed")
    _calls(guard, Side.V2, 4)
    assert _breach(guard) == "", "nine calls"
    _calls(guard, Side.V2, 1)
    assert _breach(guard).startswith("errors: 3 of 10 calls of v2 in the last 10 s failed (30.0%; v1 0.0%;")
    _calls(guard, Side.V2, 50)
    assert _breach(guard) == "", "3 of 60 is 5 %"


def test_what_v1_fails_too_is_not_held_against_v2(guard: Guard) -> None:
    for side in Side:
        for _ in range(10):
            _calls(guard, side, 1)
            _calls(guard, side, 1, outcome="CommandError")
    assert _breach(guard) == ""


def test_failures_in_a_row_breach_before_there_are_many_calls(guard: Guard) -> None:
    _calls(guard, Side.V2, 3, outcome="CallTimeout")
    assert _breach(guard) == ""
    _calls(guard, Side.V2, 1, outcome="CallTimeout")
    assert _breach(guard) == "errors: the last 4 calls of v2 all failed; the latest error: CallTimeout"
    _calls(guard, Side.V1, 4, outcome="CallTimeout")
    assert _breach(guard) == "", "v1 does no better"


def test_the_callers_own_faults_do_not_count(guard: Guard) -> None:
    for outcome in ("InvalidRequest", "Cancelled"):
        _calls(guard, Side.V2, 50, outcome=outcome)
    assert _breach(guard) == ""


def test_windows_slide(guard: Guard) -> None:
    for _ in range(3):
        _calls(guard, Side.V2, 1, outcome="WorkerCrashed")
        _calls(guard, Side.V2, 3)
    assert _breach(guard, at_s=10.9)
    assert _breach(guard, at_s=11.1) == ""


@pytest.mark.parametrize(("seconds", "breaches"), [(0.019, False), (0.025, True)])
def test_a_latency_ratio_breaches_above_its_limit(guard: Guard, seconds: float, breaches: bool) -> None:
    _calls(guard, Side.V1, 20, seconds=0.01)
    _calls(guard, Side.V2, 20, seconds=seconds)
    assert bool(_breach(guard)) is breaches
    assert _breach(guard) == "" or "2.5 times v1's 10.0 ms" in _breach(guard)


def test_a_slack_keeps_microseconds_from_counting(guard: Guard) -> None:
    _calls(guard, Side.V1, 20, seconds=0.0001)
    _calls(guard, Side.V2, 20, seconds=0.004)
    assert _breach(guard) == ""


def test_calls_that_hang_count_before_they_end(guard: Guard) -> None:
    _calls(guard, Side.V1, 20)
    assert _breach(guard, in_flight_s=(3.0,) * 9) == "", "too few"
    assert _breach(guard, in_flight_s=(3.0,) * 10).startswith("latency: p95 of v2 is 3000.0 ms")
    limits = Guardrails(max_call_s=2.0)
    assert "a call of v2 is 3.00 s in flight; the limit is 2 s" in _breach(guard, limits=limits, in_flight_s=(3.0,))


def test_mismatches_need_enough_copies(guard: Guard) -> None:
    guard.compared(1 * S, "echo: 1 became 2")
    for _ in range(8):
        guard.compared(1 * S, "")
    assert _breach(guard) == ""
    guard.compared(1 * S, "")
    assert _breach(guard) == (
        "mismatches: 1 of 10 copied calls in the last 10 s got another answer from v2 than from v1 (10.0%; "
        "the limit is 0.0%); the last mismatch: echo: 1 became 2"
    )


def test_one_lost_session_is_enough(guard: Guard) -> None:
    guard.lost(1 * S, "user-7")
    assert _breach(guard) == "lost sessions: 1 in the last 10 s (user-7); the limit is 0"


def test_a_new_step_begins_clean_but_keeps_v1s_figures(guard: Guard) -> None:
    _calls(guard, Side.V1, 20)
    _calls(guard, Side.V2, 20, outcome="WorkerCrashed")
    guard.lost(1 * S, "s")
    guard.compared(1 * S, "x")
    guard.restart()
    assert _breach(guard) == ""
    figures = guard.view(2 * S).figures(LIMITS)
    assert (figures.calls, figures.compared, figures.lost_sessions) == ({"v1": 20, "v2": 0}, 0, 0)
