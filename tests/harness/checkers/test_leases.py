"""ExclusiveLease, AtMostOnce, CleanWorkers and Fifo: who has a worker, and when."""

from __future__ import annotations

from typing import Any

import pytest

from poolproof.bridge import EventKind
from poolproof.harness.checkers import AtMostOnce, CleanWorkers, ExclusiveLease, Fifo
from poolproof.harness.history.history import OpType
from poolproof.harness.model.verdict import Verdict

ACCEPT, SEND, RECEIVE = EventKind.ACCEPT, EventKind.SEND, EventKind.RECEIVE


def test_leases_one_after_another_pass(build: Any) -> None:
    events = [*build.lease(1, 1, 0, 9), *build.lease(1, 2, 9, 20), *build.lease(2, 3, 0, 30)]
    found = ExclusiveLease().check(build.history(events=events))
    assert found.verdict is Verdict.PASS
    assert found.figures == {"leases": 3}


def test_a_worker_given_to_two_calls_at_once_fails(build: Any) -> None:
    events = [*build.lease(1, 1, 0, 20), *build.lease(1, 2, 10, 30)]
    found = ExclusiveLease().check(build.history(events=events))
    assert found.verdict is Verdict.FAIL
    assert found.examples == ("worker 1 was given to pool call 2 while pool call 1 held it",)


@pytest.mark.parametrize("kind", [EventKind.KILL, EventKind.REAP])
def test_the_end_of_a_worker_ends_its_lease(build: Any, kind: EventKind) -> None:
    events = [
        build.event(ACCEPT, 0, call=1, worker=1),
        build.event(kind, 5, worker=1),
        build.event(ACCEPT, 6, call=2, worker=1),
    ]
    assert ExclusiveLease().check(build.history(events=events)).verdict is Verdict.PASS


def test_the_checkin_of_another_call_ends_no_lease(build: Any) -> None:
    events = [
        build.event(ACCEPT, 0, call=1, worker=1),
        build.event(EventKind.CHECKIN, 5, call=9, worker=1),
        build.event(ACCEPT, 6, call=2, worker=1),
    ]
    assert ExclusiveLease().check(build.history(events=events)).verdict is Verdict.FAIL


def test_a_journal_with_two_requests_at_once_fails_whatever_the_pool_tells(build: Any) -> None:
    events = [*build.lease(1, 1, 0, 10), *build.lease(1, 2, 10, 20)]
    services = [build.service(101, 1, 0, 12), build.service(101, 2, 11, 20)]
    found = ExclusiveLease().check(build.history(events=events, services=services))
    assert found.verdict is Verdict.FAIL
    assert "process 101 worked on the requests 1 and 2" in found.examples[0]


def test_a_journal_alone_is_enough_to_decide(build: Any) -> None:
    services = [build.service(101, 1, 0, 10), build.service(101, 2, 10, 20), build.service(102, 3, 5, 15)]
    assert ExclusiveLease().check(build.history(services=services)).verdict is Verdict.PASS


def test_requests_sent_and_served_once_pass(build: Any) -> None:
    services = [build.service(101, 1, 0, 5, nonce="a"), build.service(101, 2, 5, 9, nonce="b")]
    events = [*build.lease(1, 1, 0, 5), *build.lease(1, 2, 5, 9)]
    assert AtMostOnce().check(build.history(events=events, services=services)).verdict is Verdict.PASS


def test_a_call_that_is_sent_twice_fails(build: Any) -> None:
    events = [build.event(SEND, 0, call=1, worker=1), build.event(SEND, 5, call=1, worker=2)]
    found = AtMostOnce().check(build.history(events=events))
    assert found.verdict is Verdict.FAIL
    assert found.examples == ("pool call 1 was sent 2 times",)


def test_a_nonce_that_is_served_twice_fails_though_the_pool_tells_of_one_send(build: Any) -> None:
    services = [build.service(101, 1, 0, None, nonce="a"), build.service(102, 2, 5, 9, nonce="a")]
    events = [build.event(SEND, 0, call=1, worker=1)]
    found = AtMostOnce().check(build.history(events=events, services=services))
    assert found.verdict is Verdict.FAIL
    assert found.examples == ("the request a was served 2 times",)


def test_a_handover_may_repeat_what_its_client_has_an_answer_to(build: Any) -> None:
    op = build.op(0, 0, 10, command="put", session="s")
    services = [build.service(101, 1, 1, 9, nonce=op.nonce), build.service(102, 5, 20, 25, nonce=op.nonce)]
    assert AtMostOnce().check(build.history(op, services=services)).verdict is Verdict.PASS


