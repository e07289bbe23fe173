"""How many workers were at work at the same time, from literal intervals."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from poolproof.bridge import EventKind
from poolproof.harness.history.overlap import overlap_degree


def degree(intervals: list[tuple[int, int]]) -> tuple[int, float]:
    return overlap_degree(*np.array(intervals, dtype=np.int64).reshape(-1, 2).T)


@pytest.mark.parametrize(
    ("intervals", "most", "mean"),
    [
        ([], 0, 0.0),
        ([(0, 10)], 1, 1.0),
        ([(0, 10), (10, 20)], 1, 1.0),
        ([(0, 10), (20, 30)], 1, 1.0),
        ([(0, 10), (5, 15)], 2, 20 / 15),
        ([(0, 10), (0, 10), (0, 10)], 3, 3.0),
        ([(0, 100), (10, 20), (30, 40)], 2, 1.2),
        ([(0, 10), (2, 4), (3, 10), (10, 12)], 3, 21 / 12),
    ],
)
def test_the_degree_of_literal_intervals(intervals: list[tuple[int, int]], most: int, mean: float) -> None:
    assert degree(intervals) == (most, pytest.approx(mean))


def test_the_degree_does_not_depend_on_the_order() -> None:
    intervals = [(0, 10), (2, 4), (3, 10), (10, 12), (11, 30)]
    expected = degree(intervals)
    for seed in range(5):
        assert degree(random.Random(seed).sample(intervals, len(intervals))) == expected


def closed(build: Any, **fields: Any) -> list[tuple[int, float]]:
    return [(s.request_id, (s.end_ns - build.at(0)) / 1e6) for s in build.history(**fields).closed_intervals]


def test_an_interval_without_an_end_is_cut_at_its_workers_kill(build: Any) -> None:
    services = [build.service(101, 2, 5, None), build.service(102, 1, 0, 10)]
    events = [build.event(EventKind.REAP, 40, worker=1, pid=101), build.event(EventKind.KILL, 30, worker=1, pid=101)]
    assert closed(build, services=services, events=events) == [(1, 10), (2, 30)]


def test_an_interval_without_an_end_is_cut_at_the_reaping_if_nobody_killed(build: Any) -> None:
    events = [build.event(EventKind.REAP, 40, worker=1, pid=101)]
    assert closed(build, services=[build.service(101, 2, 5, None)], events=events) == [(2, 40)]


def test_the_first_of_two_kills_is_the_end(build: Any) -> None:
    events = [build.event(EventKind.KILL, ms, worker=1, pid=101) for ms in (20, 60)]
    assert closed(build, services=[build.service(101, 2, 5, None)], events=events) == [(2, 20)]


def test_an_interval_whose_end_nobody_knows_is_left_out(build: Any) -> None:
    elsewhere = [build.event(EventKind.KILL, 30, worker=2, pid=102), build.event(EventKind.KILL, 30)]
    assert closed(build, services=[build.service(101, 2, 5, None)], events=elsewhere) == []


def test_an_interval_that_would_end_before_it_began_is_left_out(build: Any) -> None:
    events = [build.event(EventKind.KILL, 2, worker=1, pid=101)]
    assert closed(build, services=[build.service(101, 2, 5, None)], events=events) == []
