"""Linearizable: sessions whose calls overlap, are doubtful, or span keys."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from poolproof.harness.checkers import Linearizable
from poolproof.harness.checkers.calls.calls import calls_by_session
from poolproof.harness.checkers.calls.linearizability import _as_call, _as_calls
from poolproof.harness.checkers.calls.search import find_order
from poolproof.harness.history.history import OpType
from poolproof.harness.model.verdict import Verdict


class Kv:
    """Key-value calls of the session "s"."""

    def __init__(self, build: Any) -> None:
        self._build = build
        self.ops: list[Any] = []

    def call(self, command: str, start: float, end: float | None, value: Any = None, **args: Any) -> Kv:
        index = len(self.ops)
        fields = {"session": "s", "value": value, "command": command}
        fields |= {name: args.pop(name) for name in ("session", "outcome", "type") if name in args}
        self.ops.append(self._build.op(index, start, end, args={**args, "nonce": f"1.0.{index}"}, **fields))
        return self

    def put(self, start: float, end: float | None, value: Any, key: str = "k", **fields: Any) -> Kv:
        return self.call("put", start, end, {"stored": True}, key=key, value_=None, **fields)._set(value)

    def _set(self, value: Any) -> Kv:
        del self.ops[-1].args["value_"]
        self.ops[-1].args["value"] = value
        return self

    def get(self, start: float, end: float, value: Any, key: str = "k", **fields: Any) -> Kv:
        return self.call("get", start, end, {"value": value, "found": value is not None}, key=key, **fields)

    def append(self, start: float, end: float, value: Any, values: list[Any], key: str = "k") -> Kv:
        return self.call("append", start, end, {"values": values}, key=key, value_=None)._set(value)

    def check(self, checker: Linearizable | None = None, **fields: Any) -> Any:
        return (checker or Linearizable()).check(self._build.history(*self.ops, **fields))


@pytest.fixture
def kv(build: Any) -> Kv:
    return Kv(build)


def test_overlapping_calls_with_an_order_pass(kv: Kv) -> None:
    kv.put(0, 10, 1).put(0, 10, 2).get(5, 8, 2).get(11, 12, 1).append(20, 30, "a", ["a", "b"][:1], key="log")
    kv.append(20, 30, "b", ["a", "b"], key="log").call("delete", 40, 41, {"deleted": True}, key="k").get(42, 43, None)
    found = kv.check()
    assert found.verdict is Verdict.PASS
    assert (found.figures["answers"], found.figures["sessions"], found.figures["in_order"]) == (8, 1, 8)


def test_a_stale_read_fails_with_the_longest_prefix(kv: Kv) -> None:
    found = kv.put(0, 1, "old").put(2, 3, "new").get(4, 5, "old").check()
    assert found.verdict is Verdict.FAIL
    assert found.examples == (
        "session 's', key 'k': 2 of 3 answers can be explained by one order of the calls; after them none of "
        "these calls can come next: "
        "call 2 get(k) -> {'value': 'old', 'found': True}",
    )


def test_a_lost_update_of_two_overlapping_appends_fails(kv: Kv) -> None:
    assert kv.append(0, 10, "a", ["a"]).append(0, 10, "b", ["b"]).check().verdict is Verdict.FAIL


def test_two_keys_seen_in_a_list_are_judged_together(kv: Kv) -> None:
    kv.put(0, 1, 1, key="a").put(2, 3, 1, key="b").call("list", 4, 5, {"keys": ["a", "b"]})
    assert kv.check().verdict is Verdict.PASS
    kv.call("list", 6, 7, {"keys": ["a"]})
    assert kv.check().verdict is Verdict.FAIL


def test_a_cleaned_a_restored_and_a_snapshot_session_are_followed(kv: Kv) -> None:
    state = {"values": {"k": [1]}, "programs": [], "model": {}}
    kv.put(0, 1, 1).call("cleanup_session", 2, 3, {}).get(4, 5, None).call("restore_session", 6, 7, {}, state=state)
    kv.get(8, 9, [1]).call("snapshot_session", 10, 11, state)
    assert kv.check().verdict is Verdict.PASS
    kv.call("snapshot_session", 12, 13, {**state, "values": {}})
    assert kv.check().verdict is Verdict.FAIL


@pytest.mark.parametrize("seen", ["first", "doubtful"])
def test_a_doubtful_write_may_have_happened_or_not(kv: Kv, seen: str) -> None:
    kv.put(0, 1, "first").put(2, 3, "doubtful", outcome="CallTimeout").get(4, 5, seen)
    assert kv.check().verdict is Verdict.PASS


def test_a_write_that_no_journal_holds_did_not_happen(kv: Kv, build: Any) -> None:
    kv.put(0, 1, "first").put(2, 3, "doubtful", outcome="WorkerCrashed").get(4, 5, "doubtful")
    services = [build.service(101, 0, 0, 1, nonce="1.0.0"), build.service(101, 2, 4, 5, nonce="1.0.2")]
    assert kv.check(services=services).verdict is Verdict.FAIL


def test_a_write_that_failed_did_not_happen(kv: Kv) -> None:
    kv.put(0, 1, "never", outcome="CheckoutTimeout").get(2, 3, "never")
    assert kv.check().verdict is Verdict.FAIL


def test_a_lost_session_is_judged_up_to_its_loss(kv: Kv) -> None:
    kv.put(0, 1, 1).put(4, 9, 2).call("get", 5, 6, None, key="k", outcome="SessionLost", type=OpType.FAIL)
    kv.get(10, 11, None)
    assert kv.check().verdict is Verdict.PASS
    kv.get(2, 3, None)
    assert kv.check().verdict is Verdict.FAIL


def test_sessions_do_not_share_their_state(kv: Kv) -> None:
    assert kv.put(0, 1, 1).get(2, 3, None, session="other").check().verdict is Verdict.PASS


def test_a_value_of_another_type_is_another_value(kv: Kv) -> None:
    assert kv.put(0, 1, 1).get(2, 3, True).check().verdict is Verdict.FAIL


def test_unanswered_writes_that_nobody_read_hide_no_violation(kv: Kv) -> None:
    for number in range(14):
        kv.put(0, None, f"doubtful {number}", type=OpType.INFO, outcome="CallTimeout")
    found = kv.put(1, 2, "old").put(3, 4, "new").get(5, 6, "old").check(Linearizable(most_visited=1000))
    assert found.verdict is Verdict.FAIL


def test_an_unanswered_write_that_a_delete_or_a_list_shows_is_kept(kv: Kv) -> None:
    kv.put(0, None, 1, type=OpType.INFO, outcome="CallTimeout").call("delete", 5, 6, {"deleted": True}, key="k")
    assert kv.check().verdict is Verdict.PASS
    kv.put(7, None, 2, type=OpType.INFO, outcome="CallTimeout").call("list", 8, 9, {"keys": ["k"]})
    assert kv.check().verdict is Verdict.PASS


@pytest.mark.parametrize("seed", range(300))
def test_leaving_out_unread_writes_changes_no_verdict(build: Any, seed: int) -> None:
    draw, kv = random.Random(seed), Kv(build)
    for place in range(draw.randint(4, 8)):
        begin, end = place, place + draw.choice((0.5, 2.5, 4.5))
        match draw.choice(("put", "put", "lost", "lost", "get", "get", "delete", "append", "list")):
            case "put":
                kv.put(begin, end, draw.choice((1, 2, [3])))
            case "lost":
                kv.put(begin, None, draw.choice((1, 2, 5, [3])), type=OpType.INFO, outcome="CallTimeout")
            case "get":
                kv.get(begin, end, draw.choice((1, 2, [3], [3, 4], None)))
            case "delete":
                kv.call("delete", begin, end, {"deleted": draw.random() < 0.5}, key="k")
            case "append":
                kv.append(begin, end, 4, draw.choice(([4], [3, 4])))
            case _:
                kv.call("list", begin, end, {"keys": draw.choice(([], ["k"]))})
    calls = [calls for _, calls in calls_by_session(build.history(*kv.ops), np.ones(len(kv.ops), dtype=bool))]
    every = [find_order([_as_call(op) for op in ops], most_visited=10**6) for ops in calls]
    kept = [find_order(_as_calls(ops), most_visited=10**6) for ops in calls]
    assert [found.verdict for found in kept] == [found.verdict for found in every]


def test_the_bound_is_unknown_with_the_partial_evidence(kv: Kv) -> None:
    found = kv.put(0, 1, 1).put(2, 3, 2).get(4, 5, 2).check(Linearizable(most_visited=2))
    assert found.verdict is Verdict.UNKNOWN
    assert found.figures["in_order"] == 1
    assert "the search reached its limit of steps" in found.examples[0]


def test_sessions_without_an_answer_are_unknown(kv: Kv) -> None:
    assert kv.put(0, 1, 1, outcome="CallTimeout").check().verdict is Verdict.UNKNOWN


def test_a_call_that_changes_every_session_leaves_it_unknown(kv: Kv) -> None:
    assert kv.put(0, 1, 1).call("reset_state", 2, 3, {}, session=None).check().verdict is Verdict.UNKNOWN


def test_an_order_that_is_found_needs_no_example(kv: Kv) -> None:
    assert kv.put(0, 1, 1).get(2, 3, 1).check().examples == ()


def test_a_call_that_was_under_way_at_the_loss_may_have_run_after_it(kv: Kv) -> None:
    kv.put(0, 1, 1).get(4, 9, None).call("get", 5, 6, None, key="k", outcome="SessionLost", type=OpType.FAIL)
    assert kv.check().verdict is Verdict.PASS


def test_a_write_that_failed_did_not_happen_before_a_loss_either(kv: Kv) -> None:
    kv.put(0, 1, 1).put(3, 9, 2, outcome="CheckoutTimeout").get(4, 4.5, 2)
    kv.call("get", 5, 6, None, key="k", outcome="SessionLost", type=OpType.FAIL)
    assert kv.check().verdict is Verdict.FAIL


def test_a_doubtful_call_without_a_nonce_is_in_no_journal_and_may_have_happened(kv: Kv, build: Any) -> None:
    kv.put(0, 1, "first").put(2, 3, "doubtful", outcome="WorkerCrashed").get(4, 5, "doubtful")
    del kv.ops[1].args["nonce"]
    assert kv.check(services=[build.service(101, 0, 0, 1, nonce="1.0.0")]).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("command", "value", "verdict"),
    [
        ("get", {"found": True}, Verdict.PASS),
        ("get", {"found": False}, Verdict.FAIL),
        ("get", {"value": [1]}, Verdict.PASS),
        ("get", {"value": [2]}, Verdict.FAIL),
        ("append", {}, Verdict.PASS),
        ("append", {"values": [1, 2]}, Verdict.PASS),
        ("append", {"values": [2]}, Verdict.FAIL),
        ("delete", {}, Verdict.PASS),
        ("delete", {"deleted": True}, Verdict.PASS),
        ("delete", {"deleted": False}, Verdict.FAIL),
    ],
)
def test_an_answer_is_judged_by_the_fields_that_it_has(kv: Kv, command: str, value: Any, verdict: Verdict) -> None:
    kv.put(0, 1, [1]).call(command, 2, 3, value, key="k", value_=None)._set(2)
    assert kv.check().verdict is verdict


@pytest.mark.parametrize(
    ("command", "value", "verdict"),
    [
        ("get", {"found": True}, Verdict.FAIL),
        ("get", {"found": False}, Verdict.PASS),
        ("delete", {"deleted": True}, Verdict.FAIL),
        ("delete", {"deleted": False}, Verdict.PASS),
    ],
)
def test_what_was_never_put_is_not_found(kv: Kv, command: str, value: Any, verdict: Verdict) -> None:
    assert kv.call(command, 0, 1, value, key="k").check().verdict is verdict


def test_keys_that_are_judged_together_keep_their_own_values(kv: Kv) -> None:
    kv.put(0, 1, 1, key="a").put(2, 3, 2, key="b").call("list", 4, 5, {"keys": ["a", "b"]}).get(6, 7, 2, key="b")
    assert kv.check().verdict is Verdict.PASS
    kv.call("delete", 8, 9, {"deleted": True}, key="a").call("list", 10, 11, {"keys": ["b"]})
    assert kv.check().verdict is Verdict.PASS


def test_a_state_that_nobody_can_read_restores_nothing_that_is_known(kv: Kv) -> None:
    kv.put(0, 1, 1).call("restore_session", 2, 3, {}, state="junk").get(4, 5, 1)
    assert kv.check().verdict is Verdict.PASS


def test_only_what_has_no_order_is_an_example(kv: Kv) -> None:
    found = kv.put(0, 1, 1, key="good").get(2, 3, 1, key="good").put(4, 5, 1).get(6, 7, 2).check()
    assert found.verdict is Verdict.FAIL
    assert len(found.examples) == 1
    assert "key 'k'" in found.examples[0]


@pytest.mark.parametrize(("unused_ms", "verdict"), [(99, Verdict.FAIL), (101, Verdict.PASS)])
def test_a_session_that_nobody_used_for_its_time_may_begin_anew(
    kv: Kv, build: Any, unused_ms: float, verdict: Verdict
) -> None:
    begin = 10 + unused_ms
    kv.put(0, 11, 1).get(begin - 5, begin + 9, None)
    kv.put(0, 11, 1, session="other").get(12, 20, 1, session="other")
    services = [
        build.service(101, 1, 1, 10, nonce="1.0.0", command="put"),
        build.service(101, 2, begin, begin + 5, nonce="1.0.1", command="get"),
    ]
    assert kv.check(services=services, info={"options": {"session_ttl_s": 0.1}}).verdict is verdict
    assert kv.check(services=services).verdict is Verdict.FAIL  # its pool keeps sessions to their end


def test_a_session_in_use_does_not_end_however_long_its_calls_last(kv: Kv, build: Any) -> None:
    kv.put(0, 11, 1).get(12, 400, 1).get(410, 420, None)
    spans = [(1, 10), (13, 399), (411, 419)]
    services = [build.service(101, n, *span, nonce=f"1.0.{n}") for n, span in enumerate(spans)]
    assert kv.check(services=services, info={"options": {"session_ttl_s": 0.1}}).verdict is Verdict.FAIL
