"""Lives, TimeoutKills, BoundedStart, Restraint and Recycled: how workers begin and end."""

from __future__ import annotations

from typing import Any

import pytest

from poolproof.bridge import EventKind
from poolproof.harness.checkers import BoundedStart, Lives, Recycled, Restraint, TimeoutKills
from poolproof.harness.model.verdict import Verdict

SPAWN, READY, KILL, REAP = EventKind.SPAWN, EventKind.READY, EventKind.KILL, EventKind.REAP


def life(build: Any, worker: int, **moments: float) -> list[Any]:
    """SPAWN, READY and so on of one worker, at the given ms; a kill is one by the pool's own choice."""
    return [
        build.event(EventKind(kind), ms, worker=worker, detail="retired" if kind == "kill" else "")
        for kind, ms in moments.items()
    ]


def whole(build: Any, *events: Any, **fields: Any) -> Any:
    return build.history(events=events, close_began=900, close_ended=990, **fields)


def test_lives_in_order_pass(build: Any) -> None:
    events = [*life(build, 1, spawn=0, ready=5, kill=910, reap=920), *life(build, 2, spawn=1, reap=9)]
    found = Lives().check(whole(build, *events))
    assert found.verdict is Verdict.PASS
    assert found.figures == {"workers": 2}


@pytest.mark.parametrize(
    ("moments", "told"),
    [
        ({"spawn": 0, "ready": 5}, "worker 1 was never reaped"),
        ({"ready": 5, "reap": 9}, "worker 1 has events, but no SPAWN event"),
        ({"ready": 1, "spawn": 5, "reap": 9}, "worker 1 reported ready before it was spawned"),
        ({"spawn": 0, "reap": 5, "ready": 205}, "worker 1 has ready 0.200 s after it was reaped"),
        ({"spawn": 0, "reap": 5, "send": 205}, "worker 1 has send 0.200 s after it was reaped"),
    ],
)
def test_a_life_out_of_order_fails(build: Any, moments: dict[str, float], told: str) -> None:
    events = [*life(build, 1, **moments), *life(build, 2, spawn=0, ready=1, reap=950)]
    found = Lives().check(whole(build, *events))
    assert found.verdict is Verdict.FAIL
    assert found.examples == (told,)


def test_a_worker_that_is_reaped_twice_fails(build: Any) -> None:
    events = [*life(build, 1, spawn=0, reap=5), build.event(REAP, 6, worker=1)]
    assert Lives().check(whole(build, *events)).examples == ("worker 1 reported reap 2 times",)


def test_a_run_that_was_cut_off_need_not_reap(build: Any) -> None:
    assert Lives().check(build.history(events=life(build, 1, spawn=0), finished=False)).verdict is Verdict.PASS


def timeout(build: Any, *events: Any) -> Any:
    op = build.op(0, 0, 100, outcome="CallTimeout", worker=1, sent_ns=build.at(1))
    return TimeoutKills(grace_s=0.5).check(build.history(op, events=events))


def test_a_worker_that_is_killed_before_its_timeout_is_told_passes(build: Any) -> None:
    found = timeout(build, *life(build, 1, kill=99, reap=300))
    assert found.verdict is Verdict.PASS
    assert found.figures == {"decided": 1}


@pytest.mark.parametrize(
    ("moments", "told"),
    [
        ({}, "worker 1 was not ended, although its call 0 had timed out"),
        ({"kill": 300, "reap": 310}, "worker 1 was killed 0.200 s after call 0 got its timeout error"),
        ({"kill": 99, "reap": 900}, "worker 1 was reaped 0.801 s after it was killed"),
        ({"kill": 99}, "worker 1 was killed but never reaped"),
    ],
)
def test_a_worker_that_outlives_its_timeout_fails(build: Any, moments: dict[str, float], told: str) -> None:
    found = timeout(build, *life(build, 1, **moments))
    assert found.verdict is Verdict.FAIL
    assert found.examples == (told,)


def test_a_timeout_in_the_queue_has_no_worker_to_end(build: Any) -> None:
    op = build.op(0, 0, 100, outcome="CheckoutTimeout")
    assert TimeoutKills(grace_s=1.0).check(build.history(op)).verdict is Verdict.UNKNOWN


STARTS = BoundedStart(timeout_s=0.5, slack_s=0.0, mute=True)


def test_starts_that_are_over_in_time_pass(build: Any) -> None:
    events = [*life(build, 1, spawn=0, ready=300), *life(build, 2, spawn=0, kill=510, reap=512)]
    events += life(build, 3, spawn=890)  # the close comes too soon to tell
    found = STARTS.check(whole(build, *events))
    assert found.verdict is Verdict.PASS
    assert found.figures == {"starts": 2, "failed": 1, "longest_s": 0.51}


