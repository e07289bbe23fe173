"""What a reader sees of a run: exact on literal histories, and whole however large they are."""

from __future__ import annotations

from typing import Any

import pytest

from poolproof.harness.history.chart_data import (
    MOST_LANES,
    MOST_LEVELS,
    MOST_NOTED,
    MOST_STEPS,
    MOST_STRETCHES,
    OTHERS,
    ChartData,
    Flow,
    Step,
    draw,
)
from poolproof.harness.history.history import Sample
from poolproof.harness.model.checker import Finding
from poolproof.harness.model.fault import FaultKind
from poolproof.harness.model.verdict import Verdict


def test_an_empty_history_has_no_picture(build: Any) -> None:
    assert draw(build.history()) == ChartData()


def test_a_small_distribution_has_a_step_a_call(build: Any) -> None:
    ops = [build.op(n, 0, end) for n, end in enumerate((30, 10, 20, None))]
    assert draw(build.history(*ops)).steps == (Step(10.0, 0.33333), Step(20.0, 0.66667), Step(30.0, 1.0))


def test_a_large_distribution_keeps_its_ends_and_its_tail(build: Any) -> None:
    ops = [build.op(n, 0, n + 1) for n in range(5000)]
    steps = draw(build.history(*ops)).steps
    assert 100 <= len(steps) <= MOST_STEPS
    assert (steps[0].ms, steps[-1]) == (1.0, Step(5000.0, 1.0))
    assert Step(4995.0, 0.999) in steps
    assert [step.share for step in steps] == sorted(step.share for step in steps)


def test_every_call_that_ended_is_in_the_flow(build: Any) -> None:
    ops = [build.op(n, n, n + 5, outcome="result" if n % 3 else "CommandError") for n in range(999)]
    flow = draw(build.history(*ops, build.op(999, 5, None), begun=0)).flow
    assert sum(one.results for one in flow) == 666
    assert sum(one.others for one in flow) == 333
    assert all(one.start_s < one.end_s for one in flow)


def test_a_bucket_in_which_nothing_ended_has_no_times(build: Any) -> None:
    flow = draw(build.history(build.op(0, 0, 1), build.op(1, 0, 100), begun=0)).flow
    assert flow[0] == Flow(0.0, flow[0].end_s, 1, 0, 1.0, 1.0)
    assert flow[1].p50_ms is None


def test_few_stretches_are_left_to_the_timeline(build: Any) -> None:
    services = [build.service(101, 1, 10, 90), build.service(102, 2, 50, 290)]
    found = draw(build.history(services=services, begun=0))
    assert (found.stretches, found.shares, found.offset_s) == (2, (), 0.01)


def test_many_stretches_become_shares_that_add_up_to_all_the_work(build: Any) -> None:
    total = MOST_STRETCHES + 100
    services = [build.service(101 + n % 2, n, n, n + 0.5) for n in range(total)]
    found = draw(build.history(services=services, begun=0))
    worked = sum(share.share * (share.end_s - share.start_s) for share in found.shares)
    assert worked == pytest.approx(total * 0.0005, rel=1e-3)
    assert sum(share.calls for share in found.shares) == found.stretches == total
    assert {share.worker for share in found.shares} == {1, 2}


def test_workers_beyond_the_lanes_share_one(build: Any) -> None:
    services = [build.service(100 + n % 40, n, n, n + 0.5) for n in range(MOST_STRETCHES * 2)]
    found = draw(build.history(services=services, begun=0))
    assert {share.worker for share in found.shares} == {OTHERS, *range(MOST_LANES)}
    assert sum(share.calls for share in found.shares) == MOST_STRETCHES * 2
    assert max(share.share for share in found.shares) <= 1


def test_samples_are_thinned_to_the_peaks_of_their_groups(build: Any) -> None:
    samples = tuple(Sample(build.at(n), 1000 + (n == 77) * 500, 5, 3, 2) for n in range(MOST_LEVELS * 3))
    found = draw(build.history(samples=samples, begun=0))
    assert len(found.levels) == MOST_LEVELS
    assert found.levels_total == MOST_LEVELS * 3
    assert max(level.memory_bytes for level in found.levels) == 1500


def test_a_fault_ends_when_the_pool_is_itself_again(build: Any) -> None:
    faults = [build.fault(FaultKind.KILL, ms=50, detail="sent"), build.fault(FaultKind.STOP, landed=False, ms=70)]
    found = draw(build.history(build.op(0, 0, 10), faults=faults, begun=0))
    assert [(one.kind, one.at_s, one.until_s, one.landed) for one in found.struck] == [
        ("kill", 0.05, None, True),
        ("stop", 0.07, None, False),
    ]


def test_calls_that_a_finding_names_come_first_then_those_without_a_result_then_the_slowest(build: Any) -> None:
    ops = [build.op(n, n, n + 1) for n in range(6)]
    ops += [build.op(6, 6, 500), build.op(7, 7, 8, outcome="CommandError", error="no such key"), build.op(8, 8, None)]
    named = Finding(
        checker="own_answer", verdict=Verdict.FAIL, claim="one", examples=("call 3 (echo) got 4", "call 77")
    )
    passed = Finding(checker="lives", verdict=Verdict.PASS, claim="all", examples=("call 1 is fine",))
    found = draw(build.history(*ops, begun=0), [named, passed])
    told = [(one.index, one.why) for one in found.noted]
    assert [index for index, _ in told[:3]] == [3, 7, 8]
    assert told[0][1].startswith("named by own_answer")
    assert told[1][1].startswith("no result")
    assert told[2][1] == "pending"
    assert (6, "slowest") in told
    assert next(one.error for one in found.noted if one.index == 7) == "no such key"


def test_what_the_list_leaves_out_is_counted(build: Any) -> None:
    ops = [build.op(n, n, n + 1, outcome="CommandError") for n in range(MOST_NOTED + 25)]
    found = draw(build.history(*ops))
    assert (len(found.noted), found.notable) == (MOST_NOTED, MOST_NOTED + 25)
