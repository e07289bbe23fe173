"""Versions: answers that are older than what was acknowledged."""

from __future__ import annotations

from typing import Any

from poolproof.harness.checkers import Versions
from poolproof.harness.model.verdict import Verdict


def call(build: Any, index: int, command: str, start: float, end: float, value: Any, **fields: Any) -> Any:
    args = {"key": "k", "value": fields.pop("sent", None)}
    return build.op(index, start, end, command=command, args=args, value=value, session="s", **fields)


def test_lists_that_only_grow_pass(build: Any) -> None:
    ops = [
        call(build, 0, "append", 0, 10, {"values": ["a"]}),
        call(build, 1, "append", 5, 15, {"values": ["a", "b"]}),
        call(build, 2, "get", 20, 25, {"value": ["a", "b"]}),
    ]
    found = Versions().check(build.history(*ops))
    assert found.verdict is Verdict.PASS
    assert found.figures == {"decided": 1}


def test_a_list_that_lost_what_was_acknowledged_fails(build: Any) -> None:
    first = call(build, 0, "append", 0, 10, {"values": ["a", "b"]})
    for later in (
        call(build, 1, "get", 20, 25, {"value": ["a"]}),
        call(build, 1, "append", 20, 25, {"values": ["a", "b"]}),
        call(build, 1, "get", 20, 25, {"value": None, "found": False}),
    ):
        found = Versions().check(build.history(first, later))
        assert found.verdict is Verdict.FAIL
        assert found.examples[0].endswith("version 2 had been acknowledged before")


def test_a_value_that_was_overwritten_before_fails(build: Any) -> None:
    puts = [call(build, n, "put", 10 * n, 10 * n + 5, {"stored": True}, sent=f"v{n}") for n in range(3)]
    right = call(build, 3, "get", 40, 45, {"value": "v2"})
    stale = call(build, 4, "get", 40, 45, {"value": "v1"})
    assert Versions().check(build.history(*puts, right)).verdict is Verdict.PASS
    found = Versions().check(build.history(*puts, right, stale))
    assert found.verdict is Verdict.FAIL
    assert found.examples == (
        "session 's', key 'k', call 4 read {'value': 'v1'}, which is older than the last acknowledged state",
    )


def test_overlapping_and_doubtful_puts_may_be_seen_in_any_order(build: Any) -> None:
    puts = [
        call(build, 0, "put", 0, 10, {"stored": True}, sent="a"),
        call(build, 1, "put", 5, 15, {"stored": True}, sent="b"),
        call(build, 2, "put", 5, 15, None, sent="c", outcome="CallTimeout"),
    ]
    reads = [call(build, 3 + n, "get", 20, 25, {"value": value}) for n, value in enumerate("abc")]
    assert Versions().check(build.history(*puts, *reads)).verdict is Verdict.PASS


def test_what_follows_a_loss_or_a_deletion_is_not_judged(build: Any) -> None:
    ops = [
        call(build, 0, "append", 0, 10, {"values": ["a"]}),
        call(build, 2, "get", 20, 25, {"value": None}),
    ]
    lost = call(build, 1, "get", 11, 12, None, outcome="SessionLost")
    gone = call(build, 1, "delete", 11, 12, {"deleted": True})
    assert Versions().check(build.history(*ops)).verdict is Verdict.FAIL
    assert Versions().check(build.history(*ops, lost)).verdict is Verdict.UNKNOWN
    assert Versions().check(build.history(*ops, gone)).verdict is Verdict.UNKNOWN


def test_a_put_that_failed_is_no_version(build: Any) -> None:
    puts = [
        call(build, 0, "put", 0, 5, {"stored": True}, sent="a"),
        call(build, 1, "put", 10, 15, None, sent="b", outcome="CheckoutTimeout"),
    ]
    stale = [call(build, 2, "get", 20, 25, {"value": "b"})]
    assert Versions().check(build.history(*puts, *stale)).verdict is Verdict.FAIL
    right = [call(build, 2, "get", 20, 25, {"value": "a"})]
    assert Versions().check(build.history(*puts, *right)).verdict is Verdict.PASS


def test_a_put_in_doubt_may_take_effect_long_after_its_error(build: Any) -> None:
    puts = [
        call(build, 0, "put", 0, 5, None, sent="a", outcome="CallTimeout"),
        call(build, 1, "put", 10, 15, {"stored": True}, sent="b"),
    ]
    assert Versions().check(build.history(*puts, call(build, 2, "get", 20, 25, {"value": "a"}))).verdict is Verdict.PASS


def test_an_answer_in_doubt_acknowledges_nothing(build: Any) -> None:
    ops = [
        call(build, 0, "append", 0, 10, {"values": ["a"]}),
        call(build, 1, "append", 11, 12, {"values": ["a", "b"]}, outcome="CallTimeout"),
        call(build, 2, "get", 20, 25, {"value": ["a"]}),
    ]
    assert Versions().check(build.history(*ops)).verdict is Verdict.PASS


def test_reading_a_longer_list_acknowledges_nothing_to_calls_that_began_before(build: Any) -> None:
    ops = [
        call(build, 0, "append", 0, 10, {"values": ["a"]}),
        call(build, 1, "get", 11, 12, {"value": ["a", "b"]}),
        call(build, 2, "get", 20, 25, {"value": ["a"]}),
    ]
    assert Versions().check(build.history(*ops)).verdict is Verdict.PASS


def test_keys_that_are_put_and_appended_to_are_not_judged(build: Any) -> None:
    ops = [
        call(build, 0, "put", 0, 5, {"stored": True}, sent=["a"]),
        call(build, 1, "append", 10, 15, {"values": ["a", "b"]}, sent="b"),
        call(build, 2, "get", 20, 25, {"value": ["a", "b"]}),
    ]
    assert Versions().check(build.history(*ops)).verdict is Verdict.UNKNOWN
