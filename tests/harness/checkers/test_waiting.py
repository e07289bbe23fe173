"""WorkConserving, HandOff and Independence: waiting calls, idle workers, and stuck ones beside them."""

from __future__ import annotations

from typing import Any

from poolproof.bridge import EventKind
from poolproof.harness.checkers import HandOff, Independence, WorkConserving
from poolproof.harness.model.fault import FaultKind, FaultRecord
from poolproof.harness.model.verdict import Verdict

ENQUEUE, OFFER, ACCEPT, WITHDRAW = EventKind.ENQUEUE, EventKind.OFFER, EventKind.ACCEPT, EventKind.WITHDRAW
READY, CHECKIN, DONE, KILL = EventKind.READY, EventKind.CHECKIN, EventKind.DONE, EventKind.KILL
CONSERVING = WorkConserving(epsilon_s=0.05)


def test_a_worker_that_goes_to_the_next_at_once_passes(build: Any) -> None:
    events = [
        build.event(READY, 0, worker=1),
        build.event(ENQUEUE, 1, call=1),
        *build.lease(1, 1, 2, 200),
        build.event(ENQUEUE, 3, call=2),
        *build.lease(1, 2, 210, 300),
    ]
    found = CONSERVING.check(build.history(events=events, close_began=900))
    assert found.verdict is Verdict.PASS
    assert found.figures == {"waits": 2}


def test_an_idle_worker_beside_a_waiting_call_fails(build: Any) -> None:
    events = [
        build.event(READY, 0, worker=2),
        build.event(ENQUEUE, 10, call=1),
        *build.lease(1, 1, 90, 200),
    ]
    found = CONSERVING.check(build.history(events=events, close_began=900))
    assert found.verdict is Verdict.FAIL
    assert found.examples == ("worker 2 was idle for 0.080 s while a call waited",)


def test_a_worker_that_was_refused_and_forgotten_fails(build: Any) -> None:
    events = [
        build.event(ENQUEUE, 0, call=1),
        build.event(OFFER, 5, call=1, worker=1),
        build.event(WITHDRAW, 6, call=1, worker=1),
        build.event(ENQUEUE, 10, call=2),
        build.event(DONE, 200, call=2),
    ]
    assert CONSERVING.check(build.history(events=events, close_began=300)).verdict is Verdict.FAIL


def test_many_short_waits_beside_many_short_rests_are_no_long_one(build: Any) -> None:
    events = []
    for number in range(20):
        ms = 10 * number
        events += [build.event(ENQUEUE, ms, call=number), *build.lease(1, number, ms + 9, ms + 9.5)]
    assert CONSERVING.check(build.history(events=events, close_began=210)).verdict is Verdict.PASS


def test_a_call_of_a_session_may_wait_for_its_own_worker(build: Any) -> None:
    events = [build.event(READY, 0, worker=2), build.event(ENQUEUE, 1, call=1), *build.lease(1, 1, 100, 200)]
    bound = build.op(0, call=1, session="s")
    assert CONSERVING.check(build.history(bound, events=events, close_began=300)).verdict is Verdict.UNKNOWN


def test_offers_that_are_taken_or_refused_once_pass(build: Any) -> None:
    events = [
        build.event(OFFER, 0, call=1, worker=1),
        build.event(ACCEPT, 1, call=1, worker=1),
        build.event(OFFER, 2, call=2, worker=2),
        build.event(WITHDRAW, 3, call=2, worker=2),
        build.event(OFFER, 4, call=3, worker=3),
        build.event(CHECKIN, 5, call=3, worker=3),  # taken too late, and given back
        build.event(OFFER, 6, call=4, worker=4),
        build.event(KILL, 7, worker=4),
        *(build.event(DONE, 9, call=call) for call in (1, 2, 3, 4)),
    ]
    found = HandOff().check(build.history(events=events, close_began=20))
    assert found.verdict is Verdict.PASS
    assert found.figures == {"offers": 4}


