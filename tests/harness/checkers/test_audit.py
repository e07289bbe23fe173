"""Audit: what the journals say of every call, whatever the pool told."""

from __future__ import annotations

from typing import Any

from poolproof.harness.checkers import Audit
from poolproof.harness.model.verdict import Verdict


def test_each_call_in_doubt_is_resolved(build: Any) -> None:
    ops = [
        build.op(0, 0, 10, pid=101),
        build.op(1, 0, 10, outcome="CallTimeout"),
        build.op(2, 0, 10, outcome="WorkerCrashed"),
        build.op(3, 0, 10, outcome="CheckoutTimeout", sent="no"),
        build.op(4, 0, 10, args={}),
    ]
    services = [build.service(101, 1, 1, 9, nonce="1.0.0"), build.service(102, 2, 1, None, nonce="1.0.1")]
    found = Audit().check(build.history(*ops, services=services))
    assert found.verdict is Verdict.PASS
    assert found.figures == {
        "decided": 4,
        "doubtful_ran": 1,
        "doubtful_unfinished": 1,
        "doubtful_not_ran": 1,
        "without_nonce": 1,
    }


def test_a_call_in_doubt_that_ran_twice_fails(build: Any) -> None:
    op = build.op(0, 0, 10, outcome="WorkerCrashed")
    services = [build.service(101, 1, 1, None, nonce=op.nonce), build.service(102, 2, 5, 9, nonce=op.nonce)]
    found = Audit().check(build.history(op, services=services))
    assert found.verdict is Verdict.FAIL
    assert "ran 2 times: process 101 request 1, process 102 request 2" in found.examples[0]


def test_a_call_that_ran_though_its_error_says_that_nothing_was_sent_fails(build: Any) -> None:
    op = build.op(0, 0, 10, outcome="CheckoutTimeout", sent="no")
    found = Audit().check(build.history(op, services=[build.service(101, 1, 20, 25, nonce=op.nonce)]))
    assert found.verdict is Verdict.FAIL


def test_an_answer_to_what_ran_nowhere_fails(build: Any) -> None:
    ops = [build.op(0, 0, 10, pid=101), build.op(1, 20, 30, pid=101)]
    found = Audit().check(build.history(*ops, services=[build.service(101, 1, 1, 9, nonce="1.0.0")]))
    assert found.verdict is Verdict.FAIL
    assert found.examples == (
        "call 1 (echo, result, nonce 1.0.1) has an answer of process 101, but is in no worker's journal",
    )


def test_the_answer_of_a_worker_without_a_journal_is_not_judged(build: Any) -> None:
    ops = [build.op(0, 0, 10, pid=101), build.op(1, 20, 30, pid=500)]
    found = Audit().check(build.history(*ops, services=[build.service(101, 1, 1, 9, nonce="1.0.0")]))
    assert found.verdict is Verdict.PASS


def test_a_handover_repeats_what_was_answered(build: Any) -> None:
    op = build.op(0, 0, 10, command="put", session="s", pid=101)
    services = [build.service(101, 1, 1, 9, nonce=op.nonce), build.service(102, 5, 20, 25, nonce=op.nonce)]
    assert Audit().check(build.history(op, services=services)).verdict is Verdict.PASS


def test_journals_are_needed_and_nonces_too(build: Any) -> None:
    assert Audit().check(build.history(build.op(0))).verdict is Verdict.UNKNOWN
    found = Audit().check(build.history(build.op(0, args={}), services=[build.service(101, 1, 0, 1)]))
    assert found.verdict is Verdict.UNKNOWN


def test_a_call_in_doubt_that_ran_to_its_end_is_not_unfinished(build: Any) -> None:
    op = build.op(0, 0, 10, outcome="CallTimeout")
    found = Audit().check(build.history(op, services=[build.service(101, 1, 1, 9, nonce=op.nonce)]))
    assert (found.figures["doubtful_ran"], found.figures["doubtful_unfinished"]) == (1, 0)


def test_who_ran_a_call_is_known_from_the_answer_or_else_only_if_nobody_observed(build: Any) -> None:
    elsewhere = [build.service(101, 1, 1, 9, nonce="1.0.0")]
    for observed, pid, verdict in (
        (False, None, Verdict.FAIL),
        (True, None, Verdict.PASS),
        (False, 500, Verdict.PASS),
        (True, 101, Verdict.FAIL),
    ):
        ops = [build.op(0, 0, 10, pid=101), build.op(1, 20, 30, pid=pid)]
        history = build.history(*ops, services=elsewhere, info={"observed": observed})
        found = Audit().check(history)
        assert found.verdict is verdict, (observed, pid)
        if pid is None and found.examples:
            assert found.examples == (
                "call 1 (echo, result, nonce 1.0.1) has an answer, but is in no worker's journal",
            )


def test_only_a_sessions_answered_call_may_run_again_and_only_after_its_answer(build: Any) -> None:
    again = [build.service(101, 1, 1, 9, nonce="1.0.0"), build.service(102, 5, 20, 25, nonce="1.0.0")]
    before = [build.service(101, 1, 1, 9, nonce="1.0.0"), build.service(102, 5, 8, 25, nonce="1.0.0")]
    answered = build.op(0, 0, 10, command="put", session="s")
    assert Audit().check(build.history(answered, services=again)).verdict is Verdict.PASS
    assert Audit().check(build.history(answered, services=before)).verdict is Verdict.FAIL
    without = build.op(0, 0, 10, command="put")
    assert Audit().check(build.history(without, services=again)).verdict is Verdict.FAIL
    doubtful = build.op(0, 0, 10, command="put", session="s", outcome="WorkerCrashed")
    assert Audit().check(build.history(doubtful, services=again)).verdict is Verdict.FAIL


def test_a_call_in_doubt_need_not_have_run(build: Any) -> None:
    ops = [build.op(0, 0, 10, pid=101), build.op(1, 20, 30, outcome="WorkerCrashed", pid=101)]
    found = Audit().check(build.history(*ops, services=[build.service(101, 1, 1, 9, nonce="1.0.0")]))
    assert found.verdict is Verdict.PASS
