"""OwnAnswer: every answer belongs to its own request."""

from __future__ import annotations

from base64 import b64encode
from typing import Any
from zlib import crc32

import pytest

from poolproof.harness.checkers import OwnAnswer
from poolproof.harness.model.binary import pattern
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


def part(index: int, padding: str = "xx") -> dict[str, Any]:
    return {"index": index, "padding": padding}


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        ([part(0), part(1)], Verdict.PASS),
        ([part(0)], Verdict.FAIL),
        ([part(1), part(0)], Verdict.FAIL),
        ([part(0), part(1), part(1)], Verdict.FAIL),
        ([part(0), part(1, "x")], Verdict.FAIL),
        ([part(0), "part"], Verdict.FAIL),
        (None, Verdict.FAIL),
    ],
)
def test_parts_must_be_complete_in_order_and_whole(build: Any, value: Any, verdict: Verdict) -> None:
    op = build.op(0, command="parts", args={"count": 2, "bytes": 2, "nonce": "1.0.0"}, value=value)
    assert OwnAnswer().check(build.history(op)).verdict is verdict


BINARY = {"data": b64encode(pattern(600, 5)).decode(), "crc": crc32(b"upload"), "nonce": "1.0.0"}


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, Verdict.PASS),
        ({"data": b64encode(pattern(600, 6)).decode()}, Verdict.FAIL),
        ({"data": b64encode(pattern(599, 5)).decode()}, Verdict.FAIL),
        ({"data": b64encode(pattern(856, 5)[256:]).decode()}, Verdict.FAIL),
        ({"data": None}, Verdict.FAIL),
        ({"crc": crc32(b"uploaD")}, Verdict.FAIL),
        ({"nonce": "1.0.1"}, Verdict.FAIL),
    ],
)
def test_binary_answers_and_uploads_have_each_byte_in_its_place(
    build: Any, changes: dict[str, Any], verdict: Verdict
) -> None:
    args = {"bytes": 600, "seed": 5, "upload": b64encode(b"upload").decode(), "nonce": "1.0.0"}
    op = build.op(0, command="binary", args=args, value=BINARY | changes)
    assert OwnAnswer().check(build.history(op)).verdict is verdict


@pytest.mark.parametrize(("blob", "verdict"), [("xxx", Verdict.PASS), ("xx", Verdict.FAIL), (None, Verdict.FAIL)])
def test_a_blob_has_the_bytes_that_were_asked_for(build: Any, blob: Any, verdict: Verdict) -> None:
    args = {"bytes": 3, "nonce": "1.0.0"}
    op = build.op(0, command="blob", args=args, value={"blob": blob, "nonce": "1.0.0"})
    assert OwnAnswer().check(build.history(op)).verdict is verdict


def test_a_nonce_that_was_not_sent_is_not_asked_for(build: Any) -> None:
    op = build.op(0, command="ping", args={}, value={"nonce": "another"})
    assert OwnAnswer().check(build.history(op)).verdict is Verdict.UNKNOWN


def test_a_call_that_no_journal_holds_is_not_held_against_anothers(build: Any) -> None:
    ops = (build.op(0, pid=101, call=7), build.op(1, pid=101, call=8))
    services = [build.service(101, 7, 0, 5, nonce="1.0.0")]
    assert OwnAnswer().check(build.history(*ops, services=services)).verdict is Verdict.PASS