def test_an_offer_that_is_both_taken_and_refused_fails(build: Any) -> None:
    events = [build.event(kind, 1, call=1, worker=1) for kind in (OFFER, ACCEPT, WITHDRAW)]
    found = HandOff().check(build.history(events=events))
    assert found.verdict is Verdict.FAIL
    assert found.examples == (
        "worker 1 was offered to pool call 1 1 times, and these offers were accepted 1 times and withdrawn 1 times",
    )


def test_an_offer_that_nobody_answers_fails(build: Any) -> None:
    events = [
        build.event(OFFER, 0, call=1, worker=1),
        *build.lease(2, 1, 1, 8),
        build.event(DONE, 9, call=1),
        build.event(KILL, 30, worker=1, detail="retired"),
    ]
    found = HandOff().check(build.history(events=events, close_began=20))
    assert found.verdict is Verdict.FAIL
    assert found.examples == ("worker 1 was offered to pool call 1, and the offer was neither accepted nor withdrawn",)


def test_a_pool_that_makes_no_offers_is_unknown(build: Any) -> None:
    assert HandOff().check(build.history(events=build.lease(1, 1, 0, 5))).verdict is Verdict.UNKNOWN


def beside(build: Any, *, end: float, events: tuple[Any, ...] = (), **fields: Any) -> Any:
    op = build.op(0, 50, end, call=2, worker=2, pid=102, checked_out_ns=build.at(51))
    stuck = [build.event(ACCEPT, 0, call=1, worker=1), build.event(KILL, 900, worker=1)]
    services = [build.service(102, 2, 52, 60)]
    return build.history(op, events=[*stuck, *events], services=services, close_began=950, **fields)


def test_a_call_beside_a_stuck_worker_that_is_not_delayed_passes(build: Any) -> None:
    found = Independence(epsilon_s=0.1).check(beside(build, end=62))
    assert found.verdict is Verdict.PASS
    assert found.figures == {"stuck": 1, "beside": 1, "most_s": 0.003}


def test_an_answer_that_is_held_up_by_another_worker_fails(build: Any) -> None:
    found = Independence(epsilon_s=0.1).check(beside(build, end=800))
    assert found.verdict is Verdict.FAIL
    assert found.examples == ("call 0 on worker 2 was delayed by 0.741 s while another worker was stuck",)


def test_a_call_that_waits_beside_an_idle_worker_while_another_is_stuck_fails(build: Any) -> None:
    waiting = (build.event(READY, 10, worker=3), build.event(ENQUEUE, 20, call=9), build.event(DONE, 500, call=9))
    found = Independence(epsilon_s=0.1).check(beside(build, end=62, events=waiting))
    assert found.verdict is Verdict.FAIL
    assert found.examples == ("a call waited for 0.480 s although worker 3 was idle, while another worker was stuck",)


def test_a_fault_makes_its_worker_stuck_from_its_moment_on(build: Any) -> None:
    fault = FaultRecord(kind=FaultKind.STOP, at_ns=build.at(40), landed=True, worker=1)
    checker = Independence(epsilon_s=0.1, stuck_s=5.0)
    assert checker.check(beside(build, end=62)).verdict is Verdict.UNKNOWN
    assert checker.check(beside(build, end=62, faults=[fault])).verdict is Verdict.PASS


def test_a_call_on_the_stuck_worker_itself_is_none_beside_it(build: Any) -> None:
    op = build.op(0, 0, 900, call=1, worker=1, pid=101, checked_out_ns=build.at(1))
    events = [build.event(ACCEPT, 0, call=1, worker=1), build.event(KILL, 900, worker=1)]
    history = build.history(op, events=events, services=[build.service(101, 1, 2, 5)])
    assert Independence(epsilon_s=0.1).check(history).verdict is Verdict.UNKNOWN


def test_a_worker_may_be_idle_beside_a_call_for_epsilon_and_no_longer(build: Any) -> None:
    for until, verdict in ((58, Verdict.PASS), (62, Verdict.FAIL)):
        events = [build.event(READY, 0, worker=2), build.event(ENQUEUE, 10, call=1), *build.lease(2, 1, until, 200)]
        assert CONSERVING.check(build.history(events=events, close_began=900)).verdict is verdict