@pytest.mark.parametrize(
    ("moments", "told"),
    [
        ({"spawn": 0, "ready": 700}, "worker 1 was ready after 0.700 s; the limit is 0.5 s"),
        ({"spawn": 0, "kill": 700}, "worker 1 was given up after 0.700 s; the limit is 0.5 s"),
        ({"spawn": 0, "kill": 300}, "worker 1 was given up after 0.300 s; the limit is 0.5 s"),
        ({"spawn": 0}, "worker 1 was still starting after 0.900 s; the limit is 0.5 s"),
    ],
)
def test_a_start_that_is_given_up_at_another_time_than_its_limit_fails(
    build: Any, moments: dict[str, float], told: str
) -> None:
    found = STARTS.check(whole(build, *life(build, 1, **moments)))
    assert found.verdict is Verdict.FAIL
    assert found.examples == (told,)


def test_starts_that_the_close_cut_short_tell_nothing(build: Any) -> None:
    assert STARTS.check(whole(build, *life(build, 1, spawn=800, kill=910))).verdict is Verdict.UNKNOWN


def test_a_pool_that_keeps_its_size_passes(build: Any) -> None:
    events = [*life(build, 1, spawn=0, kill=500, reap=510), *life(build, 2, spawn=0), *life(build, 3, spawn=600)]
    found = Restraint(at_most=2, at_least=1).check(whole(build, *events))
    assert found.verdict is Verdict.PASS
    assert found.figures == {"max": 2}


def test_a_pool_that_grows_beyond_its_need_fails(build: Any) -> None:
    events = [event for worker in (1, 2, 3) for event in life(build, worker, spawn=worker)]
    found = Restraint(at_most=2).check(whole(build, *events))
    assert (found.verdict, found.claim) == (Verdict.FAIL, "3 workers lived at the same time; 2 would have been enough")


def test_a_pool_that_shrinks_below_its_least_fails(build: Any) -> None:
    events = [*life(build, 1, spawn=0, kill=500), *life(build, 2, spawn=0, kill=501)]
    found = Restraint(at_most=2, at_least=1).check(whole(build, *events))
    assert (found.verdict, found.claim) == (
        Verdict.FAIL,
        "worker 2 was ended by the pool's choice while only 1 workers stayed",
    )


def test_a_worker_that_dies_by_itself_is_no_shrinking(build: Any) -> None:
    events = [*life(build, 1, spawn=0, reap=500), *life(build, 2, spawn=0)]
    assert Restraint(at_most=2, at_least=2).check(whole(build, *events)).verdict is Verdict.PASS


def test_workers_recycled_between_leases_pass(build: Any) -> None:
    events = [
        *life(build, 1, ready=0, kill=30),
        *life(build, 2, ready=0),
        *build.lease(1, 1, 1, 9),
        *build.lease(1, 2, 10, 20),
    ]
    found = Recycled(max_requests=2).check(whole(build, *events))
    assert found.verdict is Verdict.PASS
    assert found.figures == {"most_served": 2, "recycled": 1}


def test_a_worker_that_serves_beyond_its_limit_fails(build: Any) -> None:
    events = [*build.lease(1, 1, 1, 9), *build.lease(1, 2, 10, 20)]
    found = Recycled(max_requests=1).check(whole(build, *events))
    assert found.verdict is Verdict.FAIL
    assert found.examples == ("worker 1 served 2 calls; it should have been replaced after 1",)


def test_a_worker_that_is_let_go_within_a_lease_fails(build: Any) -> None:
    events = [*life(build, 1, ready=0, kill=5), *life(build, 2, ready=0), *build.lease(1, 1, 1, 9)]
    assert Recycled().check(whole(build, *events)).examples == (
        "worker 1 was ended by the pool's choice while pool call 1 held it",
    )


def test_the_last_ready_worker_must_stay(build: Any) -> None:
    events = [*life(build, 1, ready=0, kill=30), *build.lease(1, 1, 1, 9)]
    assert Recycled().check(whole(build, *events)).examples == (
        "worker 1 was ended by the pool's choice although no other worker was ready",
    )
    assert Recycled().check(whole(build, *events, info={"workers": 1})).verdict is Verdict.PASS


def test_a_run_in_which_nobody_came_to_a_limit_is_unknown(build: Any) -> None:
    assert Recycled(max_requests=9).check(whole(build, *build.lease(1, 1, 1, 9))).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(("ms", "verdict"), [(95, Verdict.PASS), (110, Verdict.FAIL)])
def test_a_send_may_be_told_a_tenth_of_a_second_late(build: Any, ms: float, verdict: Verdict) -> None:
    events = life(build, 1, spawn=0, ready=1, reap=5, send=5 + ms)
    assert Lives().check(whole(build, *events)).verdict is verdict


