"""The figures of a run: exact on a literal history, empty where nothing was recorded."""

from __future__ import annotations

from typing import Any

import pytest

from poolproof.harness.compare.comparison import Busy, Metrics
from poolproof.harness.history.metrics import MOST_STRETCHES, measure


def test_an_empty_history_has_no_figures(build: Any) -> None:
    assert measure(build.history()) == Metrics()


def test_the_figures_of_a_literal_history(build: Any) -> None:
    ops = (
        build.op(0, 0, 100, sent_ns=build.at(10), received_ns=build.at(90)),
        build.op(1, 100, 300, intended=50, sent_ns=build.at(110), received_ns=build.at(290)),
        build.op(2, 300, 500, outcome="CommandError"),
        build.op(3, 400, None),
    )
    services = [build.service(101, 1, 10, 90), build.service(102, 2, 50, 290)]
    found = measure(build.history(*ops, services=services))
    assert found.ops == 4
    assert found.outcomes == {"CommandError": 1, "pending": 1, "result": 2}
    assert found.wall_s == pytest.approx(0.5)
    assert found.throughput_per_s == pytest.approx(4.0)
    assert (found.overlap_max, found.overlap_mean) == (2, pytest.approx(320 / 280))
    assert found.response is not None
    assert found.service is not None
    assert (found.response.count, found.response.p50_ms, found.response.max_ms) == (3, 200.0, 250.0)
    assert (found.service.count, found.service.p50_ms, found.service.max_ms) == (2, 130.0, 180.0)
    assert found.timeline == (
        Busy(worker=1, start_ms=0.0, end_ms=80.0, command="echo", ok=True),
        Busy(worker=2, start_ms=40.0, end_ms=280.0, command="echo", ok=True),
    )


def test_calls_that_all_ended_at_once_have_no_throughput(build: Any) -> None:
    found = measure(build.history(build.op(0, 5, 5)))
    assert found.wall_s == 0.0
    assert found.throughput_per_s is None


def test_the_timeline_is_cut_to_what_a_reader_takes_in(build: Any) -> None:
    services = [build.service(101, n, n, n + 0.5) for n in range(MOST_STRETCHES + 50)]
    timeline = measure(build.history(services=services)).timeline
    assert len(timeline) == MOST_STRETCHES
    assert timeline[-1].start_ms == MOST_STRETCHES - 1