@pytest.mark.parametrize("kind", [OpType.OK, OpType.INFO])
def test_a_repetition_that_the_client_has_no_answer_to_fails(build: Any, kind: OpType) -> None:
    op = build.op(0, 0, 30, command="put", session="s", type=kind)
    services = [build.service(101, 1, 1, 9, nonce=op.nonce), build.service(102, 5, 20, 25, nonce=op.nonce)]
    assert AtMostOnce().check(build.history(op, services=services)).verdict is Verdict.FAIL


def test_a_repetition_outside_a_session_fails_at_any_time(build: Any) -> None:
    op = build.op(0, 0, 10, command="sleep")
    services = [build.service(101, 1, 1, 9, nonce=op.nonce), build.service(102, 5, 20, 25, nonce=op.nonce)]
    assert AtMostOnce().check(build.history(op, services=services)).verdict is Verdict.FAIL


def test_a_worker_that_broke_and_was_not_used_again_is_clean(build: Any) -> None:
    events = [
        *build.lease(1, 1, 0, 9),
        build.event(ACCEPT, 10, call=2, worker=1),
        build.event(SEND, 11, call=2, worker=1),
        *build.lease(2, 3, 12, 20),
    ]
    found = CleanWorkers().check(build.history(events=events))
    assert found.verdict is Verdict.PASS
    assert found.figures == {"broken": 1}


def test_a_dirty_worker_that_is_given_away_again_fails(build: Any) -> None:
    events = [
        build.event(ACCEPT, 0, call=1, worker=1),
        build.event(SEND, 1, call=1, worker=1),
        *build.lease(1, 2, 10, 20),
    ]
    found = CleanWorkers().check(build.history(events=events))
    assert found.verdict is Verdict.FAIL
    assert found.examples == ("worker 1 was given to pool call 2, although its earlier pool call 1 had no answer yet",)


def arrivals(build: Any, *calls: tuple[int, float, float], kind: EventKind = ACCEPT) -> list[Any]:
    events = []
    for call, came, granted in calls:
        events += [build.event(EventKind.ENQUEUE, came, call=call), build.event(kind, granted, call=call, worker=1)]
    return events


def test_grants_in_the_order_of_arrival_pass(build: Any) -> None:
    events = arrivals(build, (1, 0, 0), (2, 10, 40), (3, 20, 60))
    assert Fifo().check(build.history(events=events)).verdict is Verdict.PASS


def test_a_call_that_overtakes_another_fails(build: Any) -> None:
    events = arrivals(build, (1, 0, 80), (2, 10, 40))
    found = Fifo().check(build.history(events=events))
    assert found.verdict is Verdict.FAIL
    assert found.examples == (
        "pool call 2 got a worker before pool call 1, which had entered the queue 10.0 ms earlier",
    )


def test_a_call_that_came_while_a_worker_was_idle_had_no_place_in_the_queue(build: Any) -> None:
    ready = build.event(EventKind.READY, -50, call=None, worker=2)
    taken = build.event(ACCEPT, 5, call=9, worker=2)
    events = arrivals(build, (1, 0, 80), (2, 10, 40))
    assert Fifo().check(build.history(events=[ready, taken, *events])).verdict is Verdict.PASS
    taken_before = build.event(ACCEPT, -5, call=9, worker=2)
    assert Fifo().check(build.history(events=[ready, taken_before, *events])).verdict is Verdict.FAIL


def test_an_order_within_the_slack_is_no_overtaking(build: Any) -> None:
    close_arrivals = arrivals(build, (1, 0, 80), (2, 1, 40))
    close_grants = arrivals(build, (1, 0, 41), (2, 10, 40))
    for events in (close_arrivals, close_grants):
        assert Fifo(slack_s=0.002).check(build.history(events=events)).verdict is Verdict.PASS


def test_the_offer_is_the_moment_of_the_grant(build: Any) -> None:
    events = [*arrivals(build, (1, 0, 90), (2, 10, 40)), build.event(EventKind.OFFER, 20, call=1, worker=1)]
    assert Fifo().check(build.history(events=events)).verdict is Verdict.PASS


def test_calls_of_sessions_are_left_out(build: Any) -> None:
    events = arrivals(build, (1, 0, 80), (2, 10, 40), (3, 50, 90))
    bound = build.op(0, call=1, session="s")
    assert Fifo().check(build.history(bound, events=events)).verdict is Verdict.PASS