@pytest.mark.parametrize(("killed", "verdict"), [(145, Verdict.PASS), (160, Verdict.FAIL)])
def test_a_kill_may_be_recorded_a_twentieth_of_a_second_after_its_timeout(
    build: Any, killed: float, verdict: Verdict
) -> None:
    assert timeout(build, *life(build, 1, kill=killed, reap=killed + 1)).verdict is verdict


@pytest.mark.parametrize(("reaped", "verdict"), [(590, Verdict.PASS), (610, Verdict.FAIL)])
def test_a_killed_worker_is_reaped_within_the_grace(build: Any, reaped: float, verdict: Verdict) -> None:
    assert timeout(build, *life(build, 1, kill=100, reap=reaped)).verdict is verdict


@pytest.mark.parametrize(("ms", "verdict"), [(640, Verdict.PASS), (660, Verdict.FAIL)])
def test_a_start_has_its_limit_a_tenth_of_it_and_a_tenth_of_a_second(build: Any, ms: float, verdict: Verdict) -> None:
    found = BoundedStart(timeout_s=0.5).check(whole(build, *life(build, 1, spawn=0, ready=ms)))
    assert found.verdict is verdict


@pytest.mark.parametrize(("ms", "verdict"), [(460, Verdict.PASS), (440, Verdict.FAIL)])
def test_a_mute_start_is_given_up_a_tenth_of_its_limit_early_at_most(build: Any, ms: float, verdict: Verdict) -> None:
    events = life(build, 1, spawn=0, kill=ms)
    assert BoundedStart(timeout_s=0.5, mute=True).check(whole(build, *events)).verdict is verdict
    assert BoundedStart(timeout_s=0.5).check(whole(build, *events)).verdict is Verdict.PASS


def test_a_worker_that_died_or_was_ready_early_was_not_given_up_early(build: Any) -> None:
    events = [*life(build, 1, spawn=0, reap=100), *life(build, 2, spawn=0, ready=100)]
    assert BoundedStart(timeout_s=0.5, mute=True).check(whole(build, *events)).verdict is Verdict.PASS


@pytest.mark.parametrize(("count", "verdict"), [(2, Verdict.PASS), (3, Verdict.FAIL)])
def test_a_pool_grows_to_its_bound_and_no_further(build: Any, count: int, verdict: Verdict) -> None:
    events = [event for worker in range(count) for event in life(build, worker, spawn=worker)]
    assert Restraint(at_most=2).check(whole(build, *events)).verdict is verdict


def test_what_ends_at_the_close_is_no_shrinking_and_no_recycling(build: Any) -> None:
    events = [*life(build, 1, spawn=0, ready=1, kill=910), *life(build, 2, spawn=0, ready=1, kill=911)]
    assert Restraint(at_most=2, at_least=2).check(whole(build, *events)).verdict is Verdict.PASS
    served = [*events, *build.lease(1, 1, 2, 9)]
    assert Recycled(max_requests=1).check(whole(build, *served)).figures == {"most_served": 1, "recycled": 0}


def test_a_worker_that_was_killed_for_another_reason_is_not_recycled(build: Any) -> None:
    events = [
        *life(build, 1, ready=0),
        build.event(KILL, 5, worker=1, detail="its call timed out"),
        *build.lease(1, 1, 1, 9),
    ]
    found = Recycled(max_requests=1).check(whole(build, *events))
    assert (found.verdict, found.figures) == (Verdict.PASS, {"most_served": 1, "recycled": 0})


@pytest.mark.parametrize(("served", "verdict"), [(1, Verdict.UNKNOWN), (2, Verdict.PASS), (3, Verdict.FAIL)])
def test_a_worker_serves_up_to_its_limit(build: Any, served: int, verdict: Verdict) -> None:
    events = [event for call in range(served) for event in build.lease(1, call, 10 * call, 10 * call + 9)]
    assert Recycled(max_requests=2).check(whole(build, *events)).verdict is verdict


def test_a_timeout_that_was_never_sent_or_has_no_worker_or_no_end_is_not_judged(build: Any) -> None:
    sent = build.at(1)
    for op in (
        build.op(0, 0, 100, outcome="CallTimeout", worker=1),
        build.op(0, 0, 100, outcome="CallTimeout", sent_ns=sent),
        build.op(0, 0, None, outcome="CallTimeout", worker=1, sent_ns=sent),
    ):
        assert TimeoutKills(grace_s=0.5).check(build.history(op)).verdict is Verdict.UNKNOWN


def test_a_pool_whose_close_did_not_end_need_not_have_reaped(build: Any) -> None:
    events = life(build, 1, spawn=0, ready=1)
    assert Lives().check(build.history(events=events, close_began=900)).verdict is Verdict.PASS
