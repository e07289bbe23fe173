"""JUnit: failures, errors and skips where CI systems look for them, and XML that always parses."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree import ElementTree as Xml

from poolproof.harness.compare.comparison import Comparison, RunResult
from poolproof.harness.model.verdict import Decision, Verdict
from poolproof.reports.formats.junit import render_junit
from poolproof.reports.view import build_view

MakeResult = Callable[..., RunResult]
MakeComparison = Callable[..., Comparison]


def _parse(comparison: Comparison) -> Xml.Element:
    return Xml.fromstring(render_junit(build_view(comparison)))


def _case(root: Xml.Element, suite: str) -> Xml.Element:
    found = root.find(f"./testsuite[@name='{suite}']/testcase")
    assert found is not None
    return found


def test_one_suite_a_pool_and_one_for_the_comparison(make_comparison: MakeComparison) -> None:
    root = _parse(make_comparison())
    assert [suite.get("name") for suite in root] == ["baseline v1", "candidate v2", "comparison"]
    assert (root.get("tests"), root.get("failures"), root.get("errors"), root.get("skipped")) == ("3", "0", "0", "1")


def test_a_declared_failure_is_skipped_with_its_reason(make_comparison: MakeComparison) -> None:
    skipped = _case(_parse(make_comparison()), "baseline v1").find("skipped")
    assert skipped is not None
    assert skipped.get("message") == "fails as declared: one manager"


def test_an_undeclared_failure_fails_with_its_evidence_and_replay(
    make_comparison: MakeComparison, make_result: MakeResult
) -> None:
    root = _parse(make_comparison(candidate=make_result("v2", Verdict.FAIL), reason="", decision=Decision.UNSAFE))
    failure = _case(root, "candidate v2").find("failure")
    assert failure is not None
    assert "fail  overlap  up to 4 workers" in (failure.text or "")
    assert "to run it again: poolproof run parallel_calls --pool v2" in (failure.text or "")
    decision = _case(root, "comparison").find("failure")
    assert decision is not None
    assert decision.get("type") == "UNSAFE"


def test_what_cannot_be_decided_is_an_error_and_no_pass(
    make_comparison: MakeComparison, make_result: MakeResult
) -> None:
    result = make_result("v2", Verdict.UNKNOWN)
    root = _parse(make_comparison(candidate=result, decision=Decision.INCONCLUSIVE))
    assert _case(root, "candidate v2").find("error") is not None
    assert _case(root, "comparison").find("error") is not None
    assert root.get("errors") == "2"


def test_a_run_that_was_skipped_is_a_skip(make_comparison: MakeComparison, make_result: MakeResult) -> None:
    result = make_result("v2", Verdict.UNKNOWN, findings=(), skipped="v2 lacks sessions")
    skipped = _case(_parse(make_comparison(candidate=result)), "candidate v2").find("skipped")
    assert skipped is not None
    assert skipped.get("message") == "v2 lacks sessions"


def test_hostile_text_leaves_the_xml_whole(hostile: Comparison) -> None:
    root = _parse(hostile)
    failure = _case(root, "candidate v2").find("failure")
    assert failure is not None
    assert "<img src=x onerror=alert(2)>" in (failure.text or "")
    known = {
        "testsuites",
        "testsuite",
        "properties",
        "property",
        "testcase",
        "failure",
        "error",
        "skipped",
        "system-out",
    }
    assert {element.tag for element in root.iter()} <= known
