"""Batches: results in order, one outcome an item, and nothing lost when something goes wrong in the middle."""

from __future__ import annotations

from typing import Any

import pytest

from poolproof.bridge import CheckoutTimeout, CommandError, EventKind, InvalidRequest, WorkerCrashed


def test_results_come_in_the_order_of_the_items_from_one_worker(make_pool: Any) -> None:
    pool = make_pool(workers=3)
    pool.warm_up()
    assert pool.execute_many("echo", ({"value": index} for index in range(1000))) == list(range(1000))
    assert len({answer["pid"] for answer in pool.execute_many("pid", [{}] * 20)}) == 1
    statistics = pool.status().statistics
    assert (statistics.submitted, statistics.outcomes) == (1020, {"result": 1020})


def test_no_items_are_no_call(make_pool: Any) -> None:
    pool = make_pool(workers=1)
    assert pool.execute_many("echo", []) == []
    assert pool.status().statistics.submitted == 0


def test_requests_and_answers_larger_than_the_pipes_pass_one_another(make_pool: Any) -> None:
    pool = make_pool(workers=1)
    items = [{"value": str(index) * 150_000} for index in range(12)]
    assert pool.execute_many("echo", items) == [item["value"] for item in items]


def test_a_request_is_sent_before_the_last_is_answered(make_pool: Any, log: Any) -> None:
    pool = make_pool(log, workers=1)
    pool.execute_many("sleep", [{"seconds": 0.5}, {"seconds": 0.0}, {"seconds": 0.0}])
    kinds = [event.kind for event in log.of(EventKind.SEND, EventKind.RECEIVE)]
    assert kinds == [EventKind.SEND] * 3 + [EventKind.RECEIVE] * 3


def test_an_item_that_fails_is_named_and_the_others_are_done(make_pool: Any) -> None:
    pool = make_pool(workers=1)
    with pytest.raises(CommandError, match="item 0 of 2: a"):
        pool.execute_many("fail", [{"message": "a"}, {"message": "b"}])
    found = pool.execute_many("parts", [{"count": 1}, {"count": -1}, {"count": 1}], return_errors=True)
    assert [type(value) for value in found] == [list, CommandError, list]
    assert pool.status().statistics.outcomes == {"CommandError": 3, "result": 2}


def test_a_worker_that_dies_costs_only_what_it_had_not_answered(make_pool: Any) -> None:
    pool = make_pool(workers=1)
    items = [{"count": 1}] * 3 + [{"count": 1, "exit_at": 0}] + [{"count": 1}] * 2
    found = pool.execute_many("parts", items, return_errors=True)
    assert [type(value) for value in found[:3]] == [list] * 3
    assert all(isinstance(value, WorkerCrashed) for value in found[3:])
    assert found[3].sent == "yes"
    assert pool.status().statistics.outcomes == {"result": 3, "WorkerCrashed": 3}
    assert pool.execute("echo", {"value": 1}) == 1


@pytest.mark.parametrize("session", [None, "s"])
def test_each_item_counts_towards_a_worker_s_last_request(make_pool: Any, session: str | None) -> None:
    pool = make_pool(workers=1, max_requests=5)
    pids = [
        {answer["pid"] for answer in pool.execute_many("pid", [{}] * count, session=session)} for count in (3, 1, 4, 1)
    ]
    assert [len(each) for each in pids] == [1] * 4, "a batch is never cut short"
    assert pids[0] == pids[1] == pids[2] != pids[3]


def test_without_a_worker_nothing_was_sent(make_pool: Any, held: Any) -> None:
    pool = make_pool(workers=1)
    with pool.checkout():
        found = pool.execute_many("echo", [{"value": 1}, {"value": 2}], return_errors=True, checkout_timeout_s=0.05)
    assert [(type(error), error.sent) for error in found] == [(CheckoutTimeout, "no")] * 2


def test_an_item_that_is_no_request_is_named_before_anything_is_sent(make_pool: Any, log: Any) -> None:
    pool = make_pool(log, workers=1)
    with pytest.raises(InvalidRequest, match="item 1"):
        pool.execute_many("echo", [{"value": 1}, {"value": object()}])
    assert not log.of(EventKind.SEND)
    assert pool.status().statistics.submitted == 0


def test_a_session_s_items_change_its_state_in_order(make_pool: Any) -> None:
    pool = make_pool(workers=2)
    pool.execute_many("append", [{"key": "list", "value": index} for index in range(5)], session="s")
    pool.execute("echo", {"value": 1})
    assert pool.execute("get", {"key": "list"}, session="s")["value"] == [0, 1, 2, 3, 4]
    assert pool.sessions()[0].operations == 6