def test_one_call_has_no_order(build: Any) -> None:
    assert Fifo().check(build.history(events=arrivals(build, (1, 0, 5)))).verdict is Verdict.UNKNOWN


def test_a_receive_makes_a_worker_clean_again(build: Any) -> None:
    events = [
        build.event(SEND, 0, call=1, worker=1),
        build.event(RECEIVE, 400, call=1, worker=1),
        build.event(ACCEPT, 401, call=2, worker=1),
    ]
    assert CleanWorkers().check(build.history(events=events)).verdict is Verdict.PASS


def test_a_call_that_gave_up_and_was_overtaken_before_fails(build: Any) -> None:
    events = [
        build.event(EventKind.ENQUEUE, 0, call=1),
        *arrivals(build, (2, 10, 40), (3, 20, 60)),
        build.event(EventKind.WITHDRAW, 300, call=1),
    ]
    found = Fifo().check(build.history(events=events))
    assert found.verdict is Verdict.FAIL
    assert found.examples == (
        "pool call 2 got a worker before pool call 1, which had entered the queue 10.0 ms earlier",
    )


def test_a_call_whose_time_is_over_may_be_passed_over(build: Any) -> None:
    events = [
        build.event(EventKind.ENQUEUE, 0, call=1),
        *arrivals(build, (2, 10, 60), (3, 20, 70)),
        build.event(EventKind.WITHDRAW, 300, call=1),
    ]
    impatient = build.op(0, 0, 300, call=1, checkout_timeout_s=0.05, outcome="CheckoutTimeout")
    assert Fifo().check(build.history(impatient, events=events)).verdict is Verdict.PASS


def queued(build: Any, call: int, came: float, entered: float, offered: float, back: float, worker: int) -> list[Any]:
    """A call that a pool tells the whole wait of: on a worker that was given back a while before the offer."""
    told = str(round((offered - entered) * 1000))
    return [
        build.event(EventKind.ENQUEUE, came, call=call),
        build.event(EventKind.CHECKIN, back, call=call + 100, worker=worker),
        build.event(EventKind.OFFER, offered, call=call, worker=worker, detail=told),
        build.event(ACCEPT, offered + 1, call=call, worker=worker),
    ]


def test_a_call_that_was_held_up_before_it_had_a_place_in_the_queue_was_not_overtaken(build: Any) -> None:
    events = [*queued(build, 1, 0, 50, 80, 79, 1), *queued(build, 2, 10, 11, 40, 39, 2)]
    assert Fifo().check(build.history(events=events)).verdict is Verdict.PASS


def test_an_offer_that_is_told_late_is_no_overtaking(build: Any) -> None:
    events = [*queued(build, 1, 0, 1, 80, 30, 1), *queued(build, 2, 10, 11, 40, 39, 2)]
    assert Fifo().check(build.history(events=events)).verdict is Verdict.PASS


def test_a_call_with_a_place_in_the_queue_that_is_overtaken_fails_however_close_the_arrivals(build: Any) -> None:
    events = [*queued(build, 1, 0, 0.1, 80, 79, 1), *queued(build, 2, 0.2, 0.3, 40, 39, 2)]
    found = Fifo().check(build.history(events=events))
    assert found.verdict is Verdict.FAIL
    assert found.examples == (
        "pool call 2 got a worker before pool call 1, which had entered the queue 0.2 ms earlier",
    )


def test_a_call_that_found_an_idle_worker_had_no_place_to_be_overtaken_at(build: Any) -> None:
    at_once = [build.event(EventKind.ENQUEUE, 0, call=3), build.event(ACCEPT, 90, call=3, worker=3)]
    events = [*at_once, *queued(build, 1, 1, 2, 30, 29, 1), *queued(build, 2, 10, 11, 40, 39, 2)]
    assert Fifo().check(build.history(events=events)).verdict is Verdict.PASS


@pytest.mark.parametrize(("apart", "verdict"), [(1.9, Verdict.PASS), (2.1, Verdict.FAIL)])
def test_calls_are_in_no_order_within_two_milliseconds(build: Any, apart: float, verdict: Verdict) -> None:
    close_arrivals = arrivals(build, (1, 0, 80), (2, apart, 40))
    close_grants = arrivals(build, (1, 0, 40 + apart), (2, 10, 40))
    for events in (close_arrivals, close_grants):
        assert Fifo().check(build.history(events=events)).verdict is verdict


