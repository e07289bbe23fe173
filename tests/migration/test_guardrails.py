"""The guardrails: each limit, what is an accident and what is not, and windows of calls and seconds."""

from __future__ import annotations

import math
from random import Random

import msgspec
import pytest

from benchmarks.studies.guardrails import World, simulate
from poolproof.migration.limits.guardrails import Guard, tell_apart
from poolproof.migration.limits.significance import MOST, Trials, scales, tail, upper_bound
from poolproof.migration.plan import Guardrails, Side

S = 1_000_000_000
LIMITS = Guardrails(
    window_s=10.0, window_calls=1, min_calls=10, min_errors=3, max_error_rate=0.05, max_failures_in_row=4
)


@pytest.fixture
def guard() -> Guard:
    """A guard of ten-second windows."""
    return Guard(LIMITS)


def _calls(
    guard: Guard, side: Side, count: int, *, outcome: str = "result", at_s: float = 1, seconds: float = 0.01
) -> None:
    for _ in range(count):
        guard.ended(side, int(at_s * S), seconds, outcome)


def _mixed(guard: Guard, side: Side, count: int, failed: int, *, at_s: float = 1) -> None:
    # Failures spread among successes, the last of which is one.
    every = count // failed
    for number in range(count):
        good = number % every != 0 or number // every >= failed
        guard.ended(side, int(at_s * S), 0.01, "result" if good else "WorkerCrashed")


def _breach(guard: Guard, *, at_s: float = 2, in_flight_s: tuple[float, ...] = ()) -> str:
    return guard.find_breach(int(at_s * S), in_flight_s)


def test_nothing_and_good_calls_are_no_breach(guard: Guard) -> None:
    assert _breach(guard) == ""
    for side in Side:
        _calls(guard, side, 100)
    assert _breach(guard) == ""


def test_a_few_failures_of_few_calls_are_an_accident_and_many_are_none(guard: Guard) -> None:
    _calls(guard, Side.V1, 1000)
    _mixed(guard, Side.V2, 9, 3)
    assert _breach(guard) == "", "nine calls"
    _calls(guard, Side.V2, 51)
    assert _breach(guard) == "", "3 of 60 is 5 %"
    _mixed(guard, Side.V2, 60, 6)
    assert _breach(guard) == (
        "errors: 6 of the last 80 calls of v2 failed (7.50%; v1 0.00%, which is 7.5 % less; the limit is 5.0 %); "
        "the latest error: WorkerCrashed"
    )


@pytest.mark.parametrize(("calls", "failed", "breaches"), [(75, 3, False), (75, 5, False), (600, 60, True)])
def test_what_v1_may_do_by_accident_is_no_breach(calls: int, failed: int, breaches: bool) -> None:
    guard = Guard(Guardrails(max_error_rate=0.02))
    _mixed(guard, Side.V1, 1500, 15)
    _mixed(guard, Side.V2, calls, failed)
    assert bool(_breach(guard)) is breaches


def test_what_v1_fails_too_is_not_held_against_v2(guard: Guard) -> None:
    for side in Side:
        for _ in range(50):
            _calls(guard, side, 1)
            _calls(guard, side, 1, outcome="CommandError")
    assert _breach(guard) == ""


def test_what_hits_both_pools_at_the_same_time_is_not_held_against_v2() -> None:
    guard = Guard(Guardrails())
    for second in range(300):
        _calls(guard, Side.V1, 40, at_s=second)
        _calls(guard, Side.V2, 10, at_s=second)
    _mixed(guard, Side.V1, 400, 100, at_s=301)
    _mixed(guard, Side.V2, 100, 25, at_s=301)
    assert _breach(guard, at_s=302) == "", "v1 fails as often at this moment"
    _calls(guard, Side.V1, 4000, at_s=310)
    _mixed(guard, Side.V2, 100, 25, at_s=310)
    assert _breach(guard, at_s=311).startswith("errors: ")


def test_failures_in_a_row_breach_before_there_are_many_calls(guard: Guard) -> None:
    _calls(guard, Side.V2, 3, outcome="CallTimeout")
    assert _breach(guard) == ""
    _calls(guard, Side.V2, 1, outcome="CallTimeout")
    assert _breach(guard) == "errors: the last 4 calls of v2 all failed; the latest error: CallTimeout"
    _calls(guard, Side.V1, 4, outcome="CallTimeout")
    assert _breach(guard) == "", "v1 does no better"


