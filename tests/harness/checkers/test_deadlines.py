"""Deadlines and Prompt: calls end in time."""

from __future__ import annotations

from typing import Any

import pytest

from poolproof.harness.checkers import Deadlines, Prompt
from poolproof.harness.model.verdict import Verdict


def test_calls_that_end_by_their_limit_and_the_slack_pass(build: Any) -> None:
    ops = (
        build.op(0, 0, 4000),
        build.op(1, 0, 5900, outcome="CallTimeout"),
        build.op(2, 0, 250, outcome="CallTimeout", timeout_s=0.2),
        build.op(3, 0, 1100, outcome="CheckoutTimeout"),
        build.op(4, 0, 310, outcome="CheckoutTimeout", checkout_timeout_s=0.3),
    )
    found = Deadlines(slack_s=1.0).check(build.history(*ops))
    assert found.verdict is Verdict.PASS
    assert found.figures == {"latest_past_limit_s": 0.9}


@pytest.mark.parametrize(
    ("fields", "end"),
    [
        ({"timeout_s": 0.2}, 1300),
        ({"outcome": "CallTimeout"}, 6100),
        ({"outcome": "CheckoutTimeout"}, 2100),
        ({"outcome": "CheckoutTimeout", "checkout_timeout_s": 0.1}, 1200),
        ({"outcome": "CheckoutTimeout", "checkout_timeout_s": 9.0, "timeout_s": 0.1}, 1200),
    ],
)
def test_a_call_past_its_limit_and_the_slack_fails(build: Any, fields: dict[str, Any], end: float) -> None:
    found = Deadlines(slack_s=1.0).check(build.history(build.op(0, 0, end, **fields)))
    assert found.verdict is Verdict.FAIL
    assert "call 0" in found.examples[0]


def test_a_limit_may_count_from_the_begin_of_the_service(build: Any) -> None:
    info = {"limits_service": True}
    waited = build.op(0, 0, 9000, outcome="CallTimeout", timeout_s=0.2)
    for began, verdict in ((8790, Verdict.PASS), (7000, Verdict.FAIL), (8990, Verdict.FAIL)):
        served = build.service(101, 7, began, None, nonce=waited.nonce)
        found = Deadlines(slack_s=1.0).check(build.history(waited, services=[served], info=info))
        assert found.verdict is verdict, began
        assert Deadlines(slack_s=1.0).check(build.history(waited, services=[served])).verdict is Verdict.FAIL
    unserved = build.history(waited, build.op(1, 0, None), info=info)
    assert [text.split()[1] for text in Deadlines(slack_s=1.0).check(unserved).examples] == ["1"], "it never ended"


@pytest.mark.parametrize("outcome", ["CallTimeout", "CheckoutTimeout"])
def test_a_timeout_before_its_limit_fails(build: Any, outcome: str) -> None:
    early = build.op(0, 0, 100, outcome=outcome, timeout_s=0.3, checkout_timeout_s=0.3)
    found = Deadlines(slack_s=1.0).check(build.history(early))
    assert found.verdict is Verdict.FAIL
    assert "timed out after 0.100 s; its limit was 0.3 s" in found.examples[0]


def test_a_call_without_an_end_fails(build: Any) -> None:
    found = Deadlines(slack_s=1.0).check(build.history(build.op(0), build.op(1, 0, None)))
    assert found.verdict is Verdict.FAIL
    assert "call 1 (echo) never ended" in found.examples[0]


def test_a_call_without_an_end_in_a_run_that_was_cut_off_tells_nothing(build: Any) -> None:
    history = build.history(build.op(0), build.op(1, 0, None, label="ping"), finished=False)
    assert Deadlines(slack_s=1.0).check(history).verdict is Verdict.PASS
    assert Prompt(label="ping", within_s=0.5).check(history).verdict is Verdict.UNKNOWN


def test_prompt_calls_pass_whatever_others_took(build: Any) -> None:
    ops = (build.op(0, 0, 400, label="ping"), build.op(1, 0, 4000, label="hold"))
    found = Prompt(label="ping", within_s=0.5).check(build.history(*ops))
    assert found.verdict is Verdict.PASS
    assert found.figures == {"slowest_s": 0.4}
    assert found.checker == "prompt:ping"


def test_a_slow_call_with_the_label_fails(build: Any) -> None:
    ops = (build.op(0, 0, 400, label="ping"), build.op(1, 0, 600, label="ping"))
    assert Prompt(label="ping", within_s=0.5).check(build.history(*ops)).verdict is Verdict.FAIL


def test_waiting_since_the_intended_begin_counts(build: Any) -> None:
    op = build.op(0, 900, 1000, intended=0, label="ping")
    assert Prompt(label="ping", within_s=0.5).check(build.history(op)).verdict is Verdict.FAIL


def test_a_labelled_call_without_an_end_is_slow(build: Any) -> None:
    found = Prompt(label="ping", within_s=0.5).check(build.history(build.op(0, 0, None, label="ping")))
    assert found.verdict is Verdict.FAIL
    assert "no end" in found.claim


def test_without_a_call_of_the_label_it_is_unknown(build: Any) -> None:
    found = Prompt(label="ping", within_s=0.5).check(build.history(build.op(0, label="other")))
    assert found.verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(("ms", "verdict"), [(285, Verdict.PASS), (275, Verdict.FAIL)])
def test_a_timeout_may_be_early_by_what_clocks_differ_and_no_more(build: Any, ms: float, verdict: Verdict) -> None:
    op = build.op(0, 0, ms, outcome="CallTimeout", timeout_s=0.3)
    assert Deadlines(slack_s=1.0).check(build.history(op)).verdict is verdict


@pytest.mark.parametrize(("ms", "verdict"), [(1250, Verdict.PASS), (1350, Verdict.FAIL)])
def test_a_call_may_be_late_by_the_slack_and_no_more(build: Any, ms: float, verdict: Verdict) -> None:
    found = Deadlines(slack_s=0.3).check(build.history(build.op(0, 0, ms, timeout_s=1.0)))
    assert found.verdict is verdict
    assert found.examples == (("call 0 (echo) took 1.350 s; its limit was 1 s",) if ms > 1300 else ())


@pytest.mark.parametrize(("ms", "verdict"), [(95, Verdict.PASS), (105, Verdict.FAIL)])
def test_a_prompt_call_takes_its_bound_at_most(build: Any, ms: float, verdict: Verdict) -> None:
    found = Prompt(label="ping", within_s=0.1).check(build.history(build.op(0, 0, ms, label="ping")))
    assert found.verdict is verdict
    assert f"the slowest one: {ms / 1000:.3f} s" in found.claim
