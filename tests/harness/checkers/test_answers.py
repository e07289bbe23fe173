"""OwnAnswer: every answer belongs to its own request."""

from __future__ import annotations

from typing import Any

import pytest

from poolproof.harness.checkers import OwnAnswer
from poolproof.harness.model.verdict import Verdict


def test_echoes_and_nonces_that_fit_pass(build: Any) -> None:
    ops = (
        build.op(0, args={"value": {"result": 1}}),
        build.op(1),
        build.op(2, command="sleep", value={"slept_s": 1, "nonce": "1.0.2"}),
    )
    found = OwnAnswer().check(build.history(*ops))
    assert found.verdict is Verdict.PASS
    assert found.figures == {"decided": 3}


@pytest.mark.parametrize(
    ("sent", "got"), [(1, True), (1, 1.0), ({"result": 1}, 1), (None, {}), ([], None), ("", None), ([1, 2], [2, 1])]
)
def test_an_echo_of_another_value_or_type_fails(build: Any, sent: Any, got: Any) -> None:
    found = OwnAnswer().check(build.history(build.op(0, args={"value": sent}, value=got)))
    assert found.verdict is Verdict.FAIL
    assert "call 0" in found.examples[0]


def test_the_answer_of_another_request_fails(build: Any) -> None:
    op = build.op(0, command="sleep", value={"slept_s": 1, "nonce": "1.0.9"})
    assert OwnAnswer().check(build.history(op)).verdict is Verdict.FAIL


def test_an_echo_in_a_session_carries_the_session_that_the_pool_adds(build: Any) -> None:
    args = {"nonce": "1.0.0"}
    own = build.op(0, args=args, session="s", value={**args, "session_id": "s"})
    other = build.op(0, args=args, session="s", value={**args, "session_id": "t"})
    assert OwnAnswer().check(build.history(own)).verdict is Verdict.PASS
    assert OwnAnswer().check(build.history(other)).verdict is Verdict.FAIL


def test_a_journal_that_tells_of_another_request_fails_though_the_answer_looks_right(build: Any) -> None:
    op = build.op(0, pid=101, call=7)
    wrong = build.service(101, 7, 0, 5, nonce="1.0.3")
    right = build.service(101, 7, 0, 5, nonce="1.0.0")
    assert OwnAnswer().check(build.history(op, services=[right])).verdict is Verdict.PASS
    found = OwnAnswer().check(build.history(op, services=[wrong]))
    assert found.verdict is Verdict.FAIL
    assert "shows the nonce 1.0.3" in found.examples[0]


def test_answers_that_tell_nothing_are_unknown(build: Any) -> None:
    ops = (
        build.op(0, command="list", args={}, value=[1, 2]),
        build.op(1, outcome="WorkerCrashed", value=None),
    )
    assert OwnAnswer().check(build.history(*ops)).verdict is Verdict.UNKNOWN


def test_an_object_without_a_nonce_tells_nothing(build: Any) -> None:
    op = build.op(0, command="ping", args={"nonce": "1.0.0"}, nonce="1.0.0", value={"status": "ok"})
    assert OwnAnswer().check(build.history(op)).verdict is Verdict.UNKNOWN


def test_an_answer_without_a_nonce_is_wrong_where_others_have_theirs(build: Any) -> None:
    def blob(index: int, value: Any) -> Any:
        args = {"bytes": 1, "nonce": f"1.0.{index}"}
        return build.op(index, command="put", args=args, value=value)

    own = blob(0, {"nonce": "1.0.0"})
    found = OwnAnswer().check(build.history(own, blob(1, None)))
    assert found.verdict is Verdict.FAIL
    assert found.examples[0].startswith("call 1 ")
    foreign = OwnAnswer().check(build.history(blob(0, {}), blob(1, {})))  # a worker that never gives nonces back
    assert foreign.verdict is Verdict.UNKNOWN


def test_minus_zero_is_not_zero(build: Any) -> None:
    echo = build.op(0, args={"value": -0.0, "nonce": "1.0.0"}, value=0.0)
    assert OwnAnswer().check(build.history(echo)).verdict is Verdict.FAIL