def test_a_call_that_waits_at_the_end_and_a_worker_that_is_idle_until_the_close_are_seen(build: Any) -> None:
    events = [build.event(ENQUEUE, 0, call=1), build.event(DONE, 300, call=1), build.event(READY, 10, worker=1)]
    found = CONSERVING.check(build.history(events=events, close_began=200))
    assert found.examples == ("worker 1 was idle for 0.190 s while a call waited",)
    for close_began in (50, None):
        fields = {} if close_began is None else {"close_began": close_began}
        assert CONSERVING.check(build.history(events=events, **fields)).verdict is Verdict.PASS


def test_a_worker_that_becomes_idle_after_the_close_began_is_not_judged(build: Any) -> None:
    events = [build.event(ENQUEUE, 0, call=1), build.event(DONE, 900, call=1), build.event(READY, 500, worker=1)]
    events.append(build.event(KILL, 890, worker=1))
    assert CONSERVING.check(build.history(events=events, close_began=400)).verdict is Verdict.PASS


def test_a_call_without_an_end_is_no_wait(build: Any) -> None:
    events = [build.event(READY, 0, worker=1), build.event(ENQUEUE, 1, call=1)]
    assert CONSERVING.check(build.history(events=events, close_began=900)).verdict is Verdict.UNKNOWN


def test_an_accept_without_an_offer_is_no_hand_off(build: Any) -> None:
    events = [
        build.event(OFFER, 0, call=1, worker=1),
        build.event(WITHDRAW, 1, call=1, worker=1),
        build.event(DONE, 9, call=1),
        build.event(OFFER, 2, call=2, worker=2),
        build.event(ACCEPT, 3, call=2, worker=2),
        build.event(ACCEPT, 5, call=2, worker=3),
        build.event(DONE, 9, call=2),
    ]
    found = HandOff().check(build.history(events=events, close_began=20))
    assert (found.verdict, found.figures) == (Verdict.PASS, {"offers": 2})


def test_a_call_may_be_delayed_by_less_than_epsilon_and_no_more(build: Any) -> None:
    for end, verdict in ((157, Verdict.PASS), (161, Verdict.FAIL)):
        assert Independence(epsilon_s=0.1).check(beside(build, end=end)).verdict is verdict


def test_a_worker_is_stuck_from_a_fifth_of_a_second_on(build: Any) -> None:
    for killed, verdict in ((205, Verdict.PASS), (195, Verdict.UNKNOWN)):
        op = build.op(0, 50, 62, call=2, worker=2, pid=102, checked_out_ns=build.at(51))
        events = [build.event(ACCEPT, 0, call=1, worker=1), build.event(KILL, killed, worker=1)]
        history = build.history(op, events=events, services=[build.service(102, 2, 52, 60)], close_began=950)
        assert Independence(epsilon_s=0.1).check(history).verdict is verdict


def test_a_call_whose_work_is_not_known_to_have_ended_is_not_judged(build: Any) -> None:
    stuck = [build.event(ACCEPT, 0, call=1, worker=1), build.event(KILL, 900, worker=1)]
    fields: dict[str, Any] = {"call": 2, "worker": 2, "pid": 102}
    for op, services in (
        (build.op(0, 50, 800, checked_out_ns=build.at(51), **fields), [build.service(102, 2, 52, None)]),
        (build.op(0, 50, 800, checked_out_ns=build.at(51), **fields), [build.service(103, 2, 52, 60)]),
        (build.op(0, 50, 800, **fields), [build.service(102, 2, 52, 60)]),
        (build.op(0, 50, None, checked_out_ns=build.at(51), **fields), [build.service(102, 2, 52, 60)]),
        (build.op(0, 50, 800, checked_out_ns=build.at(51), session="s", **fields), [build.service(102, 2, 52, 60)]),
    ):
        history = build.history(op, events=stuck, services=services, close_began=950)
        assert Independence(epsilon_s=0.1).check(history).verdict is Verdict.UNKNOWN