def test_failures_in_a_row_are_no_surprise_where_v1_fails_often(guard: Guard) -> None:
    _mixed(guard, Side.V1, 1000, 200)
    _calls(guard, Side.V2, 5, outcome="CommandError")
    assert _breach(guard) == "", "a fifth of all calls fails"
    _calls(guard, Side.V2, 7, outcome="CommandError")
    assert _breach(guard).startswith("errors: ")


def test_the_callers_own_faults_do_not_count(guard: Guard) -> None:
    for outcome in ("InvalidRequest", "Cancelled"):
        _calls(guard, Side.V2, 50, outcome=outcome)
    assert _breach(guard) == ""


def test_windows_have_seconds_and_calls() -> None:
    for window_calls, breaches in ((1, False), (200, True)):
        guard = Guard(msgspec.structs.replace(LIMITS, window_calls=window_calls))
        _mixed(guard, Side.V2, 100, 30)
        assert _breach(guard, at_s=10.9)
        assert bool(_breach(guard, at_s=11.1)) is breaches


def test_calls_of_the_warm_up_count_for_no_rate() -> None:
    for warm_up in ({"warm_up_calls": 100}, {"warm_up_s": 5.0}):
        guard = Guard(msgspec.structs.replace(LIMITS, **warm_up))
        guard.restart(0)
        _calls(guard, Side.V1, 200)
        _mixed(guard, Side.V2, 100, 30)
        assert _breach(guard) == ""
        _mixed(guard, Side.V2, 100, 30, at_s=6)
        assert _breach(guard, at_s=6)


@pytest.mark.parametrize(("seconds", "breaches"), [(0.014, False), (0.0151, True), (0.025, True)])
def test_a_latency_ratio_breaches_above_its_limit_and_its_text_shows_it(
    guard: Guard, seconds: float, breaches: bool
) -> None:
    _calls(guard, Side.V1, 200, seconds=0.01)
    _calls(guard, Side.V2, 20, seconds=seconds)
    told = {
        0.014: "",
        0.0151: "latency: p95 of the last 20 calls of v2 is 15.1 ms, 1.51 times v1's 10.0 ms; the limit is 1.50 times",
        0.025: "latency: p95 of the last 10 calls of v2 is 25.0 ms, 2.5 times v1's 10.0 ms; the limit is 1.5 times",
    }[seconds]
    found = _breach(guard)
    assert bool(found) is breaches
    assert found.replace("last 20", "last N").replace("last 10", "last N") == told.replace("last 20", "last N").replace(
        "last 10", "last N"
    )


def test_a_slack_keeps_microseconds_from_counting(guard: Guard) -> None:
    _calls(guard, Side.V1, 20, seconds=0.0001)
    _calls(guard, Side.V2, 20, seconds=0.004)
    assert _breach(guard) == ""


def test_calls_that_hang_count_before_they_end(guard: Guard) -> None:
    _calls(guard, Side.V1, 20)
    assert _breach(guard, in_flight_s=(3.0,) * 9) == "", "too few"
    assert _breach(guard, in_flight_s=(3.0,) * 10).startswith("latency: p95 of the last 10 calls of v2 is 3000.0 ms")
    guard = Guard(Guardrails(max_call_s=2.0))
    assert "a call of v2 is 2.001 s in flight; the limit is 2.000 s" in _breach(guard, in_flight_s=(2.001,))


def test_one_mismatch_is_enough_at_a_limit_of_0_whatever_its_age(guard: Guard) -> None:
    guard.compared(1 * S, "")
    assert _breach(guard) == ""
    guard.compared(1 * S, "echo: 1 became 2")
    assert _breach(guard, at_s=5000) == (
        "mismatches: 1 of the last 2 copied calls got another answer from v2 than from v1 (50.0 %; "
        "the limit is 0.0 %); the last mismatch: echo: 1 became 2"
    )


def test_a_limit_of_mismatches_above_0_needs_more_than_an_accident() -> None:
    guard = Guard(Guardrails(max_mismatch_rate=0.01))
    for number in range(100):
        guard.compared(S, "x" * (number % 50 == 0))
    assert _breach(guard) == "", "2 of 100"
    for number in range(100):
        guard.compared(S, "x" * (number % 5 == 0))
    assert _breach(guard).startswith("mismatches: 22 of the last 200 copied calls")


