"""Sessions: every session sees all of its own state and nothing of another's."""

from __future__ import annotations

from typing import Any

import pytest

from poolproof.harness.checkers import OwnAnswer, Sessions
from poolproof.harness.history.history import OpType
from poolproof.harness.model.verdict import Verdict


class Script:
    """Calls of one session, one after another, as they would be recorded."""

    def __init__(self, build: Any, session: str = "s", *, first: int = 0) -> None:
        self._build = build
        self._session = session
        self._first = first
        self.ops: list[Any] = []

    def call(self, command: str, args: dict[str, Any], value: Any = None, **fields: Any) -> Script:
        start = 10.0 * len(self.ops)
        self.ops.append(
            self._build.op(
                self._first + len(self.ops),
                start,
                start + 5,
                command=command,
                args=args,
                value=value,
                session=self._session,
                **fields,
            )
        )
        return self

    def put(self, key: str, value: Any, **fields: Any) -> Script:
        return self.call("put", {"key": key, "value": value}, {"stored": True}, **fields)

    def get(self, key: str, value: Any) -> Script:
        return self.call("get", {"key": key}, {"value": value, "found": value is not None})

    def append(self, key: str, value: Any, values: list[Any], **fields: Any) -> Script:
        return self.call("append", {"key": key, "value": value}, {"values": values}, **fields)

    def keys(self, *keys: str, **fields: Any) -> Script:
        return self.call("list", {}, {"keys": list(keys)}, **fields)

    def delete(self, key: str) -> Script:
        return self.call("delete", {"key": key}, {"deleted": True})

    def lost(self, command: str, args: dict[str, Any]) -> Script:
        return self.call(command, args, None, outcome="WorkerCrashed", type=OpType.INFO)

    def check(self) -> Any:
        return Sessions().check(self._build.history(*self.ops))


@pytest.fixture
def script(build: Any) -> Script:
    return Script(build)


def test_a_session_that_sees_its_own_state_passes(script: Script) -> None:
    found = script.put("a", 1).get("a", 1).append("l", 2, [2]).keys("a", "l").delete("a").get("a", None).check()
    assert found.verdict is Verdict.PASS
    assert found.figures == {"decided": 4, "sessions": 1}


def test_state_that_is_gone_fails(script: Script) -> None:
    found = script.put("a", 1).get("a", None).check()
    assert found.verdict is Verdict.FAIL
    assert "session 's', call 1: a is None, but should be 1" in found.examples[0]


@pytest.mark.parametrize("stale", [1, 2.0, "2", True])
def test_a_stale_value_or_one_of_another_type_fails(script: Script, stale: Any) -> None:
    assert script.put("a", 1).put("a", 2).get("a", stale).check().verdict is Verdict.FAIL


def test_a_key_of_another_session_fails(script: Script) -> None:
    assert script.put("a", 1).keys("a", "b").check().verdict is Verdict.FAIL


def test_an_append_that_was_lost_fails(script: Script) -> None:
    assert script.append("l", 1, [1]).append("l", 2, [2]).check().verdict is Verdict.FAIL


def test_a_value_that_outlives_its_deletion_fails(script: Script) -> None:
    assert script.put("a", 1).delete("a").get("a", 1).check().verdict is Verdict.FAIL


@pytest.mark.parametrize("seen", [1, 2])
def test_after_an_unanswered_change_either_value_is_right(script: Script, seen: int) -> None:
    found = script.put("a", 1).get("a", 1).lost("put", {"key": "a", "value": 2}).get("a", seen).check()
    assert found.verdict is Verdict.PASS
    assert found.figures["decided"] == 1


def test_an_unanswered_change_leaves_other_keys_judged(script: Script) -> None:
    script.put("a", 1).put("b", 1).lost("put", {"key": "a", "value": 2})
    assert script.get("b", None).check().verdict is Verdict.FAIL


def test_a_write_ends_the_doubt(script: Script) -> None:
    script.lost("put", {"key": "a", "value": 1}).put("a", 3)
    assert script.get("a", 1).check().verdict is Verdict.FAIL


def test_an_append_after_a_doubt_is_taken_as_it_is_and_judged_from_then_on(build: Any) -> None:
    right = Script(build).lost("append", {"key": "l", "value": 1}).append("l", 2, [1, 2]).append("l", 3, [1, 2, 3])
    wrong = Script(build).lost("append", {"key": "l", "value": 1}).append("l", 2, [1, 2]).append("l", 3, [3])
    assert right.check().verdict is Verdict.PASS
    assert wrong.check().verdict is Verdict.FAIL


@pytest.mark.parametrize(("command", "args"), [("get", {"key": "a"}), ("list", {})])
def test_an_unanswered_read_casts_no_doubt(script: Script, command: str, args: dict[str, Any]) -> None:
    script.put("a", 1).lost(command, args)
    assert script.keys("a", "b").check().verdict is Verdict.FAIL


def test_a_refused_change_changes_nothing(script: Script) -> None:
    refused = {"key": "a", "value": 2}
    script.put("a", 1).call("put", refused, None, outcome="CheckoutTimeout", type=OpType.FAIL)
    assert script.get("a", 1).check().verdict is Verdict.PASS
    assert script.get("a", 2).check().verdict is Verdict.FAIL


def test_after_a_lost_session_nothing_is_judged(script: Script) -> None:
    script.put("a", 1).get("a", 1)
    script.call("get", {"key": "a"}, None, outcome="SessionLost", type=OpType.FAIL)
    assert script.get("a", None).check().verdict is Verdict.PASS


def test_calls_that_overlapped_have_no_single_order_and_are_left_out(build: Any) -> None:
    one = build.op(0, 0, 30, command="put", args={"key": "a", "value": 1}, value={"stored": True}, session="s")
    two = build.op(1, 10, 20, command="get", args={"key": "a"}, value={"value": None}, session="s")
    assert Sessions().check(build.history(one, two)).verdict is Verdict.UNKNOWN


def test_sessions_are_judged_apart(build: Any) -> None:
    first = Script(build, "s").put("a", 1).get("a", 1)
    second = Script(build, "t", first=10).get("a", 1)
    found = Sessions().check(build.history(*first.ops, *second.ops))
    assert found.verdict is Verdict.FAIL
    assert "session 't', call 10" in found.examples[0]


def test_an_append_to_what_is_no_list_begins_a_new_one(script: Script) -> None:
    script.put("a", 1).call("append", {"key": "a", "value": 2}, None, outcome="CommandError")
    assert script.get("a", 1).check().verdict is Verdict.PASS


def test_an_answer_that_is_no_object_and_another_command_tell_nothing(script: Script) -> None:
    script.call("get", {"key": "a"}, "text").call("sleep", {"seconds": 1}, {"slept_s": 1})
    assert script.check().verdict is Verdict.UNKNOWN


def test_a_missing_answer_accuses_its_own_call_and_not_a_later_one(build: Any) -> None:
    def call(index: int, command: str, answer: Any, **args: Any) -> Any:
        return build.op(
            index, index * 10, index * 10 + 5, command=command, session="s", args={"key": "k", **args}, value=answer
        )

    put, missing, read = call(0, "put", {}, value=1), call(1, "put", None, value=2), call(2, "get", {"value": 2})
    assert Sessions().check(build.history(put, missing, read)).verdict is Verdict.UNKNOWN
    first = call(0, "put", {"nonce": "1.0.0"}, value=1, nonce="1.0.0")
    second = call(1, "put", None, value=2, nonce="1.0.1")
    found = OwnAnswer().check(build.history(first, second, read))
    assert [example[:7] for example in found.examples] == ["call 1 "]
