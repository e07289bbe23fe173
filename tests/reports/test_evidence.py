"""The evidence for single calls: read from the records of the runs, and left out where there are none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from poolproof.bridge import Event, EventKind
from poolproof.harness.compare.comparison import Comparison, Difference, RunResult
from poolproof.harness.history.chart_data import ChartData, Noted
from poolproof.harness.history.codec import End, EndLine, EventLine, OpLine
from poolproof.harness.history.history import RunInfo
from poolproof.harness.model.checker import Finding
from poolproof.harness.model.op import Op, OpType
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.run.store import RunFolder
from poolproof.reports.evidence.reading import read_evidence
from poolproof.reports.export import view_with_extras
from poolproof.reports.formats.render import render_html

MakeResult = Callable[..., RunResult]
MakeComparison = Callable[..., Comparison]
INDEX = 7


def _store(home: Path, pool: str, value: Any) -> RunFolder:
    info = RunInfo(
        scenario="parallel_calls",
        pool=pool,
        pool_name="p",
        seed=1,
        workers=2,
        clients=2,
        profile="quick",
        started_at="2026-01-01T00:00:00+00:00",
        started_ns=0,
        call_timeout_s=5.0,
        checkout_timeout_s=5.0,
    )
    folder = RunFolder.create(home / "runs", info)
    op = Op(
        index=INDEX,
        client=1,
        command="echo",
        args={"value": 17},
        nonce="n",
        intended_ns=1_000_000_000,
        invoked_ns=1_001_000_000,
        timeout_s=5.0,
    )
    end = End(
        index=INDEX, completed_ns=1_031_000_000, type=OpType.OK, outcome="result", sent="yes", value=value, worker=3
    )
    lines = [
        OpLine(op),
        EventLine(Event(EventKind.ENQUEUE, 1_002_000_000, 1, None, None, "", INDEX + 1)),
        EventLine(Event(EventKind.SEND, 1_004_000_000, 1, 3, 4711, "", None)),
        EndLine(end),
    ]
    folder.history.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    (folder.stderr / "worker-3.stderr.log").write_text("first line\n<b>last line</b>\n")
    return folder


def _failing(make_comparison: MakeComparison, make_result: MakeResult, home: Path) -> Comparison:
    found = Finding(
        checker="own_answer", verdict=Verdict.FAIL, claim="1 answer is wrong", examples=(f"call {INDEX} got 18",)
    )
    noted = Noted(index=INDEX, why="named by own_answer", client=1, command="echo", outcome="result", intended_s=0.0)
    results = []
    for pool, value in (("v1", 17), ("v2", 18)):
        folder = _store(home, pool, value)
        results.append(make_result(pool, folder=str(folder.path), replay=f"poolproof run parallel_calls --pool {pool}"))
    candidate = msgspec.structs.replace(
        results[1], verdict=Verdict.FAIL, findings=(found,), picture=ChartData(noted=(noted,), notable=1)
    )
    return make_comparison(baseline=results[0], candidate=candidate, reason="")


def test_a_call_that_a_finding_names_is_shown_with_both_answers_and_the_difference_marked(
    make_comparison: MakeComparison, make_result: MakeResult, tmp_path: Path
) -> None:
    comparison = _failing(make_comparison, make_result, tmp_path)
    [call] = read_evidence(comparison, tmp_path)["parallel_calls"]
    assert (call.index, call.title, call.request) == (INDEX, "call 7: echo", '{"value":17}')
    one, other = call.sides
    assert (one.made_in, other.made_in) == ("v1, face execute, observed", "v2, face execute, observed")
    assert [piece.text for piece in other.answer if piece.differs] == ["18"]
    assert dict(other.times) == {"limit": "5 s", "began late by": "1.0 ms", "whole time": "31.0 ms"}
    assert other.worker == "worker 3, pid 4711"
    assert other.events == (("2.00", "enqueue"), ("4.00", "send worker 3"))
    assert other.stderr == ("first line", "<b>last line</b>")
    assert other.replay == "poolproof run parallel_calls --pool v2"


def test_the_page_leads_from_the_reason_to_the_call_and_back(
    make_comparison: MakeComparison, make_result: MakeResult, tmp_path: Path
) -> None:
    comparison = _failing(make_comparison, make_result, tmp_path)
    comparison = msgspec.structs.replace(comparison, reasons=("parallel_calls: v2 fails own_answer",))
    view = view_with_extras(comparison, tmp_path)
    [call] = view.rows[0].calls
    assert view.rows[0].candidate.findings[0].links == (call.key,)
    text = render_html(view)
    for link in ("#s-parallel_calls", "#checker-own_answer", f"#{call.key}", "#why", "#matrix"):
        assert f'href="{link}"' in text
        assert f'id="{link[1:]}"' in text
    assert "<mark>18</mark>" in text
    assert "&lt;b&gt;last line&lt;/b&gt;" in text


def test_answers_that_differ_are_shown_though_both_runs_pass(
    make_comparison: MakeComparison, make_result: MakeResult, tmp_path: Path
) -> None:
    folders = [_store(tmp_path, pool, value) for pool, value in (("v1", 17), ("v2", 18))]
    baseline, candidate = (
        make_result(pool, folder=str(folder.path)) for pool, folder in zip(("v1", "v2"), folders, strict=True)
    )
    comparison = make_comparison(baseline=baseline, candidate=candidate)
    told = Difference(kind="answers", pool="v2", checker="answers", text=f"operation {INDEX} (echo): 17 became 18")
    [row] = comparison.scenarios
    comparison = msgspec.structs.replace(comparison, scenarios=(msgspec.structs.replace(row, differences=(told,)),))
    [call] = read_evidence(comparison, tmp_path)["parallel_calls"]
    assert (call.why, len(call.sides)) == ("the answers differ", 2)


def test_a_comparison_without_its_records_has_no_calls(
    make_comparison: MakeComparison, make_result: MakeResult, tmp_path: Path
) -> None:
    comparison = make_comparison(candidate=make_result("v2", Verdict.FAIL, folder=str(tmp_path / "gone")), reason="")
    assert read_evidence(comparison, tmp_path) == {}