def test_one_lost_session_is_enough_and_is_forgotten(guard: Guard) -> None:
    guard.lost(1 * S, "user-7")
    assert _breach(guard) == "lost sessions: 1 in the last 10 s (user-7); the limit is 0"
    assert _breach(guard, at_s=12) == ""


def test_a_new_step_begins_clean_but_keeps_v1s_figures_until_they_are_old(guard: Guard) -> None:
    _calls(guard, Side.V1, 20)
    _calls(guard, Side.V2, 20, outcome="WorkerCrashed")
    guard.lost(1 * S, "s")
    guard.compared(1 * S, "x")
    guard.restart(1 * S)
    assert _breach(guard) == ""
    figures = guard.figures(2 * S)
    assert (figures.calls, figures.compared, figures.lost_sessions) == ({"v1": 20, "v2": 0}, 0, 0)
    assert figures.latency_s == {"v1": pytest.approx(0.01), "v2": None}
    _calls(guard, Side.V2, 20, seconds=1, at_s=700)
    assert _breach(guard, at_s=700) == "", "what v1 did more than 600 s ago says nothing of now"


@pytest.mark.parametrize(
    ("value", "limit", "percent", "told"),
    [
        (2.004, 2.0, False, ("2.004", "2.000")),
        (3.0, 2.0, False, ("3.0", "2.0")),
        (0.0201, 0.02, True, ("2.01 %", "2.00 %")),
        (1.26, 1.25, False, ("1.26", "1.25")),
    ],
)
def test_a_text_has_the_digits_that_show_the_breach(
    value: float, limit: float, percent: bool, told: tuple[str, str]
) -> None:
    assert tell_apart(value, limit, percent=percent) == told


def test_the_tail_is_exact_and_the_bound_covers() -> None:
    def exact(n: int, k: int, p: float) -> float:
        return sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k, n + 1))

    for n, k, p in ((10, 3, 0.05), (75, 3, 0.005), (1000, 40, 0.01), (20, 20, 0.3)):
        assert tail(n, k, p) == pytest.approx(exact(n, k, p), rel=1e-9)
        bound = upper_bound(n, k, 3.0)
        assert bound == 1.0 or 1 - exact(n, k + 1, bound) <= math.exp(-3.0) + 1e-9
    assert (tail(5, 0, 0.1), tail(5, 1, 0.0), tail(5, 6, 0.5), tail(5, 2, 1.0)) == (1.0, 0.0, 0.0, 1.0)
    assert upper_bound(0, 0, 3.0) == 1.0


def test_trials_count_any_number_of_the_last_ones_however_many_there_were() -> None:
    numbers, trials, marks = Random(1), Trials(), []
    for number in range(3 * MOST):
        marks.append((numbers.random() < 0.3, numbers.random() < 0.1))
        trials.add(number * S, *marks[-1])
    for count in (0, 1, 17, MOST):
        wanted = marks[len(marks) - count :]
        assert trials.last(count) == (sum(one for one, _ in wanted), sum(two for _, two in wanted))
    assert trials.recent((3 * MOST - 5) * S, 3) == 5
    assert trials.recent((3 * MOST - 1) * S, 3) == 3
    assert list(scales(10, 65)) == [10, 20, 40, 65]
    assert list(scales(10, 9)) == []


@pytest.mark.parametrize(
    ("fault", "percent", "within_s"),
    [
        ({"slowdown": 2.0}, 25, 60.0),
        ({"more_errors": 0.03, "errors": 0.002}, 25, 60.0),
        ({"mismatches": 1.0, "copies_per_s": 0.2}, 5, 60.0),
    ],
)
def test_a_worse_candidate_is_found_in_time(fault: dict[str, float], percent: int, within_s: float) -> None:
    world = msgspec.structs.replace(World(), **fault)
    assert simulate(world, percent, within_s, 3, settled_s=100)[0] <= within_s


@pytest.mark.parametrize("percent", [1, 50])
def test_equal_pools_are_left_alone(percent: int) -> None:
    # A thousandth of the ten days of `python -m benchmarks.studies.guardrails`.
    assert simulate(World(), percent, 864.0, 1, settled_s=60) == (math.inf, "")
