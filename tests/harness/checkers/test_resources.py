"""LeakSlope: what grows, what only jumps, and what was seen too seldom."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from poolproof.harness.checkers import LeakSlope
from poolproof.harness.history.history import Sample
from poolproof.harness.model.verdict import Verdict

MEGABYTE = 1 << 20


def sampled(build: Any, count: int = 50, **growth: Callable[[int], int]) -> Any:
    """Samples each 0.2 s, with 100 MB, 9 descriptors, 5 threads and 4 children and what is added to them."""
    usual = {"memory_bytes": 100 * MEGABYTE, "descriptors": 9, "threads": 5, "children": 4}
    samples = [
        Sample(build.at(200 * n), *(held + growth.get(what, lambda _: 0)(n) for what, held in usual.items()))
        for n in range(count)
    ]
    return LeakSlope().check(build.history(samples=tuple(samples), begun=0, ended=200 * count))


def test_what_stays_as_it_is_passes(build: Any) -> None:
    found = sampled(build, descriptors=lambda n: n % 3, memory_bytes=lambda n: MEGABYTE * (n % 5))
    assert found.verdict is Verdict.PASS
    assert found.figures["samples"] == 45


@pytest.mark.parametrize(
    ("what", "a_sample"), [("memory_bytes", MEGABYTE), ("descriptors", 1), ("threads", 1), ("children", 1)]
)
def test_what_grows_steadily_fails(build: Any, what: str, a_sample: int) -> None:
    growth: dict[str, Any] = {what: lambda n: n * a_sample}
    found = sampled(build, **growth)
    assert found.verdict is Verdict.FAIL
    assert found.examples[0].startswith(f"{what} grew by {5 * a_sample:.2f} a second")


def test_one_step_is_no_slope(build: Any) -> None:
    assert sampled(build, descriptors=lambda n: 1 if n > 40 else 0).verdict is Verdict.PASS


def test_memory_that_falls_now_and_then_is_no_leak(build: Any) -> None:
    assert sampled(build, 200, memory_bytes=lambda n: 2 * MEGABYTE * (n % 40)).verdict is Verdict.PASS


def test_memory_that_has_fallen_once_cannot_be_told(build: Any) -> None:
    found = sampled(build, 100, memory_bytes=lambda n: MEGABYTE * ((n + 30) % 80))
    assert found.verdict is Verdict.UNKNOWN
    assert "it rose and fell; 3 falls tell" in found.examples[0]


def test_a_slow_leak_of_a_long_run_fails(build: Any) -> None:
    assert sampled(build, 1500, memory_bytes=lambda n: n * MEGABYTE // 10).verdict is Verdict.FAIL


def test_too_few_samples_are_unknown(build: Any) -> None:
    found = sampled(build, 12, descriptors=lambda n: n)
    assert (found.verdict, found.figures) == (Verdict.UNKNOWN, {"samples": 7})


def test_many_samples_are_thinned_out(build: Any) -> None:
    assert sampled(build, 2000, threads=lambda n: n).verdict is Verdict.FAIL


@pytest.mark.parametrize(("count", "verdict"), [(29, Verdict.PASS), (34, Verdict.PASS), (40, Verdict.FAIL)])
def test_memory_that_grew_by_less_than_eight_megabytes_is_no_leak(build: Any, count: int, verdict: Verdict) -> None:
    found = sampled(build, count, memory_bytes=lambda n: int(n * 0.2 * 1.3 * MEGABYTE))
    assert found.verdict is verdict


@pytest.mark.parametrize(("count", "verdict"), [(24, Verdict.UNKNOWN), (25, Verdict.PASS)])
def test_twenty_samples_after_the_first_second_are_enough(build: Any, count: int, verdict: Verdict) -> None:
    assert sampled(build, count).verdict is verdict


def test_what_grows_in_the_first_second_or_after_the_calls_is_left_out(build: Any) -> None:
    assert sampled(build, threads=lambda n: min(n, 4)).verdict is Verdict.PASS
    samples = [Sample(build.at(200 * n), 0, 9 + 5 * max(0, n - 30), 5, 4) for n in range(400)]
    for ended, verdict in ((6000, Verdict.PASS), (80_000, Verdict.FAIL)):
        history = build.history(samples=tuple(samples), begun=0, ended=ended)
        assert LeakSlope().check(history).verdict is verdict


@pytest.mark.parametrize(("what", "least"), [("descriptors", 3), ("threads", 2), ("children", 2)])
def test_a_slow_growth_is_a_leak_if_it_reaches_its_bound_in_all(build: Any, what: str, least: int) -> None:
    def grown(in_all: float) -> Verdict:
        found: Verdict = sampled(build, 400, **{what: lambda n: round(n / 400 * in_all)}).verdict
        return found

    assert grown(0.7 * least) is Verdict.PASS
    assert grown(4 * least) is Verdict.FAIL