def test_a_worker_that_is_given_to_its_next_call_in_the_moment_of_its_checkin_is_held_once(build: Any) -> None:
    events = [*build.lease(1, 1, 0, 10), *build.lease(1, 2, 10, 20)]
    assert ExclusiveLease().check(build.history(events=events)).verdict is Verdict.PASS
    services = [build.service(101, 1, 0, 10), build.service(101, 2, 10, 20), build.service(102, 3, 5, 15)]
    assert ExclusiveLease().check(build.history(services=services)).verdict is Verdict.PASS


def test_requests_without_a_nonce_are_counted_against_the_calls_that_have_none(build: Any) -> None:
    asked = [build.op(0, args={}), build.op(1, 20, 30, args={})]
    for count, verdict in ((2, Verdict.PASS), (3, Verdict.FAIL)):
        services = [build.service(101, number, 10 * number, 10 * number + 5) for number in range(count)]
        assert AtMostOnce().check(build.history(*asked, services=services)).verdict is verdict
        of_session = [build.op(0, args={}, session="s"), build.op(1, 20, 30, args={})]
        assert AtMostOnce().check(build.history(*of_session, services=services)).verdict is Verdict.PASS


def test_what_nobody_sent_or_leased_is_unknown(build: Any) -> None:
    history = build.history(build.op(0))
    for checker in (ExclusiveLease(), AtMostOnce(), CleanWorkers()):
        assert checker.check(history).verdict is Verdict.UNKNOWN


def test_what_belongs_to_no_call_is_neither_a_lease_nor_outstanding(build: Any) -> None:
    pings = [build.event(ACCEPT, 0, worker=1), build.event(SEND, 1, worker=1), *build.lease(1, 1, 2, 9)]
    history = build.history(events=pings)
    assert ExclusiveLease().check(history).verdict is Verdict.PASS
    assert CleanWorkers().check(history).verdict is Verdict.PASS


def test_a_call_that_waits_for_one_worker_alone_or_has_no_number_is_in_no_queue(build: Any) -> None:
    for bound in (
        build.event(EventKind.ENQUEUE, 0, call=1, worker=1),
        build.event(EventKind.ENQUEUE, 0),
    ):
        late = build.event(ACCEPT, 80, call=1, worker=1)
        events = [bound, late, *arrivals(build, (2, 10, 40), (3, 50, 60))]
        assert Fifo().check(build.history(events=events)).verdict is Verdict.PASS


def test_a_call_that_the_pool_gave_no_number_is_named_so(build: Any) -> None:
    events = [build.event(SEND, ms, call=None, worker=1) for ms in (1, 2)]
    assert AtMostOnce().check(build.history(events=events)).examples == ("pool call None was sent 2 times",)


def test_a_request_without_a_nonce_must_have_been_asked_for_so(build: Any) -> None:
    services = [build.service(101, 1, 0, 5)]
    assert AtMostOnce().check(build.history(build.op(0), services=services)).verdict is Verdict.FAIL


@pytest.mark.parametrize(("options", "expected"), [({}, Verdict.FAIL), ({"session_ttl_s": 0.5}, Verdict.PASS)])
def test_calls_that_a_pool_makes_to_end_unused_sessions_are_not_in_the_order(
    build: Any, options: dict[str, Any], expected: Verdict
) -> None:
    came = ((1, 0), (2, 50), (3, 60))
    events = [build.event(EventKind.ENQUEUE, ms, call=call) for call, ms in came]
    events += build.lease(1, 2, 60, 70) + build.lease(1, 3, 75, 79) + build.lease(2, 1, 80, 90)
    ops = [build.op(0, 50, 75, call=2), build.op(1, 60, 79, call=3)]
    assert Fifo().check(build.history(*ops, events=events, info={"options": options})).verdict is expected


@pytest.mark.parametrize(("outcome", "expected"), [("CheckoutTimeout", Verdict.FAIL), ("QueueFull", Verdict.PASS)])
def test_a_call_that_was_refused_had_no_place_in_the_queue(build: Any, outcome: str, expected: Verdict) -> None:
    events = [build.event(EventKind.ENQUEUE, ms, call=call) for call, ms in ((1, 0), (2, 10), (3, 20))]
    events += [build.event(EventKind.DONE, 60, call=1, detail=outcome)]
    events += build.lease(1, 2, 30, 40) + build.lease(1, 3, 45, 50)
    assert Fifo().check(build.history(events=events)).verdict is expected
